"""Nodes that can reach each other: made together, and removed together, however the program that made them ends.

A fleet has a number, the first that is free, from which all its names and addresses are made; it is taken by a lock
file for as long as the owner lives. What a killed run left is therefore known by its folder, whose lock nobody
holds, and the next run removes it. A fleet that is kept has no owner; `make fleet-down` in the clone that made it,
whose path stands in the file `kept`, removes it.
"""

import atexit
import contextlib
import fcntl
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from mcp.shared.resources import ROOT
from tools.hostlib.bootstrap import checked
from tools.hostlib.machine import HostError
from tools.nodelib import network
from tools.nodelib.image import image
from tools.nodelib.node import Node

BASE = Path("/var/lib/mcp-nodes")  # not in a temporary folder, which may be in memory, and is tidied up by others
MOST = 100  # fleets at a time
KEPT = "kept"  # the file in a fleet's folder that says which clone left it up
CLONE = ROOT.resolve()


class Fleet:
    """Nodes by name. As a context manager it removes them at the end."""

    def __init__(self, number: int, lock: IO[str]) -> None:
        """Take the number, whose lock is held; see create()."""
        self.number, self.lock = number, lock
        self.folder = BASE / str(number)
        self.nodes: dict[str, Node] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    @property
    def ssh_config(self) -> Path:
        """For `ssh -F`: each node by its name, as root, with our key and its own."""
        return self.folder / "ssh_config"

    def ssh(self, name: str, *command: str) -> list[str]:
        """The argv of a command over ssh."""
        return ["ssh", "-F", str(self.ssh_config), name, *command]

    def keep(self) -> None:
        """Leave it up when we end."""
        (self.folder / KEPT).write_text(f"{CLONE}\n")
        atexit.unregister(self.remove)

    def remove(self) -> None:
        """End all nodes and remove every trace of them; harmless if done already."""
        atexit.unregister(self.remove)
        if self.folder.is_dir():
            for folder in self.folder.glob("nodes/*"):
                node = self.nodes.get(folder.name) or Node(self.number, 0, folder.name, "", folder)
                node.remove()
            network.remove_bridge(self.number)
            shutil.rmtree(self.folder)
        self.lock.close()


def create(nodes: Mapping[str, str], *, account: bool = True) -> Fleet:
    """Boot nodes, given as names and Debian versions ("12" or "13"), with the user mcp unless `account` is false.

    Each is reached by its name from the others, and by its address from here. HostError if it cannot be done.
    """
    for debian in set(nodes.values()):
        image(debian)
    sweep()
    fleet = _free()
    atexit.register(fleet.remove)
    try:
        _make(fleet, nodes)
        for node in fleet.nodes.values():
            node.start()
        for node in fleet.nodes.values():
            node.wait_up()
            if account:
                node.add_account()
    except BaseException:
        fleet.remove()
        raise
    return fleet


def sweep() -> list[str]:
    """Remove what nobody owns, but not what was to be left up; return the names of the nodes removed."""
    numbers = sorted(int(folder.name) for folder in BASE.glob("[0-9]*/"))
    return [name for number in numbers for name in _end(number, even_kept=False)]


def kept() -> dict[int, str]:
    """The numbers of the fleets that were left up, each with the path of the clone that did."""
    found = {}
    for marker in BASE.glob(f"[0-9]*/{KEPT}"):
        with contextlib.suppress(FileNotFoundError):  # somebody ends it just now
            found[int(marker.parent.name)] = marker.read_text().strip()
    return found


def end_kept(number: int | None = None) -> list[str]:
    """End the fleet of that number, or those that this clone left up; return the names of the nodes removed.

    Raises HostError where no fleet of that number was left up.
    """
    up = kept()
    if number is None:
        return [name for own in sorted(up) if up[own] == str(CLONE) for name in _end(own)]
    if number not in up:
        known = ", ".join(map(str, sorted(up)))
        raise HostError(f"no fleet {number} was left up" + (f"; there are: {known}" if known else ""))
    return _end(number)


def _end(number: int, *, even_kept: bool = True) -> list[str]:
    """End a fleet unless a process owns it; return the names of the nodes removed."""
    try:
        fleet = _locked(number)
    except BlockingIOError:
        return []
    if not even_kept and (fleet.folder / KEPT).exists():
        fleet.lock.close()
        return []
    names = [node.name for node in fleet.folder.glob("nodes/*")]
    fleet.remove()
    return names


def _make(fleet: Fleet, nodes: Mapping[str, str]) -> None:
    fleet.folder.mkdir(mode=0o700)
    key = fleet.folder / "id_ed25519"
    checked(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "mcp-nodes", "-f", str(key)], 20)
    network.make_bridge(fleet.number)
    for number, (name, debian) in enumerate(nodes.items(), 1):
        fleet.nodes[name] = Node(fleet.number, number, name, debian, fleet.folder / "nodes" / name)
    entries = [f"{node.address} {node.name}" for node in fleet.nodes.values()]
    for node in fleet.nodes.values():
        node.folder.mkdir(parents=True)
        hosts = ["127.0.0.1 localhost", "::1 localhost", f"{network.gateway(fleet.number)} operator", *entries]
        node.prepare("\n".join([*hosts, ""]), key.with_suffix(".pub").read_text())
    _write_ssh_config(fleet, list(fleet.nodes.values()), key)


def _write_ssh_config(fleet: Fleet, nodes: Sequence[Node], key: Path) -> None:
    known = fleet.folder / "known_hosts"
    known.write_text("".join(f"{node.address} {node.host_key}\n" for node in nodes))
    blocks = [f"Host {node.name}\n  HostName {node.address}\n" for node in nodes]
    common = (
        f"Host *\n  User root\n  IdentityFile {key}\n  IdentitiesOnly yes\n  UserKnownHostsFile {known}\n"
        "  StrictHostKeyChecking yes\n  BatchMode yes\n  ConnectTimeout 10\n"
    )
    fleet.ssh_config.write_text("".join([*blocks, common]))


def _free() -> Fleet:
    for number in range(MOST):
        if not (BASE / str(number)).exists():
            with contextlib.suppress(BlockingIOError):
                fleet = _locked(number)
                if not fleet.folder.exists():
                    return fleet
                fleet.lock.close()
    raise HostError(
        f"{MOST} fleets of nodes are up on this machine: run `make fleet-down` in the clones that made them"
    )


def _locked(number: int) -> Fleet:
    """The fleet of that number, whose owner we are; BlockingIOError if another process is."""
    BASE.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (BASE / f"{number}.lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise
    return Fleet(number, lock)
