"""Which connections without a token are closed, and what counts as one client."""

import asyncio
import fcntl
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.auth.peers import address_and_port, network_of
from agent.daemon import connections
from agent.daemon.connections import Connections, _Connection, connections_for, over_bounds, raise_open_files


def strangers(*counts: int, age: float = 1.0) -> list[_Connection]:
    """So many connections of each of several addresses, the oldest first, now being 100."""
    return [
        _Connection(0, 1000 * number + index, f"192.0.2.{number}", ("", 0), 100 - age + index / 1e6)
        for number, count in enumerate(counts)
        for index in range(count)
    ]


def left(found: list[_Connection]) -> list[int]:
    """How many stay of each address."""
    closing = over_bounds(found, 100, lambda _each: False)
    staying = [each.address for each in found if each not in closing]
    return [staying.count(address) for address in dict.fromkeys(each.address for each in found)]


def test_few_and_young_ones_stay() -> None:
    assert left(strangers(64, 1, 3)) == [64, 1, 3]


def test_old_ones_go() -> None:
    assert left(strangers(3, age=connections.SECONDS + 1)) == [0]


def test_an_address_has_its_share_and_its_oldest_go() -> None:
    found = strangers(100, 1)
    assert left(found) == [64, 1]
    assert over_bounds(found, 100, lambda _each: False) == found[:36]


def test_those_that_have_sent_something_stay() -> None:
    found = strangers(100)
    closing = over_bounds(found, 100, lambda each: each in found[:10])
    assert closing == found[10:46]


def test_the_busiest_go_when_all_together_are_too_many() -> None:
    assert left(strangers(64, 64, 64, 64, 64, 1)) == [51, 51, 51, 51, 51, 1]


def test_more_addresses_than_connections_are_allowed() -> None:
    counts = left(strangers(*[1] * 300))
    assert sum(counts) == connections.STRANGERS


def test_of_many_addresses_those_stay_that_have_sent_something() -> None:
    found = strangers(*[1] * 300)
    assert not set(found[:10]) & set(over_bounds(found, 100, lambda each: each in found[:10]))


@pytest.mark.parametrize(
    ("peer", "address", "network"),
    [
        ("ipv4:192.0.2.7:5000", ("192.0.2.7", 5000), "192.0.2.7"),
        ("ipv6:%5B2001:db8:1:2:3::9%5D:77", ("2001:db8:1:2:3::9", 77), "2001:db8:1:2::/64"),
        ("ipv6:%5B::ffff:192.0.2.7%5D:77", ("192.0.2.7", 77), "192.0.2.7"),
        ("ipv6:%5Bfe80::1%252%5D:77", ("fe80::1", 77), "fe80::/64"),
        ("unix:", ("", 0), ""),
    ],
)
def test_what_counts_as_one_client(peer: str, address: tuple[str, int], network: str) -> None:
    assert address_and_port(peer) == address
    assert network_of(address[0]) == network


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        yield server


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def is_open(client: socket.socket) -> bool:
    """Tell if the other side has not shut the connection down."""
    client.setblocking(False)
    try:
        return client.recv(1) != b""
    except BlockingIOError:
        return True


def test_real_connections(listening: socket.socket) -> None:
    """One that has shown a token stays for good, one of another port is none of ours."""
    clock = Clock()
    watched = Connections(listening.getsockname()[1], clock)
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        pairs = [(socket.create_connection(listening.getsockname()), listening.accept()[0]) for _ in range(3)]
        other = (socket.create_connection(elsewhere.getsockname()), elsewhere.accept()[0])
    client, trusted, late = (pair[0] for pair in pairs)
    watched.trust(f"ipv4:127.0.0.1:{trusted.getsockname()[1]}")
    assert watched.look() == 2
    clock.now = 5
    watched.trust(f"ipv4:127.0.0.1:{late.getsockname()[1]}")
    watched.look()
    clock.now = connections.SECONDS
    watched.look()
    assert [is_open(each) for each in (client, trusted, late, other[0])] == [False, True, True, True]
    clock.now = 1000
    assert watched.look() == 0
    assert is_open(trusted)
    for each in (*(each for pair in pairs for each in pair), *other):
        each.close()


