"""Bounds on connections that have shown no token: their number, in all and per address, and their age.

grpcio accepts connections by itself and lets nobody close one. Ours are found among the process's own descriptors, by
the port, and shut down there; gRPC then closes them as if the client had gone. Without this, a thousand idle
connections use up the descriptors that podman, the registry and the watchdog need.
"""

import asyncio
import errno
import os
import resource
import socket
import stat
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from agent.auth.peers import OTHERS, address_and_port, network_of, plain_address
from agent.log import fields, logger

T = TypeVar("T")

OPEN_FILES = 16384  # descriptors that we ask for; the hard limit is left alone, since podman gives it to containers
RESERVE = 512  # descriptors that connections never get
CONNECTIONS = 8192  # in all, those of authenticated clients too; gRPC closes more at once
STRANGERS = 256  # connections without a token in all; beyond, those of the busiest addresses are closed
STRANGERS_OF_ADDRESS = 64
SECONDS = 10.0  # until a connection must have shown a token
CALM, BUSY = 0.25, 0.1  # seconds between two looks, and with more than STRANGERS_OF_ADDRESS strangers
REPORT_SECONDS = 60.0  # between two lines of the log
ADDRESSES = 1000  # counted one by one for such a line; the others together


def raise_open_files() -> int:
    """Raise the soft limit of open files to OPEN_FILES if the hard one allows it; return the new one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft if soft != resource.RLIM_INFINITY else OPEN_FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def connections_for(open_files: int) -> int:
    """Return how many connections may be open with this limit of open files."""
    return max(64, min(CONNECTIONS, open_files - RESERVE))


@dataclass(eq=False)
class _Connection:
    """A connection to our port; sockets are told apart by their inode, which no other open one has."""

    descriptor: int
    inode: int
    address: str
    peer: tuple[str, int]
    since: float


class Connections:
    """The connections to our port. One that has shown a token is never closed."""

    def __init__(self, port: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Watch the connections to a local TCP port."""
        self._port = port
        self._monotonic = monotonic
        self._strangers: dict[int, _Connection] = {}  # by inode, oldest first
        self._known: set[int] = set()  # inodes of other sockets, and of connections that have shown a token
        self._trusted: deque[tuple[str, int]] = deque()  # address and port of calls with a token, since the last look
        self._closed: Counter[str] = Counter()
        self._reported = -REPORT_SECONDS

    def trust(self, peer: str) -> None:
        """Note that a call with a valid token came from a peer, in gRPC's form."""
        self._trusted.append(address_and_port(peer))

    async def watch(self) -> None:
        """Look after the connections until cancelled, also when other work has used up the descriptors.

        In a thread, since a look takes up to a second in a flood of 5,000 new connections a second on a busy machine.
        """
        loop, thread, failed = asyncio.get_running_loop(), ThreadPoolExecutor(1, "connections"), False
        while True:
            try:
                count = await loop.run_in_executor(thread, self.look)
            except OSError as error:
                count = STRANGERS
                if not failed:  # once, as it is tried again soon
                    logger.warning("cannot look after connections", extra=fields(error=error.strerror))
                failed = True
            await asyncio.sleep(BUSY if count > STRANGERS_OF_ADDRESS else CALM)

    def look(self) -> int:
        """Close what is over the bounds; return how many connections were open without a token.

        Raises OSError if no descriptor is free; then the next look finds what this one has left.
        """
        now = self._monotonic()
        self._update(now)
        strangers = list(self._strangers.values())
        for connection in over_bounds(strangers, now, _has_sent):
            if connection.peer not in self._trusted:  # meanwhile
                if _shut_down(connection):
                    self._count(connection.address)
                self._know(connection.inode)
        self._report(now)
        return len(strangers)

    def _update(self, now: float) -> None:
        count = len(self._trusted)  # what comes later may be of connections that are not in the listing
        present = set()
        for descriptor, inode in _sockets():
            present.add(inode)
            if inode not in self._strangers and inode not in self._known:
                self._add(descriptor, inode, now)
        trusted = {self._trusted.popleft() for _ in range(count)}
        for inode in [inode for inode, each in self._strangers.items() if inode not in present or each.peer in trusted]:
            self._know(inode)
        self._known &= present

    def _know(self, inode: int) -> None:
        del self._strangers[inode]
        self._known.add(inode)

    def _add(self, descriptor: int, inode: int, now: float) -> None:
        peer = _peer(descriptor, inode, self._port)
        if peer is None:
            self._known.add(inode)
        else:
            self._strangers[inode] = _Connection(descriptor, inode, network_of(peer[0]), peer, now)

    def _count(self, address: str) -> None:
        self._closed[address if address in self._closed or len(self._closed) < ADDRESSES else OTHERS] += 1

    def _report(self, now: float) -> None:
        if not self._closed or now - self._reported < REPORT_SECONDS:
            return
        address, count = self._closed.most_common(1)[0]
        values = fields(count=self._closed.total(), addresses=len(self._closed), most_from=address, of_them=count)
        logger.warning("closed connections without a token", extra=values)
        self._closed.clear()
        self._reported = now


