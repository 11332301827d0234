"""Lock the agent's state for the lifetime of the process."""

import fcntl
import os
from pathlib import Path

from mcp.shared.errors import NotReady


def hold_lock(database: Path) -> int:
    """Lock the state for this process, and return the lock's descriptor; raises NotReady."""
    path = database.with_name(database.name + ".lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise NotReady(f"{path}: cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise NotReady(f"{database} is in use by another mcp-agent", "stop it first") from None
    return descriptor


def refuse_if_held(database: Path) -> None:
    """Raise NotReady if an agent uses the state."""
    if database.exists():
        os.close(hold_lock(database))
