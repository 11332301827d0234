"""The registry's SQLite file: safe opening, migrations, transactions, damaged rows, errors.

Mode 0600, WAL. Times are UTC, stored as RFC 3339. No error has a stored value in its text, as values of variables and
hashes of tokens are among them.
"""

import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from agent.log import fields, logger
from agent.store.checksums import Relation, prepare, seal
from agent.store.schema import ADDITIONS, MIGRATIONS
from mcp.shared.errors import McpError, NotReady
from mcp.shared.times import in_seconds

T = TypeVar("T")
R = TypeVar("R")
Place = tuple[int, int]  # device and inode

_LITERAL = re.compile(r"'((?:[^']|'')*)'")  # of SQL
BUSY_TIMEOUT = 5.0  # seconds to wait for another process's write
LEAST_ROOM = 64 * 1024  # bytes; SQLite grows its side file -shm by 32 KiB
LOST = "stop the agent, put the right file back with mcp-agent restore, and start it; the agent's log names a copy"
# raised for a cell whose content is not what the code has written
CELL_ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)


class RegistryError(McpError):
    """The registry file is unusable."""


class CannotWrite(NotReady):
    """The registry's disk is full or read-only; nothing was changed."""


@dataclass(frozen=True)
class StoredRow:
    """A row as the file has it, which may not be what was written."""

    cells: dict[str, bytes | None]
    is_damaged: bool  # it has another checksum

    def text(self, column: str) -> str:
        """Return the text of a cell; raises one of CELL_ERRORS."""
        return self.data(column).decode()

    def number(self, column: str) -> int:
        """Return the number in a cell; raises one of CELL_ERRORS."""
        return int(self.data(column))

    def data(self, column: str) -> bytes:
        """Return the content of a cell; raises one of CELL_ERRORS."""
        cell = self.cells[column]
        if self.is_damaged or cell is None:
            raise ValueError(column)
        return cell

    def named(self, column: str) -> str:
        """Return the text of a cell even if it is damaged."""
        return (self.cells[column] or b"").decode(errors="replace")