def over_bounds(
    strangers: Iterable[_Connection], now: float, has_sent: Callable[[_Connection], bool]
) -> list[_Connection]:
    """Return the connections to close, of `strangers`, which are in order of age.

    Those that are too old go, then of each address those beyond its share, then of the busiest addresses until the rest
    is within the bound for all, so that a client at another address stays. Of those that have the same chance, those go
    first that have sent nothing, then the oldest.
    """
    closing = []
    by_address: dict[str, list[_Connection]] = {}
    for each in strangers:
        if now - each.since >= SECONDS:
            closing.append(each)
        else:
            by_address.setdefault(each.address, []).append(each)
    share = STRANGERS_OF_ADDRESS if len(by_address) < STRANGERS else 1
    while share > 1 and sum(min(len(found), share) for found in by_address.values()) > STRANGERS:
        share -= 1
    rest = []
    for found in by_address.values():
        if len(found) > share:
            found.sort(key=has_sent)
        closing += found[: max(0, len(found) - share)]
        rest += found[-share:]
    if len(rest) > STRANGERS:
        rest.sort(key=has_sent)
    return closing + rest[: max(0, len(rest) - STRANGERS)]


def _has_sent(connection: _Connection) -> bool:
    """Tell if the client has sent anything: tcpi_bytes_received of struct tcp_info in linux/tcp.h."""

    def bytes_received(client: socket.socket) -> bytes:
        return client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)[128:]

    return _asked(connection.descriptor, connection.inode, bytes_received) not in (None, bytes(8))


def _sockets() -> Iterator[tuple[int, int]]:
    """Yield the descriptor and inode of each of our sockets."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - thousands of names, several times a second
        with suppress(OSError):  # closed meanwhile, like the descriptor of the listing itself
            status = os.fstat(int(name))
            if stat.S_ISSOCK(status.st_mode):
                yield int(name), status.st_ino


def _peer(descriptor: int, inode: int, port: int) -> tuple[str, int] | None:
    """Return the address and port of the client of a connection to our port; None for another socket."""

    def client(found: socket.socket) -> tuple[str, int] | None:
        own = found.getsockname()
        if not isinstance(own, tuple) or own[1] != port:  # a path for AF_UNIX
            return None
        address, number = found.getpeername()[:2]
        return plain_address(address), number

    return _asked(descriptor, inode, client)


def _asked(descriptor: int, inode: int, question: Callable[[socket.socket], T]) -> T | None:
    """Return what a socket says of itself; None if it has no answer, or if the descriptor is another's by now.

    Other threads may close the descriptor at any time. If it has the inode after the question, it had it before.
    """
    try:
        borrowed = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, descriptor)
    except OSError:  # no socket
        return None
    try:
        answer = question(borrowed)
        return answer if os.fstat(descriptor).st_ino == inode else None
    except OSError:  # closed, reset, or listening
        return None
    finally:
        borrowed.detach()


def _shut_down(connection: _Connection) -> bool:
    """Shut a connection down, upon which gRPC closes it; False if it is closed. Raises OSError without a descriptor.

    It is done to a duplicate, which no other thread can close. One of a file stays open: if this process closed any
    descriptor of the registry, SQLite would lose its locks, see agent.daemon.lock.
    """
    if _asked(connection.descriptor, connection.inode, lambda _client: True) is None:
        return False
    try:
        copy = os.dup(connection.descriptor)
    except OSError as error:
        if error.errno == errno.EBADF:
            return False
        raise
    status = os.fstat(copy)
    if status.st_ino == connection.inode:
        with socket.socket(fileno=copy) as ours, suppress(OSError):  # reset
            ours.shutdown(socket.SHUT_RDWR)
        return True
    if not stat.S_ISREG(status.st_mode):
        os.close(copy)
    return False
