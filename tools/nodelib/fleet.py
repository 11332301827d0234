"""Nodes that can reach each other: made together, and removed together, however the program that made them ends.

A fleet has a number, the first that is free, from which all its names and addresses are made; it is taken by a lock
file for as long as the owner lives. What a killed run left is therefore known by its folder, whose lock nobody
holds, and the next run removes it. A fleet that is kept has no owner; `make fleet-down` removes it.
"""

import atexit
import contextlib
import fcntl
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tools.hostlib.bootstrap import checked
from tools.hostlib.machine import HostError
from tools.nodelib import network
from tools.nodelib.image import image
from tools.nodelib.node import Node

BASE = Path("/var/lib/mcp-nodes")  # not in a temporary folder, which may be in memory, and is tidied up by others
MOST = 100  # fleets at a time
KEPT = "kept"


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
        (self.folder / KEPT).touch()
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


def sweep(*, kept: bool = False) -> list[str]:
    """Remove what nobody owns, and with `kept` also what was to be left up; return the names of the nodes removed."""
    removed = []
    for folder in sorted(BASE.glob("[0-9]*/")):
        if (folder / KEPT).exists() and not kept:
            continue
        with contextlib.suppress(BlockingIOError):
            fleet = _locked(int(folder.name))
            removed += [node.name for node in folder.glob("nodes/*")]
            fleet.remove()
    return removed


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
    raise HostError(f"{MOST} fleets of nodes are up on this machine: run `make fleet-down`")


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


def kept() -> Iterator[Path]:
    """The ssh configurations of the fleets that were left up."""
    for marker in sorted(BASE.glob(f"[0-9]*/{KEPT}")):
        yield marker.parent / "ssh_config"
