"""Names with several addresses: which is tried when, which wins, and what is said if none answers."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from mcp.client import dial
from mcp.config.addresses import Address
from mcp.shared.errors import Unreachable

NAME = Address("rift.test", 9444)
HANGS = 60.0  # seconds that only a test that fails would wait


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port of loopback that accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@contextmanager
def black_hole(host: str = "127.0.0.3") -> Iterator[dial.Endpoint]:
    """An endpoint that drops what is sent to it: its queue of connections is full, so the kernel ignores more."""
    with socket.create_server((host, 0), backlog=0) as server:
        queued = [socket.socket() for _ in range(4)]
        for connection in queued:
            connection.setblocking(False)
            connection.connect_ex(server.getsockname())
        try:
            yield endpoint(*server.getsockname())
        finally:
            for connection in queued:
                connection.close()


def endpoint(host: str, port: int) -> dial.Endpoint:
    return dial.Endpoint(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, port))


def refusing(listener: socket.socket) -> dial.Endpoint:
    """The port of the listener on another address of loopback, where nothing listens."""
    return endpoint("127.0.0.2", listener.getsockname()[1])


def connected(endpoints: list[dial.Endpoint], seconds: float = HANGS) -> dial.Endpoint:
    winner, connection = dial.connect(NAME, endpoints, seconds)
    with closing(connection):
        assert connection.getpeername()[:2] == winner.sockaddr[:2]
    return winner


def test_the_next_address_is_tried_at_once_where_one_refuses(listener: socket.socket) -> None:
    live = endpoint(*listener.getsockname())
    assert connected([refusing(listener), live]) == live


def test_a_silent_address_is_not_waited_for(listener: socket.socket) -> None:
    live = endpoint(*listener.getsockname())
    with black_hole() as silent:
        assert connected([silent, refusing(listener), live]) == live


def test_a_first_address_that_answers_is_the_only_one_tried(listener: socket.socket) -> None:
    live = endpoint(*listener.getsockname())
    with socket.create_server(("127.0.0.2", 0)) as other:
        assert connected([live, endpoint(*other.getsockname())]) == live
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()


def test_what_was_tried_is_named_if_nothing_answers(listener: socket.socket) -> None:
    dead = refusing(listener)
    with black_hole() as silent, pytest.raises(Unreachable) as caught:
        connected([silent, dead], 0.5)
    assert caught.value.what == (
        f"no address of rift.test answers: {silent} does not respond, {dead} refuses the connection"
    )
    with pytest.raises(Unreachable) as caught:
        connected([dead])
    assert caught.value.what == "rift.test:9444 (127.0.0.2) refuses the connection"


def test_closing_ends_an_attempt() -> None:
    cancelled = threading.Event()
    with black_hole() as silent, black_hole("127.0.0.4") as another:
        threading.Timer(0.2, cancelled.set).start()
        began = time.monotonic()
        with pytest.raises(Unreachable, match="closed before it was made"):
            dial.connect(NAME, [silent, another], HANGS, cancelled)
        assert time.monotonic() - began < HANGS / 2
    with pytest.raises(Unreachable, match="closed before it was made"):
        dial.resolve(NAME, HANGS, cancelled)


def test_families_are_interleaved_and_duplicates_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = ["2001:db8::1", "2001:db8::2", "2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"]

    def getaddrinfo(_host: str, port: int, *, flags: int = 0, **_more: object) -> list[object]:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not a number")
        ends = [endpoint(host, port) for host in hosts]
        return [(end.family, socket.SOCK_STREAM, 6, "", end.sockaddr) for end in ends]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    order = [end.sockaddr[0] for end in dial.resolve(NAME, HANGS)]
    assert order == ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"]
    targets = [end.target for end in dial.resolve(NAME, HANGS)[:2]]
    assert targets == ["ipv6:[2001:db8::1]:9444", "ipv4:192.0.2.1:9444"]


def test_a_name_server_that_is_silent_or_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def silent(*_arguments: object, flags: int = 0, **_more: object) -> list[object]:
        if not flags:
            over.wait(HANGS)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    with pytest.raises(Unreachable, match=r"rift\.test: no answer from the name server in 0\.2 s"):
        dial.resolve(NAME, 0.2)
    over.set()
    with pytest.raises(Unreachable, match=r"rift\.test: unknown host name \(Name or service not known\)"):
        dial.resolve(NAME, HANGS)


def test_addresses_are_named_once() -> None:
    ip = endpoint("2001:db8::1", 9444)
    assert dial.located(Address("2001:DB8:0::1", 9444), ip) == "[2001:db8::1]:9444"
    assert dial.located(NAME, ip) == "rift.test:9444 (2001:db8::1)"
    assert dial.explained("rift", OSError(101, "Network is unreachable")) == (
        "rift: Network is unreachable",
        "check that the node is up and its address in mcp.toml",
    )


def test_names_that_cannot_be_resolved_at_all() -> None:
    with pytest.raises(Unreachable, match=r"fe80::1 is a link-local address, .*; write it as in \[fe80::1%eth0\]:9444"):
        dial.resolve(Address("fe80::1", 9444), HANGS)
    with pytest.raises(Unreachable, match="this machine has no network interface nowhere0"):
        dial.resolve(Address("fe80::1", 9444, "nowhere0"), HANGS)
    with pytest.raises(Unreachable, match="unknown host name"):
        dial.resolve(Address("a" * 64 + ".test", 9444), HANGS)  # a label that is too long