class Database:
    """An open registry file. Not safe for use by several threads at once; every method may block."""

    def __init__(self, path: Path, *, migrate: bool = True) -> None:
        """Open or create the file and migrate its schema, unless it is for an older agent; raises RegistryError."""
        self.path = path
        self._migrations = MIGRATIONS if migrate else ()
        self._relations: dict[str, Relation] = {}
        self._places: dict[Path, Place | None] = {}
        try:
            # mode 0600 before SQLite opens it: the side files (-wal, -shm) copy it
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise RegistryError(f"{path}: cannot be opened: {error.strerror}") from None
        try:
            os.fchmod(self._file, 0o600)
            self.db = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        except OSError as error:
            os.close(self._file)
            raise RegistryError(f"{path}: cannot be opened: {error.strerror}") from None
        except sqlite3.Error as error:
            os.close(self._file)
            raise RegistryError(f"{path}: cannot be opened: {error}") from None
        self.db.text_factory = decoded
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        try:
            self._refuse_foreign()
            for pragma in ("journal_mode = WAL", "foreign_keys = ON", "synchronous = FULL"):
                self.db.execute(f"PRAGMA {pragma}")
            self._migrate()
            # with the side files: SQLite goes on with those that it has, and every other process would use new ones
            self._places = {name: _place(name) for name in (self.path, *_side_files(self.path))}
        except sqlite3.DatabaseError as error:
            raise as_mcp_error(self.path, error) from None

    def _refuse_foreign(self) -> None:
        """Raise RegistryError for another program's database, before changing anything in it."""
        # one statement, so that a migration under way in another process is seen whole or not at all
        query = (
            "SELECT user_version, EXISTS(SELECT 1 FROM sqlite_master),"
            " EXISTS(SELECT 1 FROM sqlite_master WHERE name = 'components') FROM pragma_user_version"
        )
        version, any_table, our_table = self.db.execute(query).fetchone()
        if version < 0 or (any_table if version == 0 else not our_table):
            raise RegistryError(f"{self.path}: is another program's database", "name another file")

    def _migrate(self) -> None:
        with self.transaction():
            (version,) = self.db.execute("PRAGMA user_version").fetchone()
            if version > len(MIGRATIONS):
                raise RegistryError(
                    f"{self.path}: was written by a newer mcp-agent (schema {version}; {len(MIGRATIONS)} is known)",
                    "run that agent, or restore a copy made before the upgrade",
                )
            for number, script in enumerate(self._migrations[version:], version + 1):
                for statement in script.split(";\n"):
                    self.db.execute(statement)
                self.db.execute(f"PRAGMA user_version = {number}")
            for statement in ADDITIONS:
                self.db.execute(statement)
            self._relations = prepare(self.db)

    def lost(self) -> str:
        """Say what became of the file if another one has its name, or none; empty if it is in its place."""
        for name, place in self._places.items():
            if (now := _place(name)) != place:
                return f"{name} was {'removed' if now is None else 'replaced'} while the agent runs"
        return ""

    def rescue(self) -> Path:
        """Copy a registry that has lost its name; SQLite still reads the open file. Raises McpError."""
        target = self.path.with_name(f"{self.path.name}.rescued-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        try:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            self.db.execute("VACUUM INTO ?", (str(target),))
        except OSError as error:
            raise NotReady(f"{target}: cannot be written: {error.strerror}") from None
        except sqlite3.DatabaseError as error:
            raise as_mcp_error(target, error) from None
        return target

    def close(self) -> None:
        """Close the file."""
        self.db.close()
        os.close(self._file)  # after SQLite: the process loses its locks with the first descriptor that it closes

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run a write transaction, and convert SQLite's errors to McpError; raises CannotWrite for a lost file."""
        if lost := self.lost():
            raise CannotWrite(f"{lost}, so nothing can be changed", LOST)
        try:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
                seal(self.db, self._relations)
                self.db.execute("COMMIT")
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise
        except sqlite3.DatabaseError as error:
            raise as_mcp_error(self.path, error) from None

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Return the rows of a query; raises McpError for SQLite's errors."""
        try:
            return self.db.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise as_mcp_error(self.path, error) from None

    def stored(self, table: str, condition: str = "TRUE", *values: object) -> list[StoredRow]:
        """Return whole rows of a table, each judged by its checksum; of a damaged table, those that can be read."""
        relation = self._relations.get(table)
        if relation is None:
            raise damaged_file(self.path)
        query = f"{relation.selection} WHERE {condition}"
        try:
            found = self.rows(query, *values)
        except RegistryError:
            found = self._salvaged(f"{query} ORDER BY rowid", *values)
            if not found and not self.recorded_keys(table):
                raise
        return [stored_row(relation, row) for row in found]

    def _salvaged(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Return the rows before and after damaged pages."""
        found: dict[tuple[object, ...], None] = {}
        for direction in ("ASC", "DESC"):
            try:
                for row in self.db.execute(f"{query} {direction}", values):
                    found[row] = None
            except sqlite3.DatabaseError:
                continue
        return list(found)

    def recorded_keys(self, table: str, *first: str) -> list[tuple[str, ...]]:
        """Return the primary keys, of texts, of the rows that a table should have, of those that begin with `first`."""
        start = "||".join("quote(?)||','" for _ in first) or "''"
        condition = f"relation = ? AND substr(key || ',', 1, length({start})) = {start}"
        rows = self.rows(f"SELECT key FROM checksums WHERE {condition}", table, *first, *first)  # noqa: S608
        return [tuple(text.replace("''", "'") for text in _LITERAL.findall(str(key))) for (key,) in rows]

    def forget_checksum(self, table: str, *key: str) -> None:
        """Forget the checksum of a row that may be lost; within a transaction."""
        name = "||','||".join("quote(?)" for _ in key)
        self.db.execute(f"DELETE FROM checksums WHERE relation = ? AND key = {name}", (table, *key))  # noqa: S608


class Table:
    """A group of tables of one registry file; every public method is one transaction."""

    def __init__(self, database: Database) -> None:
        """Use the tables of an open registry."""
        self._database = database


def _side_files(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm")]


def _place(path: Path) -> Place | None:
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def stored_row(relation: Relation, row: tuple[Any, ...]) -> StoredRow:
    """Return the row of a relation's selection."""
    checksum, *cells = row
    is_damaged = checksum is not None and checksum != relation.checksum(cells)
    return StoredRow(dict(zip(relation.columns, cells, strict=True)), is_damaged)


def decoded(data: bytes) -> str:
    """Decode a stored text, which may be damaged: the error that SQLite's module raises by itself has it whole."""
    return data.decode(errors="replace")


def readable(table: str, rows: Iterable[T], decode: Callable[[T], R]) -> list[R]:
    """Decode rows one by one; those that cannot be are logged and left out."""
    found, damaged = list[R](), 0
    for row in rows:
        try:
            found.append(decode(row))
        except CELL_ERRORS:
            damaged += 1
    if damaged:
        logger.warning("damaged rows left out", extra=fields(table=table, rows=damaged))
    return found


def damaged_file(path: Path) -> RegistryError:
    """Return the error for a file that SQLite cannot read."""
    return RegistryError(f"{path}: is not a database, or is damaged", "restore a copy, or move the file away")


def as_mcp_error(path: Path, error: sqlite3.DatabaseError) -> McpError:
    """Translate an SQLite error for the operator, without its text where that may have stored values."""
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_NOTADB" or name.startswith("SQLITE_CORRUPT"):
        return damaged_file(path)
    if name == "SQLITE_FULL" or (name.startswith("SQLITE_IOERR") and _is_full(path.parent)):
        return CannotWrite(f"{path}: cannot be written: {error}", "make room on its disk")
    if name.startswith("SQLITE_IOERR"):
        hint = "look for errors of its disk in the kernel's log, and at quotas"
        return CannotWrite(f"{path}: cannot be read or written: {error}", hint)
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return CannotWrite(f"{path}: cannot be written: {error}", "check the owner and mode of the file and its folder")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return NotReady(f"{path}: is locked by another process for more than {in_seconds(BUSY_TIMEOUT)} s", "try again")
    return RegistryError(
        f"{path}: cannot be used ({name or type(error).__name__})", "it may be damaged: restore a copy"
    )


def _is_full(folder: Path) -> bool:
    """Return True if the disk has no room: SQLite has no error of its own for that where it maps a side file."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < LEAST_ROOM


def now_text() -> str:
    """Return the current time in the stored format."""
    return datetime.now(UTC).isoformat()


def time_of(text: str) -> datetime:
    """Parse a stored time."""
    return datetime.fromisoformat(text)
