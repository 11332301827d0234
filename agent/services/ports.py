"""Select host ports for routes, and check host ports. The registry reserves those of routes, published on 127.0.0.1."""

import asyncio
import errno
import os
import random
import socket
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from agent.podman.inspect import ANY_ADDRESS
from mcp.shared.errors import NotReady
from mcp.shared.ports import parts

FIRST, LAST = 10000, 60000
ATTEMPTS = 2000
PAUSES = (0.05, 0.15, 0.3, 0.0)  # seconds until a port that is taken is tried again
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class HostPort:
    """A host port to publish."""

    address: str
    number: int
    protocol: str  # tcp or udp

    def refusal(self) -> int:
        """Return 0 if a container can listen on the port, otherwise the errno of bind(2).

        Connections that have ended do not matter, as they do not for podman.
        """
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        kind = socket.SOCK_STREAM if self.protocol == "tcp" else socket.SOCK_DGRAM
        try:
            with closing(socket.socket(family, kind)) as probe:
                if kind is socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((self.address, self.number))
        except OSError as error:
            return error.errno or errno.EADDRINUSE
        return 0

    def __str__(self) -> str:
        """Return [ADDRESS:]NUMBER[/udp], as in a definition."""
        port = f"{self.number}{'/udp' if self.protocol == 'udp' else ''}"
        if self.address == ANY_ADDRESS:
            return port
        return f"[{self.address}]:{port}" if ":" in self.address else f"{self.address}:{port}"


def unusable(port: HostPort, refusal: int) -> NotReady:
    """Return the error for a host port that bind(2) refuses with this errno."""
    if refusal == errno.EADDRINUSE:
        lists = "-lunp" if port.protocol == "udp" else "-ltnp"
        hint = f"choose another one, or stop the program: `ss {lists} 'sport = :{port.number}'`"
        return NotReady(f"host port {port} is in use by another program", hint)
    if refusal in (errno.EACCES, errno.EPERM):
        hint = f"choose a higher one, or set net.ipv4.ip_unprivileged_port_start={port.number} in /etc/sysctl.d"
        return NotReady(f"host port {port} is privileged", hint)
    if refusal == errno.EADDRNOTAVAIL:
        return NotReady(f"host port {port}: this node has no address {port.address}", "name one that it has, or none")
    return NotReady(f"host port {port}: {os.strerror(refusal)}")


def parse_port(mapping: str) -> HostPort:
    """Return the host port of a valid `[IP:]HOST:CONTAINER[/PROTOCOL]`."""
    found = parts(mapping)
    return HostPort((found["ip"] or "").strip("[]") or ANY_ADDRESS, int(found["host"]), found["protocol"] or "tcp")


async def taken(numbers: Iterable[int]) -> set[int]:
    """Return those host ports of routes that something listens on, or a connection goes out from.

    Waits for a moment: a container that was stopped just now may still hold its ports.
    """
    left = set(numbers)
    for pause in PAUSES:
        left = {number for number in left if HostPort(LOOPBACK, number, "tcp").refusal()}
        if not left:
            break
        await asyncio.sleep(pause)
    return left


def candidates() -> Iterator[int]:
    """Yield ports that are currently free, in random order to delay the reuse of released ports.

    Outgoing connections take ports of the ephemeral range at any time: these come last.
    """
    ephemeral = ephemeral_ports()
    outside = [port for port in range(FIRST, LAST + 1) if port not in ephemeral]
    inside = [port for port in range(FIRST, LAST + 1) if port in ephemeral]
    for port in chain(*(random.sample(ports, min(ATTEMPTS, len(ports))) for ports in (outside, inside))):
        if is_free(port):
            yield port


def ephemeral_ports() -> range:
    """Return the ports that the kernel gives to outgoing connections."""
    try:
        first, last = EPHEMERAL.read_text().split()
        return range(int(first), int(last) + 1)
    except (OSError, ValueError):
        return range(32768, 61000)  # Linux's default


def is_free(port: int) -> bool:
    """Return True if nothing listens on `port` on loopback or on all addresses, and no connection goes out from it."""
    for address in (LOOPBACK, ANY_ADDRESS):
        with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True
