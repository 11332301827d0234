"""A control group for each node: else nodes would see each other's units; one write ends a whole node."""

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
    """The group's folder in each hierarchy: cgroup v2 first, then systemd's own where this machine is hybrid."""
    if machine.has_cgroup2():
        return [MOUNT / name]
    return [MOUNT / "unified" / name, MOUNT / "systemd" / name]


def make(name: str) -> None:
    """Make the group, empty, or take the one that is there."""
    for folder in folders(name):
        if not folder.parent.is_dir():
            raise HostError(f"{folder.parent} is missing: nodes need a cgroup v2 hierarchy, unified or hybrid")
        folder.mkdir(exist_ok=True)


def inside(name: str, argv: list[str]) -> list[str]:
    """The command, started in that group."""
    joins = "".join(f"echo 0 >{folder}/cgroup.procs; " for folder in folders(name))
    return ["sh", "-euc", f'{joins}exec "$@"', "sh", *argv]


def processes(name: str) -> Iterator[int]:
    """PIDs of all processes in the group and below it."""
    for folder, _, _ in os.walk(folders(name)[0]):  # passes over groups that go while we look, where rglob fails
        try:
            yield from map(int, Path(folder, "cgroup.procs").read_text().split())
        except OSError:
            continue


def first(name: str) -> int | None:
    """The PID, as this machine counts, of the process 1 that runs in the group; None if there is none."""
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
    """Kill everything in the group, wait until it is gone, and remove the group; harmless if it is not there."""
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
    """Ask the systemd with that PID to shut its system down in good order."""
    os.kill(pid, signal.SIGRTMIN + 4)


def _removed(folder: Path) -> bool:
    try:
        for below in sorted(folder.rglob("*"), reverse=True):
            if below.is_dir():
                below.rmdir()
        folder.rmdir()
    except OSError:  # busy: what was killed has not been reaped yet
        return False
    return True
