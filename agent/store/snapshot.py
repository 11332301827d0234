"""Copy the registry consistently for `mcp-agent snapshot FILE`, even while the agent runs."""

import os
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path

from agent.store.database import BUSY_TIMEOUT, RegistryError, as_mcp_error
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


def _copy(database: Path, target: str) -> None:
    """Fill the empty file `target`. Does not migrate the schema: a copy made before an upgrade is for the old agent."""
    address = f"{database.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT)) as source:
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
