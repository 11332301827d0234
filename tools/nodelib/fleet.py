"""Fleets of nodes that can reach each other, removed at the end of their owner process.

A fleet has a number, the first free one, which determines its names and addresses; the owner holds the number's lock
file. The next run removes the folders of killed runs, whose lock is free. A kept fleet has no owner; `make fleet-down`
removes it, in the clone named in the file `kept`.
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

BASE = Path("/var/lib/mcp-nodes")  # not a temporary folder, which may be in memory or cleaned by others
MOST = 100  # concurrent fleets
KEPT = "kept"  # the file with the path of the clone that kept a fleet
CLONE = ROOT.resolve()


class Fleet:
    """Nodes by name; the context manager removes them."""

    def __init__(self, number: int, lock: IO[str]) -> None:
        """Use a number whose lock is held; see create()."""
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
        """The configuration for `ssh -F`, with all nodes by name, as root."""
        return self.folder / "ssh_config"

    def ssh(self, name: str, *command: str) -> list[str]:
        """Return the argv of ssh to a node."""
        return ["ssh", "-F", str(self.ssh_config), name, *command]

    def keep(self) -> None:
        """Keep the fleet after the end of the process."""
        (self.folder / KEPT).write_text(f"{CLONE}\n")
        atexit.unregister(self.remove)

    def remove(self) -> None:
        """End all nodes and remove their files; idempotent."""
        atexit.unregister(self.remove)
        if self.folder.is_dir():
            for folder in self.folder.glob("nodes/*"):
                node = self.nodes.get(folder.name) or Node(self.number, 0, folder.name, "", folder)
                node.remove()
            network.remove_bridge(self.number)
            shutil.rmtree(self.folder)
        self.lock.close()


def create(nodes: Mapping[str, str], *, account: bool = True) -> Fleet:
    """Boot nodes, given as names and Debian versions ("12" or "13"), with the user mcp if `account`.

    Nodes reach each other by name, and are reached from here by address. Raises HostError.
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
    """Remove fleets without owner that are not kept; return the names of their nodes."""
    numbers = sorted(int(folder.name) for folder in BASE.glob("[0-9]*/"))
    return [name for number in numbers for name in _end(number, even_kept=False)]


def kept() -> dict[int, str]:
    """Return the numbers of kept fleets, with the paths of their clones."""
    found = {}
    for marker in BASE.glob(f"[0-9]*/{KEPT}"):
        with contextlib.suppress(FileNotFoundError):  # being removed
            found[int(marker.parent.name)] = marker.read_text().strip()
    return found


def end_kept(number: int | None = None) -> list[str]:
    """End a kept fleet by number, or all of this clone; return the names of their nodes.

    Raises HostError if no fleet with that number is kept.
    """
    up = kept()
    if number is None:
        return [name for own in sorted(up) if up[own] == str(CLONE) for name in _end(own)]
    if number not in up:
        known = ", ".join(map(str, sorted(up)))
        raise HostError(f"no fleet {number} is kept up" + (f"; there are: {known}" if known else ""))
    return _end(number)


def _end(number: int, *, even_kept: bool = True) -> list[str]:
    """End a fleet unless a process owns it; return the names of its nodes."""
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
    """Return the fleet with that number, locked; raises BlockingIOError if another process owns it."""
    BASE.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (BASE / f"{number}.lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise
    return Fleet(number, lock)
