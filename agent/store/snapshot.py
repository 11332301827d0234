"""Copy the registry consistently for `mcp-agent snapshot FILE`, even while the agent runs, and put a copy back."""

import os
import sqlite3
import tempfile
from contextlib import closing, suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from agent.store.checksums import relations
from agent.store.database import BUSY_TIMEOUT, Database, RegistryError, StoredRow, as_mcp_error, stored_row
from agent.store.restores import RestoreTable
from agent.store.schema import MIGRATIONS
from mcp.shared.errors import McpError, NotFound, NotReady


def snapshot(database: Path, target: Path, *, force: bool) -> None:
    """Copy `database` to `target` with mode 0600, atomically.

    Raises NotReady if `target` exists and `force` is not given, NotFound if there is no registry, McpError if the copy
    cannot be written.
    """
    if not database.exists():
        raise NotFound(f"{database}: no registry", "the agent creates it at its first start; see --config")
    if target.is_dir():
        raise NotReady(f"{target}: is a folder", "name a file in it")
    if target.exists() and (target.samefile(database) or not force):
        raise _exists(target, database)
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # 0600
        os.close(descriptor)
        try:
            _copy(database, temporary)
            _sync(Path(temporary))
            _publish(Path(temporary), target, database, force=force)
            _sync(target.parent)
        finally:
            with suppress(FileNotFoundError):
                Path(temporary).unlink()
    except OSError as error:
        raise McpError(f"{target}: cannot be written: {error.strerror}") from None


class RestoreCondition(StrEnum):
    """When a copy is put back."""

    ALWAYS = "always"
    NEWER = "newer"  # if the registry was written by a newer agent, which this one cannot read
    CHANGED = "changed"  # if the registry has another schema than the copy


def restore(database: Path, copy: Path, condition: RestoreCondition) -> bool:
    """Replace the registry by a copy, atomically; return False if `condition` does not hold.

    The accounts stay those of the registry, so that no revoked token becomes valid again. The agent must not run: hold
    its lock. Raises NotFound if there is no copy, NotReady if it is the registry itself, McpError if
    it cannot be read by this agent, or not be written.
    """
    if not copy.is_file():
        raise NotFound(f"{copy}: no copy of a registry", "mcp-agent snapshot writes one")
    if database.exists() and copy.samefile(database):
        raise NotReady(f"{copy}: is the registry itself", "name a copy of it")
    if not _is_needed(database, copy, condition):
        return False
    if (_schema(copy) or 0) > len(MIGRATIONS):
        raise RegistryError(f"{copy}: was written by a newer mcp-agent", "use that agent, or an older copy")
    try:
        for left in database.parent.glob(f".{database.name}.*"):  # by a killed run
            left.unlink()
        descriptor, name = tempfile.mkstemp(prefix=f".{database.name}.", dir=database.parent)  # 0600
        os.close(descriptor)
        new = Path(name)
        try:
            _copy(copy, name)
            _prepare(new, database, copied=datetime.fromtimestamp(copy.stat().st_mtime, UTC))
            _sync(new)
            _discard_log(database)
            new.rename(database)
            _sync(database.parent)
        finally:
            for path in database.parent.glob(f"{new.name}*"):  # with SQLite's side files
                path.unlink()
    except OSError as error:
        raise McpError(f"{database}: cannot be written: {error.strerror}") from None
    return True


def _is_needed(database: Path, copy: Path, condition: RestoreCondition) -> bool:
    """Evaluate the condition; a registry that is damaged or missing has no schema."""
    schema = _schema(database)
    match condition:
        case RestoreCondition.NEWER:
            return schema is not None and schema > len(MIGRATIONS)
        case RestoreCondition.CHANGED:
            return schema != _schema(copy)
        case RestoreCondition.ALWAYS:
            return True


def _schema(path: Path) -> int | None:
    try:
        with closing(_read_only(path)) as source:
            (version,) = source.execute("PRAGMA user_version").fetchone()
            return int(version)
    except sqlite3.DatabaseError:
        return None


def _prepare(new: Path, database: Path, *, copied: datetime) -> None:
    """Give the new registry the accounts of the current one, and mark it as put back, for an agent of its schema."""
    made = Database(new, migrate=False)
    try:
        for table in ("tokens", "revoked_tokens"):
            _keep_rows(made, database, table)
        RestoreTable(made).begin(copied)
    finally:
        made.close()


def _keep_rows(made: Database, database: Path, table: str) -> None:
    """Replace the rows of a table by those of another registry, as far as both have the same columns."""
    columns = [str(row[1]) for row in made.rows(f"PRAGMA table_info({table})")]
    try:
        with closing(_read_only(database)) as source:
            rows = _accounts(source, table)
    except sqlite3.DatabaseError:
        return  # damaged, or an agent of another generation without the table
    if any(column not in row.cells for row in rows for column in columns):
        return
    values = [[None if row.cells[column] is None else row.named(column) for column in columns] for row in rows]
    with made.transaction():
        made.db.execute(f"DELETE FROM {table}")  # noqa: S608 - our own name
        marks = ", ".join("?" * len(columns))
        made.db.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)  # noqa: S608


def _accounts(source: sqlite3.Connection, table: str) -> list[StoredRow]:
    """Return the rows of a table of texts; a token that is damaged is left out, as it is not valid."""
    relation = relations(source).get(table)
    if relation is None:
        raise sqlite3.DatabaseError(table)
    try:
        found = source.execute(relation.selection).fetchall()
    except sqlite3.OperationalError:  # of an agent without checksums
        found = source.execute(f"SELECT NULL, {relation.cells} FROM {table}").fetchall()  # noqa: S608 - our own name
    rows = [stored_row(relation, row) for row in found]
    return [row for row in rows if not (row.is_damaged and table == "tokens")]


def _discard_log(database: Path) -> None:
    """Empty and remove the write-ahead log of the registry: SQLite would apply it to the new file of this name."""
    try:
        with closing(sqlite3.connect(database, timeout=BUSY_TIMEOUT)) as current:
            current.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.DatabaseError:
        pass  # damaged
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT)


def _copy(database: Path, target: str) -> None:
    """Fill the empty file `target`. Does not migrate the schema: a copy made before an upgrade is for the old agent."""
    try:
        with closing(_read_only(database)) as source:
            query = "SELECT EXISTS(SELECT 1 FROM sqlite_master WHERE name = 'components')"
            if source.execute(query).fetchone() != (1,):
                raise RegistryError(f"{database}: is another program's database", "name the agent's")
            source.execute("VACUUM INTO ?", (target,))
    except sqlite3.DatabaseError as error:
        raise as_mcp_error(database, error) from None


def _publish(temporary: Path, target: Path, database: Path, *, force: bool) -> None:
    if force:
        temporary.rename(target)
        return
    try:
        target.hardlink_to(temporary)  # unlike a rename, it never replaces a file created in the meantime
    except FileExistsError:
        raise _exists(target, database) from None


def _exists(target: Path, database: Path) -> NotReady:
    if target.exists() and target.samefile(database):
        return NotReady(f"{target}: is the registry itself", "name another file")
    return NotReady(f"{target}: exists already", "name another file, or replace it with --force")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
