"""Copies of the registry: whole, private, and never over something else by accident."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.store.registry import Registry, RegistryError, TokenRow
from agent.store.schema import MIGRATIONS
from agent.store.snapshot import RestoreCondition, restore, snapshot
from mcp.shared.errors import McpError, NotFound, NotReady, Unauthenticated
from mcp.shared.spec import ComponentSpec
from mcp.shared.states import AccountType, DesiredState


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A registry with one component, closed."""
    path = tmp_path / "mcp.db"
    registry = Registry(path)
    registry.components.put("web", 0, ComponentSpec("api", "localhost/x:1"), DesiredState.RUNNING)
    registry.close()
    return path


def services(path: Path) -> list[str]:
    registry = Registry(path)
    try:
        return [row.service for row in registry.components.select()]
    finally:
        registry.close()


def test_a_copy_opens_and_is_private(database: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copies" / "mcp.copy"
    copy.parent.mkdir()
    os.umask(0o022)
    snapshot(database, copy, force=False)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in copy.parent.iterdir()] == ["mcp.copy"]
    assert services(copy) == ["web"]


def test_a_copy_has_what_is_committed_while_others_write(database: Path, tmp_path: Path) -> None:
    with sqlite3.connect(database, isolation_level=None) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("UPDATE components SET service = 'done', container = 'done-' || name")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE components SET service = 'half', container = 'half-' || name")
        snapshot(database, tmp_path / "copy", force=False)
        writer.execute("COMMIT")
    writer.close()
    assert services(tmp_path / "copy") == ["done"]


def test_what_is_there_is_replaced_only_when_asked(database: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_text("precious")
    with pytest.raises(NotReady, match="exists already; name another file, or replace it with --force"):
        snapshot(database, copy, force=False)
    assert copy.read_text() == "precious"
    snapshot(database, copy, force=True)
    assert services(copy) == ["web"]
    for force in (False, True):
        with pytest.raises(NotReady, match="is the registry itself"):
            snapshot(database, database, force=force)
        with pytest.raises(NotReady, match="is a folder"):
            snapshot(database, tmp_path, force=force)


def test_what_cannot_be_copied_leaves_nothing(database: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no registry"):
        snapshot(tmp_path / "none.db", tmp_path / "copy", force=False)
    with pytest.raises(McpError, match="cannot be written: No such file or directory"):
        snapshot(database, tmp_path / "no" / "copy", force=False)
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"not a database" * 1000)
    with pytest.raises(RegistryError, match="is not a database"):
        snapshot(garbage, tmp_path / "copy", force=False)
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE letters (text)")
    other.close()
    with pytest.raises(RegistryError, match="is another program's database"):
        snapshot(tmp_path / "other.db", tmp_path / "copy", force=False)
    assert {path.name for path in tmp_path.iterdir()} == {"mcp.db", "garbage.db", "other.db"}


def test_a_copy_keeps_its_schema_and_a_newer_one_is_refused_by_who_opens_it(database: Path, tmp_path: Path) -> None:
    with sqlite3.connect(database) as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    snapshot(database, tmp_path / "copy", force=False)
    refusal = (
        rf"copy: was written by a newer mcp-agent \(schema 99; {len(MIGRATIONS)} is known\); run that agent, or restore"
    )
    with pytest.raises(RegistryError, match=refusal):
        Registry(tmp_path / "copy")


# --- put back ---


def token(name: str) -> TokenRow:
    return TokenRow(name, f"hash of {name}", AccountType.HUMAN, (), datetime.now(UTC), None)


@pytest.fixture
def copied(database: Path, tmp_path: Path) -> Path:
    """A copy of the registry, which has gone on since: another service, one account more and one less."""
    registry = Registry(database)
    registry.tokens.add(token("revoked"))
    copy = tmp_path / "copy.db"
    snapshot(database, copy, force=False)
    registry.components.put("later", 0, ComponentSpec("api", "localhost/x:1"), DesiredState.RUNNING)
    registry.tokens.add(token("added"))
    registry.tokens.revoke("revoked")
    registry.close()
    return copy


def raise_schema(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("ALTER TABLE components ADD COLUMN novel TEXT NOT NULL DEFAULT ''")
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")


def test_a_copy_is_put_back_with_the_accounts_of_today(database: Path, copied: Path) -> None:
    assert restore(database, copied, RestoreCondition.ALWAYS)
    assert services(database) == ["web"]
    assert database.stat().st_mode & 0o777 == 0o600
    registry = Registry(database)
    assert [row.name for row in registry.tokens.select()] == ["added"]
    with pytest.raises(Unauthenticated, match="was revoked on"):
        registry.tokens.add(token("revoked"))
    last = registry.restores.last()
    assert last is not None
    assert (last.notes, abs(last.copied.timestamp() - copied.stat().st_mtime) < 0.01) == (None, True)
    registry.close()
    assert sorted(path.name for path in database.parent.iterdir()) == ["copy.db", "mcp.db"]


def test_a_copy_is_put_back_only_for_a_registry_of_another_schema(database: Path, copied: Path) -> None:
    for condition in (RestoreCondition.NEWER, RestoreCondition.CHANGED):
        assert not restore(database, copied, condition)
    assert services(database) == ["later", "web"]
    for condition in (RestoreCondition.NEWER, RestoreCondition.CHANGED):
        raise_schema(database)
        assert restore(database, copied, condition)
        assert services(database) == ["web"]


def test_the_log_of_a_killed_agent_is_not_applied_to_the_copy(database: Path, copied: Path) -> None:
    left = subprocess.run([sys.executable, "-c", KILLED, str(database)], check=False)
    assert left.returncode == -9
    assert database.with_name("mcp.db-wal").stat().st_size > 0
    assert restore(database, copied, RestoreCondition.ALWAYS)
    assert services(database) == ["web"]


KILLED = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode = WAL")
db.execute("UPDATE components SET service = 'killed' WHERE service = 'later'")
os.kill(os.getpid(), 9)
"""


def test_what_cannot_be_put_back_leaves_the_registry_alone(database: Path, copied: Path, tmp_path: Path) -> None:
    raise_schema(copied)
    with pytest.raises(RegistryError, match="was written by a newer mcp-agent; use that agent, or an older copy"):
        restore(database, copied, RestoreCondition.ALWAYS)
    with pytest.raises(NotFound, match="no copy of a registry"):
        restore(database, tmp_path / "none", RestoreCondition.ALWAYS)
    with pytest.raises(NotReady, match="is the registry itself; name a copy of it"):
        restore(database, database, RestoreCondition.ALWAYS)
    copied.write_bytes(b"no database" * 1000)
    with pytest.raises(RegistryError, match="is not a database, or is damaged"):
        restore(database, copied, RestoreCondition.ALWAYS)
    assert services(database) == ["later", "web"]


def test_a_damaged_registry_is_replaced(database: Path, copied: Path) -> None:
    database.write_bytes(b"no database" * 1000)
    assert restore(database, copied, RestoreCondition.CHANGED)
    assert services(database) == ["web"]
