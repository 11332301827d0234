"""The registry's SQLite file: safe opening, migrations, transactions, errors.

Mode 0600, WAL. Times are UTC, stored as RFC 3339.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from agent.store.schema import ADDITIONS, MIGRATIONS
from mcp.shared.errors import McpError, NotReady
from mcp.shared.times import in_seconds

BUSY_TIMEOUT = 5.0  # seconds to wait for another process's write
LEAST_ROOM = 64 * 1024  # bytes; SQLite grows its side file -shm by 32 KiB


class RegistryError(McpError):
    """The registry file is unusable."""


class CannotWrite(NotReady):
    """The registry's disk is full or read-only; nothing was changed."""


class Database:
    """An open registry file. Not safe for use by several threads at once; every method may block."""

    def __init__(self, path: Path, *, migrate: bool = True) -> None:
        """Open or create the file and migrate its schema, unless it is for an older agent; raises RegistryError."""
        self.path = path
        self._migrations = MIGRATIONS if migrate else ()
        try:
            # mode 0600 before SQLite opens it: the side files (-wal, -shm) copy it
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            os.fchmod(descriptor, 0o600)
            os.close(descriptor)
            self.db = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        except OSError as error:
            raise RegistryError(f"{path}: cannot be opened: {error.strerror}") from None
        except sqlite3.Error as error:
            raise RegistryError(f"{path}: cannot be opened: {error}") from None
        try:
            self._prepare()
        except BaseException:
            self.db.close()
            raise

    def _prepare(self) -> None:
        try:
            self._refuse_foreign()
            for pragma in ("journal_mode = WAL", "foreign_keys = ON", "synchronous = FULL"):
                self.db.execute(f"PRAGMA {pragma}")
            self._migrate()
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

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run a write transaction, and convert SQLite's errors to McpError."""
        try:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.db.execute("COMMIT")
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            raise as_mcp_error(self.path, error) from None

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Return the rows of a query; raises McpError for SQLite's errors."""
        try:
            return self.db.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise as_mcp_error(self.path, error) from None


class Table:
    """A group of tables of one registry file; every public method is one transaction."""

    def __init__(self, database: Database) -> None:
        """Use the tables of an open registry."""
        self._database = database


def as_mcp_error(path: Path, error: sqlite3.DatabaseError) -> McpError:
    """Translate an SQLite error for the operator; re-raises it if it is a bug of ours."""
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_NOTADB" or name.startswith("SQLITE_CORRUPT"):
        return RegistryError(f"{path}: is not a database, or is damaged", "restore a copy, or move the file away")
    if name == "SQLITE_FULL" or (name.startswith("SQLITE_IOERR") and _is_full(path.parent)):
        return CannotWrite(f"{path}: cannot be written: {error}", "make room on its disk")
    if name.startswith("SQLITE_IOERR"):
        hint = "look for errors of its disk in the kernel's log, and at quotas"
        return CannotWrite(f"{path}: cannot be read or written: {error}", hint)
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return CannotWrite(f"{path}: cannot be written: {error}", "check the owner and mode of the file and its folder")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return NotReady(f"{path}: is locked by another process for more than {in_seconds(BUSY_TIMEOUT)} s", "try again")
    raise error


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
