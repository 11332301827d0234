"""Rows that are damaged: one does not take the others with it, is told from one that was written, and leaks nothing."""

import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.log import logger
from agent.store.check import damages
from agent.store.components import select_deployed
from agent.store.operations import OperationRow, TransactionRow
from agent.store.registry import Registry, TokenRow, UnreadableRow
from agent.store.snapshot import RestoreCondition, restore, snapshot
from mcp.shared.errors import McpError, NotReady
from mcp.shared.spec import ComponentSpec, RouteSpec, ServiceSpec
from mcp.shared.states import AccountType, DesiredState

SECRET = "hunter2-and-more"
API = ComponentSpec("api", "localhost/web:1", env=(f"PASSWORD={SECRET}",), routes=(RouteSpec(port=80),))
OTHER = replace(API, name="db")
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a registry with two components, and more of one."""
    path = tmp_path / "mcp.db"
    registry = Registry(path)
    registry.components.put("web", 0, API, DesiredState.RUNNING)
    registry.components.put("web", 1, OTHER, DesiredState.RUNNING)
    registry.deploys.begin(ServiceSpec("web", components=(API, OTHER)), "", "ann")
    registry.tokens.add(TokenRow("ann", "aa", AccountType.HUMAN, ("admin",), NOW, NOW))
    registry.operations.begin(OperationRow("web", "stop", ""), "ann")
    registry.operations.begin_transactions([TransactionRow("web", "api", 1, False, '[{"kind": "StopContainer"}]')])
    registry.close()
    return path


@pytest.fixture
def registry(path: Path) -> Iterator[Registry]:
    """That registry, open."""
    opened = Registry(path)
    yield opened
    opened.close()


def damage(path: Path, sql: str, *values: object) -> None:
    """Change cells as a disk does: without the triggers, by which writers are known."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            db.execute(f"DROP TRIGGER {name}")
        assert db.execute(sql, values).rowcount == 1
        for _, made in triggers:
            db.execute(made)


SPEC = "UPDATE components SET spec = CAST(? AS TEXT) WHERE name = 'api'"
SPECS = [
    b"no JSON with " + SECRET.encode(),
    b'{"name": "api", "env": ["PASSWORD=' + SECRET.encode() + b'\xff"]}',  # no UTF-8
    json.dumps({"name": "api", "image": "localhost/web:7"}).encode(),  # as good as any other, but not what was written
    b"[" * 100_000,
    b"",
]


