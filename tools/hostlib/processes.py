"""Find and end the processes of one private podman."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tools.hostlib.machine import HostError

PROC = Path("/proc")


def belonging(runtime: Path, storage: Path) -> list[int]:
    """Return the PIDs of all live processes of the podman with that XDG_RUNTIME_DIR and storage.

    Podman's helpers (pause, conmon, slirp4netns or pasta, rootlessport, aardvark-dns) have XDG_RUNTIME_DIR in their
    environment; containers have the storage among their mounts.
    """
    mark = f"XDG_RUNTIME_DIR={runtime}".encode()
    mounts = (PROC / "self/ns/mnt").readlink()
    return [pid for pid in _live() if mark in _environ(pid) or _mounted(pid, mounts, bytes(storage))]


def end(runtime: Path, storage: Path, seconds: float = 10) -> None:
    """Kill the processes and wait for their end; raises HostError after `seconds`."""
    deadline = time.monotonic() + seconds
    while pids := belonging(runtime, storage):
        if time.monotonic() > deadline:
            raise HostError(f"processes of {storage} do not end: {' '.join(map(str, pids))}")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _live() -> Iterator[int]:
    """Yield all PIDs except zombies and this process."""
    for entry in PROC.iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            state = _read(entry / "stat").rpartition(b") ")[2][:1]
            if state not in (b"", b"Z", b"X"):
                yield int(entry.name)


def _environ(pid: int) -> list[bytes]:
    return _read(PROC / str(pid) / "environ").split(b"\0")


def _mounted(pid: int, own: Path, storage: bytes) -> bool:
    """Return True if the process has a mount namespace of its own that includes the storage."""
    try:
        if (PROC / str(pid) / "ns/mnt").readlink() == own:
            return False
    except OSError:
        return False
    return storage in _read(PROC / str(pid) / "mountinfo")


def _read(path: Path) -> bytes:
    """Read a file of a process; empty if the process has ended or belongs to another user."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
