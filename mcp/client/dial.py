"""Resolve the address of an agent, and find the one of several that answers, in the manner of RFC 8305.

gRPC tries the next address of a name only after the connection timeout of the dead one, which is the end of the call,
and its errors are its own prose.
"""

import os
import queue
import re
import selectors
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from typing import Any, NamedTuple

from mcp.config.addresses import LINK_LOCAL, Address
from mcp.shared.errors import Unreachable
from mcp.shared.times import in_seconds

ATTEMPT_DELAY = 0.25  # seconds between two connection attempts, as RFC 8305 recommends
CHECK_INTERVAL = 0.1  # seconds between two looks at `cancelled`
CHECK_ADDRESS = "check the node's address in mcp.toml"
CHECK_NODE = "check that the node is up and its address in mcp.toml"
CHECK_AGENT = "check that mcp-agent runs there (systemctl status mcp-agent)"


class Endpoint(NamedTuple):
    """A resolved address."""

    family: socket.AddressFamily
    sockaddr: tuple[Any, ...]

    def __str__(self) -> str:
        """Return IP:PORT, with brackets and zone for IPv6."""
        host, port = socket.getnameinfo(self.sockaddr, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
        return f"[{host}]:{port}" if self.family is socket.AF_INET6 else f"{host}:{port}"

    @property
    def target(self) -> str:
        """The target for gRPC, which does not resolve it again."""
        return f"{'ipv6' if self.family is socket.AF_INET6 else 'ipv4'}:{self}"


NEVER = threading.Event()  # for attempts that nobody cancels


def resolve(address: Address, seconds: float, cancelled: threading.Event = NEVER) -> list[Endpoint]:
    """Return the endpoints of an address, families interleaved; raises Unreachable."""
    _check(cancelled)
    if re.match(LINK_LOCAL, address.host) and not address.zone:
        what = f"{address.host} is a link-local address, which needs the interface of this machine that leads to it"
        raise Unreachable(what, f"write it as in [{address.host}%eth0]:{address.port}")
    if address.zone and not _has_interface(address.zone):
        what = f"{address.scoped_host}: this machine has no network interface {address.zone}"
        raise Unreachable(what, CHECK_ADDRESS)
    try:
        return _endpoints(address, socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):  # a name, whose resolution may wait for a name server
        pass
    answers: queue.SimpleQueue[list[Endpoint] | Exception] = queue.SimpleQueue()
    threading.Thread(target=_look_up, args=(address, answers), daemon=True).start()
    answer = _await(answers, seconds, cancelled)
    if answer is None:
        raise Unreachable(
            f"{address.host}: no answer from the name server in {in_seconds(seconds)} s", "check DNS here"
        )
    if isinstance(answer, Exception):
        reason = getattr(answer, "strerror", None) or answer
        raise Unreachable(f"{address.host}: unknown host name ({reason})", CHECK_ADDRESS)
    return answer


def _has_interface(zone: str) -> bool:
    try:
        return bool(zone.isdigit() or socket.if_nametoindex(zone))
    except OSError:
        return False


def _look_up(address: Address, answers: "queue.SimpleQueue[list[Endpoint] | Exception]") -> None:
    try:
        answers.put(_endpoints(address))
    except (OSError, UnicodeError) as error:
        answers.put(error)


def _await(
    answers: "queue.SimpleQueue[list[Endpoint] | Exception]", seconds: float, cancelled: threading.Event
) -> list[Endpoint] | Exception | None:
    """Return the answer, or None after `seconds`."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        _check(cancelled)
        try:
            return answers.get(timeout=min(left, CHECK_INTERVAL))
        except queue.Empty:
            continue
    return None


def _endpoints(address: Address, flags: int = 0) -> list[Endpoint]:
    """Resolve without duplicates, in the system's order with the families interleaved."""
    infos = socket.getaddrinfo(address.scoped_host, address.port, type=socket.SOCK_STREAM, flags=flags)
    found = dict.fromkeys(Endpoint(info[0], info[4]) for info in infos)
    families = dict.fromkeys(endpoint.family for endpoint in found)
    by_family = [[endpoint for endpoint in found if endpoint.family is family] for family in families]
    return [endpoint for endpoint in chain.from_iterable(zip_longest(*by_family)) if endpoint is not None]


def connect(
    address: Address, endpoints: Sequence[Endpoint], seconds: float, cancelled: threading.Event = NEVER
) -> tuple[Endpoint, socket.socket]:
    """Return the first endpoint that answers and the connection to it; raises Unreachable, naming each endpoint."""
    with _Race(endpoints) as race:
        deadline = time.monotonic() + seconds
        while race.is_open and (left := deadline - time.monotonic()) > 0:
            _check(cancelled)
            if winner := race.step(min(left, CHECK_INTERVAL)):
                return winner
        raise _unreachable(address, [(endpoint, race.failures.get(endpoint)) for endpoint in endpoints])


def _check(cancelled: threading.Event) -> None:
    if cancelled.is_set():
        raise Unreachable("the connection was closed before it was made")


class _Race:
    """Connection attempts to several endpoints, one begun after the other."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self.failures: dict[Endpoint, OSError] = {}
        self._waiting = list(endpoints)
        self._pending: dict[socket.socket, Endpoint] = {}
        self._selector = selectors.DefaultSelector()
        self._next = time.monotonic()

    def __enter__(self) -> "_Race":
        return self

    def __exit__(self, *_error: object) -> None:
        self._selector.close()
        for connection in self._pending:
            connection.close()

    @property
    def is_open(self) -> bool:
        """True while an endpoint may still answer."""
        return bool(self._waiting or self._pending)

    def step(self, seconds: float) -> tuple[Endpoint, socket.socket] | None:
        """Begin the next attempt if it is time, and wait a little for one to succeed."""
        now = time.monotonic()
        if self._waiting and (now >= self._next or not self._pending):
            self._next = now + ATTEMPT_DELAY
            self._begin(self._waiting.pop(0))
        until_next = max(0.0, self._next - now) if self._waiting else seconds
        for key, _events in self._selector.select(min(seconds, until_next)) if self._pending else ():
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            self._selector.unregister(connection)
            endpoint = self._pending.pop(connection)
            if not (number := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                return endpoint, connection
            connection.close()
            self._fail(endpoint, OSError(number, os.strerror(number)))
        return None

    def _begin(self, endpoint: Endpoint) -> None:
        connection = socket.socket(endpoint.family, socket.SOCK_STREAM)
        connection.setblocking(False)
        self._pending[connection] = endpoint
        try:
            connection.connect(endpoint.sockaddr)
        except BlockingIOError:
            pass
        except OSError as error:  # no route
            del self._pending[connection]
            connection.close()
            self._fail(endpoint, error)
            return
        self._selector.register(connection, selectors.EVENT_WRITE)

    def _fail(self, endpoint: Endpoint, error: OSError) -> None:
        self.failures[endpoint] = error
        self._next = time.monotonic()


def _unreachable(address: Address, failures: Sequence[tuple[Endpoint, OSError | None]]) -> Unreachable:
    """Return the error for endpoints and their failures, None meaning no answer."""
    if len(failures) == 1:
        ((endpoint, error),) = failures
        return Unreachable(*explained(located(address, endpoint), error))
    tried = ", ".join(explained(str(endpoint), error)[0] for endpoint, error in failures)
    return Unreachable(f"no address of {address.host} answers: {tried}", CHECK_NODE)


def explained(where: str, error: OSError | None) -> tuple[str, str]:
    """Return the text and hint for a failed connection, without an error one that got no answer."""
    if error is None or isinstance(error, TimeoutError):
        return f"{where} does not respond", CHECK_NODE
    if isinstance(error, ConnectionRefusedError):
        return f"{where} refuses the connection", CHECK_AGENT
    return f"{where}: {error.strerror or error}", CHECK_NODE


def located(address: Address, endpoint: Endpoint) -> str:
    """Return the text for an endpoint: NAME:PORT (IP), or IP:PORT if the address has no name."""
    text = str(endpoint)
    ip = text.rpartition(":")[0].strip("[]")
    return text if ":" in address.host or ip == address.host else f"{address.host}:{address.port} ({ip})"
