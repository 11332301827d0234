"""A registry that is removed, replaced, or used by a second agent."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.daemon.lock import hold_lock, refuse_if_held
from agent.monitor.registry_watch import DAY, RegistryWatch
from agent.store.check import damages
from agent.store.registry import AsyncRegistry, Registry
from agent.store.snapshot import RestoreCondition, restore
from mcp.shared.errors import NotReady
from mcp.shared.resources import ROOT
from mcp.shared.spec import ComponentSpec
from mcp.shared.states import DesiredState
from tests.unit.test_certificate_watch import Sent

WEB = ComponentSpec("web", "localhost/web:1")
IN_USE = "is in use by another mcp-agent; stop it first"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder / "mcp.db"


@pytest.fixture
def registry(path: Path) -> Iterator[Registry]:
    made = Registry(path)
    made.components.put("web", 0, WEB, DesiredState.RUNNING)
    yield made
    made.close()


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    other = path.with_name("other.db")
    Registry(other).close()
    other.rename(path)


def remove_log(path: Path) -> None:
    path.with_name("mcp.db-wal").unlink()


def remove_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


@pytest.mark.parametrize("lose", [remove, replace, remove_log, remove_folder])
def test_a_lost_registry_is_read_and_not_changed(path: Path, registry: Registry, lose: object) -> None:
    assert registry.lost() == ""
    assert callable(lose)
    lose(path)
    what = "replaced" if lose is replace else "removed"
    assert f"was {what} while the agent runs" in registry.lost()
    assert [row.name for row in registry.components.select()] == ["web"]
    with pytest.raises(NotReady, match="so nothing can be changed; stop the agent, put the right file back with mcp-a"):
        registry.components.set_desired("web", "web", DesiredState.STOPPED)
    assert [row.desired_state for row in registry.components.select()] == ["running"]


def test_what_is_lost_can_be_put_back(path: Path, registry: Registry) -> None:
    remove(path)
    copy = registry.rescue()
    assert oct(copy.stat().st_mode & 0o777) == "0o600"
    assert restore(path, copy, RestoreCondition.ALWAYS)
    assert damages(path) == []
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT name FROM components").fetchall() == [("web",)]


def test_others_may_open_and_close_it(path: Path, registry: Registry) -> None:
    other = Registry(path)
    other.components.put("web", 1, ComponentSpec("api", "localhost/web:1"), DesiredState.RUNNING)
    other.close()
    assert damages(path) == []
    assert registry.lost() == ""
    registry.components.set_desired("web", "api", DesiredState.STOPPED)


# --- the monitor's part ---


def watch_of(path: Path, clock: list[float]) -> tuple[AsyncRegistry, RegistryWatch, Sent]:
    registry, sent = AsyncRegistry(Registry(path)), Sent()
    return registry, RegistryWatch(sent, registry, 1.0, lambda: clock[0]), sent


def test_a_lost_registry_causes_one_alert_a_day_and_a_copy(path: Path) -> None:
    clock = [0.0]
    registry, watch, sent = watch_of(path, clock)
    asyncio.run(watch.look())
    assert (watch.problems, sent.alerts) == ([], [])
    aside = path.with_name("aside")
    path.rename(aside)
    for _ in range(3):
        asyncio.run(watch.look())
    assert watch.problems == [f"{path} was removed while the agent runs"]
    assert len(list(path.parent.glob("mcp.db.rescued-*"))) == 1
    clock[0] = DAY
    asyncio.run(watch.look())
    aside.rename(path)
    asyncio.run(watch.look())
    assert watch.problems == []
    assert [(alert.kind, alert.observed) for alert in sent.alerts] == [
        *[("registry", "lost")] * 2,
        ("resolved", "intact"),
    ]
    registry.close()


def test_damage_is_found_at_the_start_and_once_a_day(path: Path) -> None:
    clock = [0.0]
    registry, watch, sent = watch_of(path, clock)
    asyncio.run(watch.look())
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("INSERT INTO checksums VALUES ('events', '7', x'00')")
    asyncio.run(watch.look())
    assert sent.alerts == []
    clock[0] = DAY
    asyncio.run(watch.look())
    assert watch.problems == ["the registry is damaged: 1 damaged row of the table events"]
    assert [(alert.kind, alert.observed, alert.detail) for alert in sent.alerts] == [
        ("registry", "damaged", watch.problems[0])
    ]
    registry.close()
    again, watch, sent = watch_of(path, [0.0])
    asyncio.run(watch.look())
    assert [alert.kind for alert in sent.alerts] == ["registry"]
    again.close()


# --- the lock ---


def try_lock(path: Path) -> str:
    """Try to lock a registry in another process; return the error's last line."""
    code = "import sys, pathlib; from agent.daemon.lock import hold_lock; hold_lock(pathlib.Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return (done.stderr.strip().splitlines() or [""])[-1]


def test_a_second_agent_is_refused_under_every_name(path: Path, tmp_path: Path) -> None:
    lock = hold_lock(path)
    registry = Registry(path)
    Registry(path).close()  # closes descriptors of the file, which ends fcntl locks, but not this one
    linked, hard = tmp_path / "linked", tmp_path / "hard.db"
    linked.symlink_to(path.parent)
    hard.hardlink_to(path)
    spelled = path.parent / ".." / path.parent.name / "mcp.db"
    for name in (path, linked / "mcp.db", hard, spelled):
        assert IN_USE in try_lock(name), name
    with pytest.raises(NotReady, match=IN_USE):
        refuse_if_held(hard)
    registry.close()
    lock.release()
    assert [try_lock(name) for name in (path, linked / "mcp.db", hard)] == ["", "", ""]


def test_sqlite_is_not_in_the_way_of_the_lock(path: Path) -> None:
    lock = hold_lock(path)
    registry = Registry(path)
    code = "import sys, pathlib; from agent.store.registry import Registry; Registry(pathlib.Path(sys.argv[1])).lost()"
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=True)
    registry.components.put("web", 0, WEB, DesiredState.RUNNING)
    registry.close()
    lock.release()


def test_the_lock_follows_a_file_that_is_replaced(path: Path) -> None:
    lock = hold_lock(path)
    replace(path)
    assert IN_USE in try_lock(path), "by its name"
    lock.release()
    assert try_lock(path) == ""


def test_a_missing_registry_is_locked_and_not_made(path: Path) -> None:
    lock = hold_lock(path, create=False)
    assert not path.exists()
    assert IN_USE in try_lock(path)
    lock.release()
    hold_lock(path).release()
    assert oct(path.stat().st_mode & 0o777) == "0o600"
