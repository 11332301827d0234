"""One agent for one state: a lock that ends with the process, however it ends."""

import fcntl
import os
from pathlib import Path

from mcp.shared.errors import NotReady


def hold_lock(database: Path) -> int:
    """Lock the state so that only one agent uses it; the lock ends with the process. Raises NotReady."""
    path = database.with_name(database.name + ".lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise NotReady(f"{path}: cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise NotReady(f"another mcp-agent uses {database}", "stop it first") from None
    return descriptor


def refuse_if_held(database: Path) -> None:
    """Raise NotReady where an agent uses the state."""
    if database.exists():
        os.close(hold_lock(database))