def test_tokens_that_are_shown_during_a_look_count(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in a thread: a connection may come after the listing, or show its token before it would be closed."""
    clock = Clock()
    watched = Connections(listening.getsockname()[1], clock)
    list_sockets, select = connections._sockets, connections.over_bounds
    pairs = [(socket.create_connection(listening.getsockname()), listening.accept()[0])]

    def trust(index: int) -> None:
        watched.trust(f"ipv4:127.0.0.1:{pairs[index][0].getsockname()[1]}")

    def then_another() -> Iterator[tuple[int, int]]:
        yield from list(list_sockets())
        if len(pairs) == 1:
            pairs.append((socket.create_connection(listening.getsockname()), listening.accept()[0]))
            trust(1)

    def then_trusted(*args: Any) -> list[_Connection]:
        closing = select(*args)
        if closing:
            trust(0)
        return closing

    monkeypatch.setattr(connections, "_sockets", then_another)
    monkeypatch.setattr(connections, "over_bounds", then_trusted)
    assert watched.look() == 1
    for clock.now in (connections.SECONDS, 2 * connections.SECONDS):
        watched.look()
    assert watched.look() == 0
    assert [is_open(client) for client, _ in pairs] == [True, True]
    for each in (each for pair in pairs for each in pair):
        each.close()


def test_whether_a_client_has_sent_anything(listening: socket.socket) -> None:
    client = socket.create_connection(listening.getsockname())
    accepted, _ = listening.accept()
    connection = _Connection(accepted.fileno(), os.fstat(accepted.fileno()).st_ino, "", ("", 0), 0)
    assert not connections._has_sent(connection)
    client.sendall(b"x")
    assert accepted.recv(1) == b"x"
    assert connections._has_sent(connection)
    client.close()
    accepted.close()


def test_a_descriptor_that_is_anothers_by_now_is_left_alone(listening: socket.socket) -> None:
    client = socket.create_connection(listening.getsockname())
    accepted, _ = listening.accept()
    stale = _Connection(accepted.fileno(), 1, "127.0.0.1", ("", 0), 0)
    assert not connections._shut_down(stale)
    assert is_open(client)
    client.close()
    accepted.close()


LOCK = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB)"


def is_locked(file: Path) -> bool:
    """Tell if another process gets no lock on a file."""
    return (
        subprocess.run([sys.executable, "-c", LOCK, str(file)], stderr=subprocess.DEVNULL, check=False).returncode != 0
    )


@pytest.mark.parametrize("is_late", [False, True], ids=["before the look", "within it"])
def test_the_registry_in_the_place_of_a_closed_connection_keeps_its_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_late: bool
) -> None:
    """SQLite loses its locks when the process closes any descriptor of the file."""
    file = tmp_path / "mcp.db"
    with file.open("wb") as registry:
        fcntl.lockf(registry, fcntl.LOCK_EX)
        stale = _Connection(registry.fileno(), 1, "127.0.0.1", ("", 0), 0)
        assert not connections._has_sent(stale)
        assert connections._peer(registry.fileno(), 1, 80) is None
        if is_late:
            monkeypatch.setattr(connections, "_asked", lambda *_args: True)
        assert not connections._shut_down(stale)
        assert is_locked(file)
    assert not is_locked(file)


def test_nothing_is_forgotten_while_no_descriptor_is_free(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    watched = Connections(listening.getsockname()[1], clock)
    client = socket.create_connection(listening.getsockname())
    accepted, _ = listening.accept()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(accepted.fileno())
    os.close(free)
    found = list(connections._sockets())
    monkeypatch.setattr(connections, "_sockets", lambda: found)  # as if a descriptor had been free for the listing
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
        assert watched.look() == 1
        clock.now = connections.SECONDS
        with pytest.raises(OSError, match="Too many open files"):
            watched.look()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert is_open(client)
    assert watched.look() == 1
    assert not is_open(client)
    client.close()
    accepted.close()


def test_the_watch_goes_on_when_no_descriptor_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Connections(1)
    looks = iter([OSError(24, "Too many open files")] * 2)

    def look() -> int:
        error = next(looks, None)
        if error is not None:
            raise error
        raise KeyboardInterrupt  # the third one

    monkeypatch.setattr(watched, "look", look)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(watched.watch())


def test_addresses_of_closed_connections_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ADDRESSES", 5)
    watched = Connections(1)
    for number in range(50):
        watched._count(f"2001:db8:{number}::/64")
    assert len(watched._closed) == 6
    assert watched._closed.total() == 50


def test_the_limit_of_open_files_is_raised_but_never_lowered() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, before[1]), before[1]))
        raised = raise_open_files()
        assert raised == resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(connections.OPEN_FILES, before[1])
        assert raise_open_files() == raised
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(("files", "most"), [(16384, 8192), (1024, 512), (4096, 3584), (256, 64)])
def test_descriptors_are_kept_in_reserve(files: int, most: int) -> None:
    assert connections_for(files) == most
