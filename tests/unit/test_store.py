"""The registry: a real SQLite file, opened by one process or several."""

import os
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from agent.store import database, schema
from agent.store.previous_logs import PreviousReason
from agent.store.registry import AsyncRegistry, Registry, RegistryError, TokenRow
from mcp.shared.errors import NotFound, NotReady
from mcp.shared.resources import ROOT
from mcp.shared.spec import ComponentSpec, RouteSpec, ServiceSpec
from mcp.shared.states import AccountType, DeployResult, DesiredState

WEB = ComponentSpec(name="web", image="localhost/web:1", env=("A=b c",), routes=(RouteSpec(port=80),))
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
TOKEN = TokenRow("ann", "aa", AccountType.HUMAN, ("admin",), NOW, None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the registry is."""
    return tmp_path / "mcp.db"


@pytest.fixture
def db(path: Path) -> Iterator[Registry]:
    """A fresh registry."""
    opened = Registry(path)
    yield opened
    opened.close()


def schema_version(path: Path) -> int:
    """The file's user_version."""
    with sqlite3.connect(path) as connection:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
    return version


def mode(path: Path) -> int:
    """The permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


# --- the file ---


def test_nobody_else_can_read_it_or_what_lies_beside_it(path: Path) -> None:
    previous = os.umask(0)
    try:
        opened = Registry(path)
        opened.components.put("web", 0, WEB, DesiredState.RUNNING)
    finally:
        os.umask(previous)
    beside = sorted(path.parent.iterdir())
    assert [file.name for file in beside] == ["mcp.db", "mcp.db-shm", "mcp.db-wal"]
    assert {file.name: oct(mode(file)) for file in beside} == dict.fromkeys((file.name for file in beside), "0o600")
    opened.close()


def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    path.touch(0o644)
    Registry(path).close()
    assert mode(path) == 0o600


def test_its_settings(path: Path, db: Registry) -> None:
    db.components.set_desired("none", "none", DesiredState.RUNNING)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    rows = {name: db._database.rows(f"PRAGMA {name}") for name in ("foreign_keys", "synchronous", "busy_timeout")}
    assert rows == {"foreign_keys": [(1,)], "synchronous": [(2,)], "busy_timeout": [(5000,)]}


def test_migrations_run_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Registry(path).close()
    assert schema_version(path) == len(schema.MIGRATIONS)
    more = (*schema.MIGRATIONS, "CREATE TABLE extra (a TEXT);\nINSERT INTO extra VALUES ('once');\n")
    monkeypatch.setattr(database, "MIGRATIONS", more)
    for _ in range(3):
        opened = Registry(path)
        assert opened._database.rows("SELECT a FROM extra") == [("once",)]
        opened.close()
    assert schema_version(path) == len(more)


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Registry(path)
    opened.components.put("web", 0, WEB, DesiredState.RUNNING)
    opened.close()
    broken = (*schema.MIGRATIONS, "DELETE FROM components;\nCREATE TABLE tokens (a TEXT);\n")
    monkeypatch.setattr(database, "MIGRATIONS", broken)
    with pytest.raises(RegistryError, match=r"cannot be used \(SQLITE_ERROR\)"):
        Registry(path)
    monkeypatch.undo()
    opened = Registry(path)
    assert [row.name for row in opened.components.select()] == ["web"]
    assert schema_version(path) == len(schema.MIGRATIONS)
    opened.close()


def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    Registry(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(RegistryError, match=r"was written by a newer mcp-agent \(schema 99; \d+ is known\); run that"):
        Registry(path)
    assert schema_version(path) == 99


@pytest.mark.parametrize(
    "content", [b"hello\n", b"this is not a database, and it goes on for a while\n" * 100, b"\0" * 4096]
)
def test_what_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(RegistryError, match="is not a database, or is damaged; restore a copy"):
        Registry(path)
    assert path.read_bytes() == content


def test_a_damaged_database_is_refused(path: Path) -> None:
    opened = Registry(path)
    opened.components.put("web", 0, WEB, DesiredState.RUNNING)
    opened.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * (size - 100))
    with pytest.raises(RegistryError, match="is not a database, or is damaged"):
        Registry(path)


@pytest.mark.parametrize("version", [0, 1, 7, -1])
def test_the_database_of_another_program_is_refused_and_left_alone(path: Path, version: int) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE cookies (a TEXT)")
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(RegistryError, match="is another program's database"):
        Registry(path)
    assert path.read_bytes() == before


def test_paths_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path, what in (
        (tmp_path / "none" / "mcp.db", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (tmp_path / "link", "Too many levels of symbolic links"),
    ):
        with pytest.raises(RegistryError, match=f"cannot be opened: {what}"):
            Registry(path)
    assert not (tmp_path / "elsewhere").exists()


def test_another_process_that_holds_the_lock_is_named(
    path: Path, db: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    db._database.db.execute("PRAGMA busy_timeout = 20")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(NotReady, match="is locked by another process for more than 5 s; try again"):
        db.components.put("web", 0, WEB, DesiredState.RUNNING)
    other.execute("ROLLBACK")
    other.close()
    db.components.put("web", 0, WEB, DesiredState.RUNNING)


def test_many_processes_can_make_it_at_once(path: Path) -> None:
    code = "import sys, pathlib; from agent.store.registry import Registry; Registry(pathlib.Path(sys.argv[1])).close()"
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT, stderr=subprocess.PIPE) for _ in range(6)
    ]
    errors = [process.communicate(timeout=30)[1].decode() for process in started]
    assert errors == [""] * len(started)
    assert schema_version(path) == len(schema.MIGRATIONS)


# --- components ---


def test_components_come_back_whole_and_in_order(db: Registry) -> None:
    other = replace(WEB, name="api")
    db.components.put("web", 1, other, DesiredState.RUNNING)
    db.components.put("web", 0, WEB, DesiredState.RUNNING)
    db.components.put("a", 0, replace(WEB, name="z"), DesiredState.STOPPED)
    rows = db.components.select()
    assert [(row.service, row.name, row.container, row.desired_state) for row in rows] == [
        ("a", "z", "a-z", "stopped"),
        ("web", "web", "web", "running"),
        ("web", "api", "web-api", "running"),
    ]
    assert rows[1].spec == WEB
    assert abs(datetime.now(UTC) - rows[1].deployed_at) < timedelta(minutes=1)
    assert [row.name for row in db.components.select("web")] == ["web", "api"]
    assert [row.name for row in db.components.select("web", "api")] == ["api"]
    assert db.components.select("none") == []


def test_a_component_is_replaced_stopped_and_removed(db: Registry) -> None:
    db.components.put("web", 0, WEB, DesiredState.RUNNING)
    db.components.put("web", 0, replace(WEB, image="localhost/web:2"), DesiredState.RUNNING)
    db.components.set_desired("web", "web", DesiredState.STOPPED)
    (row,) = db.components.select()
    assert (row.spec.version, row.desired_state) == ("2", "stopped")
    with pytest.raises(RegistryError, match="SQLITE_CONSTRAINT_CHECK"):
        db.components.set_desired("web", "web", cast("DesiredState", "dancing"))
    db.components.remove("web", "web")
    db.components.remove("web", "web")
    assert db.components.select() == []


def test_two_components_cannot_have_one_container(db: Registry) -> None:
    db.components.put("a-b", 0, replace(WEB, name="c"), DesiredState.RUNNING)
    message = "the container a-b-c belongs to a-b/c; give one of the two another name"
    with pytest.raises(NotReady, match=message):
        db.components.put("a", 0, replace(WEB, name="b-c"), DesiredState.RUNNING)
    with pytest.raises(NotReady, match=message):
        db.components.check_container("a", "b-c")
    db.components.check_container("a-b", "c")
    db.components.check_container("a", "b")
    assert [(row.service, row.name) for row in db.components.select()] == [("a-b", "c")]


def test_a_service_with_its_own_component_collides_too(db: Registry) -> None:
    db.components.put("a", 0, replace(WEB, name="b"), DesiredState.RUNNING)
    with pytest.raises(NotReady, match="the container a-b belongs to a/b"):
        db.components.check_container("a-b", "a-b")


# --- ports ---


def test_a_port_is_kept(db: Registry) -> None:
    assert db.components.reserve_port("web", "web", "", iter([10001, 10002])) == 10001
    assert db.components.reserve_port("web", "web", "", iter([10002])) == 10001
    assert db.components.reserve_port("web", "web", "rest", iter([10001, 10002])) == 10002
    assert db.components.ports("web", "web") == {"": 10001, "rest": 10002}
    assert db.components.ports("web", "api") == {}


def test_a_port_that_is_taken_is_replaced(db: Registry) -> None:
    db.components.reserve_port("web", "web", "", iter([10001]))
    db.components.reserve_port("web", "api", "", iter([10002]))
    assert db.components.move_port("web", "web", "", iter([10001, 10002, 10003])) == 10003
    assert db.components.ports("web", "web") == {"": 10003}
    assert db.components.ports("web", "api") == {"": 10002}
    with pytest.raises(NotReady, match="no free host port"):
        db.components.move_port("web", "web", "", iter([10002]))
    assert db.components.ports("web", "web") == {"": 10003}


def test_a_port_that_a_component_publishes_is_not_drawn(db: Registry) -> None:
    published = replace(WEB, ports=("10001:80", "127.0.0.1:10002:53/udp"))
    db.components.put("dns", 0, published, DesiredState.STOPPED)
    assert db.components.reserve_port("web", "web", "", iter([10001, 10002, 10003])) == 10003
    assert db.components.move_port("web", "web", "", iter([10002, 10004])) == 10004


def test_anonymous_volumes_are_kept_by_target_and_without_their_component(db: Registry) -> None:
    db.components.put("web", 0, WEB, DesiredState.RUNNING)
    db.volumes.put("web", "web", {"/data": "one", "/log": "two"})
    db.volumes.put("web", "web", {"/data": "three"})
    db.volumes.put("web", "api", {})
    assert db.volumes.select("web", "web") == {"/data": "three", "/log": "two"}
    db.components.remove("web", "web")
    assert db.volumes.select("web", "web") == {"/data": "three", "/log": "two"}
    db.volumes.remove("web", "web")
    assert db.volumes.select("web", "web") == {}


def test_ports_of_routes_that_are_gone_are_given_back(db: Registry) -> None:
    for number, route in enumerate(("", "rest", "admin")):
        db.components.reserve_port("web", "web", route, iter([10000 + number]))
    db.components.reserve_port("web", "api", "", iter([10009]))
    db.components.put("web", 0, replace(WEB, routes=(RouteSpec("rest", 80), RouteSpec("", 81))), DesiredState.RUNNING)
    assert db.components.ports("web", "web") == {"": 10000, "rest": 10001}
    db.components.release_ports("web", "web", keep={"rest"})
    assert db.components.ports("web", "web") == {"rest": 10001}
    db.components.remove("web", "web")
    assert db.components.ports("web", "web") == {}
    assert db.components.ports("web", "api") == {"": 10009}


def test_no_port_left_is_said(db: Registry) -> None:
    db.components.reserve_port("web", "web", "", iter([10001]))
    with pytest.raises(NotReady, match="no free host port was found between 10000 and 60000"):
        db.components.reserve_port("web", "api", "", iter([10001]))
    assert db.components.ports("web", "api") == {}


def test_two_registries_never_give_the_same_port(path: Path, db: Registry) -> None:
    other = Registry(path)
    wanted = range(10000, 10100)
    got = [
        (db, other)[number % 2].components.reserve_port("web", f"c{number}", "", iter(wanted))
        for number in range(len(wanted))
    ]
    assert got == list(wanted)
    other.close()


def test_two_processes_never_give_the_same_port(path: Path, db: Registry) -> None:
    code = (
        "import sys, pathlib; from agent.store.registry import Registry; r = Registry(pathlib.Path(sys.argv[1]))\n"
        "for n in range(40): print(r.components.reserve_port(sys.argv[2], f'c{n}', '', iter(range(10000, 10200))))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(path), name], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for name in ("a", "b", "c")
    ]
    got = [int(line) for process in started for line in process.communicate(timeout=60)[0].split()]
    assert len(got) == 120
    assert len(set(got)) == 120


# --- tokens ---


def test_tokens(db: Registry) -> None:
    late = replace(TOKEN, name="bob", sha256="bb", account_type=AccountType.SYSTEM, roles=(), expires_at=NOW)
    db.tokens.add(late)
    db.tokens.add(TOKEN)
    assert db.tokens.select() == [TOKEN, late]
    assert db.tokens.select("bb") == [late]
    assert db.tokens.select("cc") == []
    db.tokens.revoke("bob")
    assert db.tokens.select() == [TOKEN]


def test_a_token_s_name_is_taken_once(db: Registry) -> None:
    db.tokens.add(TOKEN)
    with pytest.raises(NotReady, match="a token named ann exists already, or this token"):
        db.tokens.add(replace(TOKEN, sha256="bb"))
    assert db.tokens.select() == [TOKEN]


def test_revoking_what_is_not_there(db: Registry) -> None:
    with pytest.raises(NotFound, match="no token named ann; there are none"):
        db.tokens.revoke("ann")
    db.tokens.add(TOKEN)
    with pytest.raises(NotFound, match="no token named x'; DROP; tokens: ann"):
        db.tokens.revoke("x'; DROP")
    assert db.tokens.select() == [TOKEN]


# --- for the event loop ---


async def _calls(path: Path) -> list[str]:
    both = AsyncRegistry(Registry(path))
    await both.call(both.components.put, "web", 0, WEB, DesiredState.RUNNING)
    rows = await both.call(both.components.select, component="web")
    with pytest.raises(NotReady):
        await both.call(both.components.reserve_port, "web", "web", "", iter(()))
    both.close()
    return [row.name for row in rows]


def test_calls_from_the_event_loop(path: Path) -> None:
    import asyncio

    assert asyncio.run(_calls(path)) == ["web"]


def test_additions_leave_the_schema_number_as_it_is(path: Path) -> None:
    """An older agent refuses a number that it does not know; a table more it can overlook."""
    Registry(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE kept_logs")
    assert schema_version(path) == len(schema.MIGRATIONS)
    registry = Registry(path)
    assert registry.previous_logs.find("web", "api") is None
    registry.close()
    assert schema_version(path) == len(schema.MIGRATIONS)


@pytest.mark.parametrize(
    ("words", "column"),
    [
        (DesiredState, "desired_state"),
        (AccountType, "account_type"),
        (DeployResult, "result"),
        (PreviousReason, "reason"),
    ],
)
def test_the_schema_allows_the_words_of_the_code(words: type[StrEnum], column: str) -> None:
    (allowed,) = re.findall(rf"CHECK \({column} IN \((.*?)\)\)", "".join(schema.MIGRATIONS + schema.ADDITIONS))
    assert allowed == ", ".join(f"'{word}'" for word in words)


# --- what never came up ---


def test_what_a_deploy_was_to_create_is_known_until_it_is_there_or_forgotten(db: Registry) -> None:
    web, api = WEB, replace(WEB, name="api")
    service = ServiceSpec("web", components=(web, api))

    def missing() -> list[str]:
        return [row.name for row in db.components.requested("web")]

    db.components.put("web", 0, web, DesiredState.RUNNING)
    db.deploys.begin(service, "", "ann")
    assert missing() == ["api"]
    db.deploys.begin(replace(service, components=(web, replace(web, name="db"), api)), "db", "ann")
    assert sorted(missing()) == ["api", "db"]
    assert [row.name for row in db.components.requested("web", "db")] == ["db"]
    assert db.components.requested("other") == []
    db.components.put("web", 1, api, DesiredState.RUNNING)
    assert missing() == ["db"]
    db.deploys.begin(service, "", "ann")
    assert missing() == [], "no definition has it any more"
    db.deploys.begin(replace(service, components=(replace(web, name="db"),)), "db", "ann")
    db.components.remove("web", "db")
    assert missing() == []


# --- SQLite's errors ---


@pytest.mark.parametrize(
    ("name", "room", "hint"),
    [
        ("SQLITE_FULL", 10**9, "make room on its disk"),
        ("SQLITE_IOERR_SHMSIZE", 0, "make room on its disk"),
        ("SQLITE_IOERR_READ", 10**9, "look for errors of its disk in the kernel's log, and at quotas"),
        ("SQLITE_IOERR_FSYNC", 10**9, "look for errors of its disk in the kernel's log, and at quotas"),
    ],
)
def test_a_disk_that_fails_is_not_a_full_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, room: int, hint: str
) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = name
    monkeypatch.setattr(os, "statvfs", lambda _folder: SimpleNamespace(f_bavail=room, f_frsize=1))
    assert database.as_mcp_error(tmp_path / "mcp.db", error).hint == hint
