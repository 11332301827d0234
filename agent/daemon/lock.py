"""Lock the agent's state for the lifetime of the process.

The lock is on the registry itself, whatever it is called: folders can be links or mounts, and files have several names.
flock(2) does not meddle with the fcntl locks of SQLite on a local filesystem, see
https://man7.org/linux/man-pages/man2/flock.2.html; but the process loses those when it closes any descriptor of the
file, see https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_.
A second lock, on a file beside the registry, is for its name: it also keeps agents up to 0.2.0 out, which have no
other, and holds while the registry is replaced.
"""

import fcntl
import os
from pathlib import Path

from mcp.shared.errors import NotReady

OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class Lock:
    """A lock that is held; release it after SQLite has closed the registry."""

    def __init__(self, descriptors: list[int]) -> None:
        """Take over open descriptors."""
        self._descriptors = descriptors

    def release(self) -> None:
        """Release the lock."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def hold_lock(database: Path, *, create: bool = True) -> Lock:
    """Lock the state for this process; `create` the registry as an empty file if it is missing. Raises NotReady."""
    lock = Lock([_locked(database.with_name(database.name + ".lock"), database, OPEN | os.O_CREAT)])
    try:
        while create or database.exists():
            held = _locked(database, database, OPEN | (os.O_CREAT if create else 0))
            if _is_at(held, database):
                return Lock([*lock._descriptors, held])
            os.close(held)  # replaced in the meantime
    except BaseException:
        lock.release()
        raise
    return lock


def refuse_if_held(database: Path) -> None:
    """Raise NotReady if an agent uses the state."""
    if database.exists():
        hold_lock(database, create=False).release()


def _locked(path: Path, database: Path, flags: int) -> int:
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise NotReady(f"{path}: cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise NotReady(f"{database} is in use by another mcp-agent", "stop it first") from None
    return descriptor


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False
