"""Looking at processes from outside."""

import secrets
import socket
from contextlib import suppress
from pathlib import Path

RESERVING = "127.83.0.1"  # that a port of it is bound says that the one of 127.0.0.1 is somebody's
_held: list[socket.socket] = []


def command_line(pid: int) -> list[str]:
    """The words that a process was started with; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def pids() -> list[int]:
    """Every process there is."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def resident_bytes(pid: int) -> int:
    """The memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def children(pid: int) -> set[int]:
    """The processes that a process has started and that have not been waited for."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # a thread that has ended meanwhile
            found |= {int(child) for child in (task / "children").read_text().split()}
    return found


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on, and that no other caller gets as long as this process lives.

    Another address holds it for us; it lies below those that the kernel gives to whoever does not name one.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        held = socket.socket()
        try:
            held.bind((RESERVING, port))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            held.close()
            continue
        _held.append(held)
        return port