@pytest.mark.parametrize("spec", SPECS, ids=["json", "utf-8", "other", "deep", "empty"])
def test_one_damaged_row_leaves_the_others(
    path: Path, registry: Registry, spec: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    damage(path, SPEC, spec)
    caplog.set_level(logging.DEBUG, logger.name)
    found = registry.components.read()
    assert [row.name for row in found.rows] == ["db"]
    assert found.unreadable == (UnreadableRow("web", "api"),)
    for service, component, count in (
        ("web", "db", 0),
        ("web", "api", 1),
        ("web", "", 1),
        ("", "api", 1),
        ("we", "", 0),
    ):
        assert len(registry.components.read(service, component).unreadable) == count
    assert [row.name for row in registry.components.select("web")] == ["db"]
    assert damages(path) == ["1 damaged row of the table components"]
    assert SECRET not in caplog.text


def test_a_deploy_mends_a_damaged_row_and_so_does_its_removal(path: Path, registry: Registry) -> None:
    damage(path, SPEC, b"nonsense")
    registry.components.put("web", 0, API, DesiredState.RUNNING)
    assert [row.name for row in registry.components.read().rows] == ["api", "db"]
    assert damages(path) == []
    damage(path, "UPDATE components SET service = 'wab' WHERE name = 'db'")
    assert registry.components.read().unreadable == (UnreadableRow("wab", "db"), UnreadableRow("web", "db"))
    for service in ("wab", "web"):
        registry.components.remove(service, "db")
    assert registry.components.read().unreadable == ()
    assert damages(path) == []


def test_a_row_that_is_lost_is_missed(path: Path, registry: Registry) -> None:
    damage(path, "DELETE FROM components WHERE name = 'db'")
    assert registry.components.read().unreadable == (UnreadableRow("web", "db"),)
    assert damages(path) == ["1 damaged row of the table components"]


def test_an_operation_on_a_damaged_component_is_refused_in_one_line(path: Path, registry: Registry) -> None:
    damage(path, SPEC, b"nonsense")
    found = registry.components.read()
    with pytest.raises(NotReady) as refused:
        select_deployed(found.rows, "web", "api", found.unreadable)
    assert str(refused.value) == (
        "the registry's entry of web/api is damaged; deploy the service again, or undeploy the component"
    )
    assert [row.name for row in select_deployed(found.rows, "web", "", found.unreadable)] == ["db"]


def test_a_damaged_token_is_not_valid(path: Path, registry: Registry) -> None:
    damage(path, "UPDATE tokens SET expires_at = '2999-01-31T12:00:00+00:00'")
    assert registry.tokens.select("aa") == registry.tokens.select() == []
    registry.tokens.revoke("ann")
    assert damages(path) == []


def test_a_damaged_token_is_not_made_valid_by_a_restore(path: Path, tmp_path: Path) -> None:
    """The accounts of the registry are kept, but for what nobody has written."""
    copy = tmp_path / "copy.db"
    snapshot(path, copy, force=False)
    registry = Registry(path)
    registry.tokens.add(TokenRow("bob", "bb", AccountType.HUMAN, (), NOW, None))
    registry.close()
    damage(path, "UPDATE tokens SET expires_at = '2999-01-31T12:00:00+00:00' WHERE name = 'ann'")
    assert restore(path, copy, RestoreCondition.ALWAYS)
    registry = Registry(path)
    assert [token.name for token in registry.tokens.select()] == ["bob"]
    registry.close()
    assert damages(path) == []


def test_damaged_steps_are_not_carried_out(path: Path, registry: Registry) -> None:
    damage(path, "UPDATE transactions SET steps = ?", '[{"kind": "RemoveContainer"}]')
    assert registry.operations.transactions("web") == []
    registry.operations.end("web")
    assert registry.operations.unfinished() == [OperationRow("web", "deploy", "")], "of the deploy alone"
    assert damages(path) == []


def test_a_damaged_deploy_is_left_out(path: Path, registry: Registry) -> None:
    number = registry.deploys.begin(ServiceSpec("web", components=(API,)), "", "ann")
    damage(path, "UPDATE deploys SET definition = '{}' WHERE number = ?", number)
    assert [row.number for row in registry.deploys.select("web")] == [number - 1]
    assert registry.deploys.numbered(number) == []


def test_another_program_and_an_older_agent_may_write(path: Path, registry: Registry) -> None:
    """They do not know of checksums; the triggers do."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE components SET desired_state = 'stopped' WHERE name = 'db'")
        db.execute(
            "INSERT OR REPLACE INTO components (service, name, position, container, spec, desired_state, deployed_at,"
            " digest, deploy) SELECT service, name, 5, container, spec, desired_state, deployed_at, 'x', 7"
            " FROM components WHERE name = 'api'"
        )
    rows = {row.name: row for row in registry.components.read().rows}
    assert (rows["db"].desired_state, rows["api"].deploy) == ("stopped", 7)
    assert damages(path) == []
    Registry(path).close()  # gives them their checksums
    damage(path, "UPDATE components SET digest = 'y' WHERE name = 'api'")
    assert damages(path) == ["1 damaged row of the table components"]


def test_a_registry_without_checksums_gets_them(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        db.execute("DROP TABLE checksums")
        db.execute("DROP TABLE unsummed")
    Registry(path).close()
    assert damages(path) == []
    damage(path, "UPDATE tokens SET roles = '[]'")
    assert damages(path) == ["1 damaged row of the table tokens"]


def test_copies_keep_the_checksums(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    snapshot(path, copy, force=False)
    assert damages(copy) == []
    damage(copy, SPEC, b"nonsense")
    assert damages(copy) == ["1 damaged row of the table components"]
    assert restore(path, copy, RestoreCondition.ALWAYS)
    assert damages(path) == ["1 damaged row of the table components"]


def test_no_error_of_sqlite_has_a_stored_value(path: Path, registry: Registry) -> None:
    damage(path, "UPDATE tokens SET name = CAST(? AS TEXT)", SECRET.encode() + b"\xff")
    damage(path, "UPDATE operations SET user = CAST(? AS TEXT)", SECRET.encode() + b"\xff")
    assert registry.tokens.select() == []
    with pytest.raises(McpError) as failed:
        registry._database.rows("SELECT nothing FROM nowhere")
    assert "SQLITE_ERROR" in str(failed.value)


LEAF = 13  # the first byte of a page with rows: https://www.sqlite.org/fileformat2.html#b_tree_pages


def test_pages_that_are_damaged_leave_the_rows_of_the_others(tmp_path: Path) -> None:
    path = tmp_path / "large.db"
    registry = Registry(path)
    for number in range(40):
        registry.components.put(
            "web", number, replace(API, name=f"c{number:02}", cmd=("x" * 1000,)), DesiredState.RUNNING
        )
    registry.close()
    content = path.read_bytes()
    pages = [content[start : start + 4096] for start in range(0, len(content), 4096)]
    page = next(n for n, data in enumerate(pages) if data[0] == LEAF and b"xxxx" in data and b"web-c20" in data)
    path.write_bytes(content[: page * 4096] + bytes(4096) + content[(page + 1) * 4096 :])
    registry = Registry(path)
    found = registry.components.read()
    registry.close()
    assert len(found.rows) + len(found.unreadable) == 40
    assert 0 < len(found.unreadable) < 10
    assert any("integrity_check" in each for each in damages(path))
    assert "the table components cannot be read" in damages(path)
