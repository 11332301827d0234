"""The selection and the check of host ports."""

import asyncio
import errno
import socket
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from agent.podman.inspect import ANY_ADDRESS
from agent.services import ports
from agent.services.ports import HostPort


@pytest.fixture
def local_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the kernel's range, to be written."""
    path = tmp_path / "ip_local_port_range"
    monkeypatch.setattr(ports, "EPHEMERAL", path)
    return path


def test_candidates_lie_outside_of_the_range_of_outgoing_connections(local_range: Path) -> None:
    local_range.write_text("20000\t59000\n")
    drawn = list(islice(ports.candidates(), 200))
    assert len(set(drawn)) == 200
    assert [port for port in drawn if not (10000 <= port < 20000 or 59000 < port <= 60000)] == []


def test_those_inside_come_last(local_range: Path) -> None:
    local_range.write_text("10010 65535")
    drawn = list(islice(ports.candidates(), 30))
    outside = [port for port in drawn if port < 10010]
    assert drawn[: len(outside)] == outside
    assert len(drawn) == 30
    local_range.write_text("1024 65535")
    assert next(ports.candidates()) >= 10000


@pytest.mark.parametrize("text", [None, "", "x y", "1"])
def test_without_the_kernel_s_range_its_default_counts(local_range: Path, text: str | None) -> None:
    if text is not None:
        local_range.write_text(text)
    assert ports.ephemeral_ports() == range(32768, 61000)


@pytest.mark.parametrize(
    ("mapping", "port", "text"),
    [
        ("8080:80", HostPort("0.0.0.0", 8080, "tcp"), "8080"),
        ("53:5353/udp", HostPort("0.0.0.0", 53, "udp"), "53/udp"),
        ("10.0.0.5:8080:80/tcp", HostPort("10.0.0.5", 8080, "tcp"), "10.0.0.5:8080"),
        ("[::1]:8080:80", HostPort("::1", 8080, "tcp"), "[::1]:8080"),
    ],
)
def test_mappings_are_read(mapping: str, port: HostPort, text: str) -> None:
    assert ports.parse_port(mapping) == port
    assert str(port) == text


def test_what_something_listens_on_or_a_connection_goes_out_from_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, closing(socket.socket()) as client:
        client.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())
        numbers = {server.getsockname()[1], client.getsockname()[1]}
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            free = probe.getsockname()[1]
        assert asyncio.run(ports.taken({*numbers, free})) == numbers


def test_connections_that_have_ended_do_not_matter() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # the first to close: its side waits for a minute
        client.close()
    assert HostPort("127.0.0.1", port, "tcp").refusal() == 0


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (
            errno.EACCES,
            "host port 80 is privileged; choose a higher one, or set net.ipv4.ip_unprivileged_port_start=80",
        ),
        (errno.EADDRINUSE, "host port 80 is in use by another program; choose another one, or stop the program"),
        (errno.ENOBUFS, "host port 80: No buffer space available"),
    ],
)
def test_refusals_say_what_to_do(refusal: int, said: str) -> None:
    assert str(ports.unusable(HostPort(ANY_ADDRESS, 80, "tcp"), refusal)).startswith(said)
