"""A control group per node, which isolates its units and can be killed at once."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tools.hostlib import machine
from tools.hostlib.machine import HostError

MOUNT = Path("/sys/fs/cgroup")
SECONDS = 20


def folders(name: str) -> list[Path]:
    """Return the group's folders: cgroup v2 first, then systemd's hierarchy on a hybrid machine."""
    if machine.has_cgroup2():
        return [MOUNT / name]
    return [MOUNT / "unified" / name, MOUNT / "systemd" / name]


def make(name: str) -> None:
    """Create the group if missing."""
    for folder in folders(name):
        if not folder.parent.is_dir():
            raise HostError(f"{folder.parent} is missing: nodes need a cgroup v2 hierarchy, unified or hybrid")
        folder.mkdir(exist_ok=True)


def inside(name: str, argv: list[str]) -> list[str]:
    """Return the argv to start a command in the group."""
    joins = "".join(f"echo 0 >{folder}/cgroup.procs; " for folder in folders(name))
    return ["sh", "-euc", f'{joins}exec "$@"', "sh", *argv]


def processes(name: str) -> Iterator[int]:
    """Yield the PIDs in the group and its descendants."""
    for folder, _, _ in os.walk(folders(name)[0]):  # unlike rglob, skips groups removed during the walk
        try:
            yield from map(int, Path(folder, "cgroup.procs").read_text().split())
        except OSError:
            continue


def first(name: str) -> int | None:
    """Return the host PID of the node's process 1 in the group, or None."""
    for pid in processes(name):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        spaces = next((line for line in status.splitlines() if line.startswith("NSpid:")), "").split()[1:]
        if len(spaces) == 2 and spaces[1] == "1":
            return pid
    return None


def end(name: str) -> None:
    """Kill all processes in the group, and remove it; idempotent."""
    unified = folders(name)[0]
    deadline = time.monotonic() + SECONDS
    while list(processes(name)):
        if time.monotonic() > deadline:
            raise HostError(f"processes of {unified} do not end: {' '.join(map(str, processes(name)))}")
        (unified / "cgroup.kill").write_text("1")
        time.sleep(0.01)
    for folder in folders(name):
        while folder.is_dir() and not _removed(folder):
            if time.monotonic() > deadline:
                raise HostError(f"{folder} cannot be removed")
            time.sleep(0.01)


def power_off(pid: int) -> None:
    """Ask the systemd with that PID to power off."""
    os.kill(pid, signal.SIGRTMIN + 4)


def _removed(folder: Path) -> bool:
    try:
        for below in sorted(folder.rglob("*"), reverse=True):
            if below.is_dir():
                below.rmdir()
        folder.rmdir()
    except OSError:  # busy until killed processes are reaped
        return False
    return True
