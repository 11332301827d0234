"""Finding and ending the processes that one private podman left behind, and no others."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tools.hostlib.machine import HostError

PROC = Path("/proc")


def belonging(runtime: Path, storage: Path) -> list[int]:
    """PIDs of all live processes of the podman with that XDG_RUNTIME_DIR and that storage.

    Podman's helpers (pause, conmon, slirp4netns or pasta, rootlessport, aardvark-dns) carry XDG_RUNTIME_DIR in their
    environment. Containers do not, but see the storage among their own mounts.
    """
    mark = f"XDG_RUNTIME_DIR={runtime}".encode()
    mounts = (PROC / "self/ns/mnt").readlink()
    return [pid for pid in _live() if mark in _environ(pid) or _mounted(pid, mounts, bytes(storage))]


def end(runtime: Path, storage: Path, seconds: float = 10) -> None:
    """Kill them all and wait until they are gone; HostError if some are not after that many seconds."""
    deadline = time.monotonic() + seconds
    while pids := belonging(runtime, storage):
        if time.monotonic() > deadline:
            raise HostError(f"processes of {storage} do not end: {' '.join(map(str, pids))}")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _live() -> Iterator[int]:
    """All PIDs but zombies (their parent may take its time) and ourselves."""
    for entry in PROC.iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            state = _read(entry / "stat").rpartition(b") ")[2][:1]
            if state not in (b"", b"Z", b"X"):
                yield int(entry.name)


def _environ(pid: int) -> list[bytes]:
    return _read(PROC / str(pid) / "environ").split(b"\0")


def _mounted(pid: int, own: Path, storage: bytes) -> bool:
    """True if the process has other mounts than we have, and the storage is one of them."""
    try:
        if (PROC / str(pid) / "ns/mnt").readlink() == own:
            return False
    except OSError:
        return False
    return storage in _read(PROC / str(pid) / "mountinfo")


def _read(path: Path) -> bytes:
    """A process may end, or belong to somebody else, while we look: then there is nothing to read."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
