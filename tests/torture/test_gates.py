"""Floods of callers without a token, on loopback: what they cost, and that operators are served meanwhile."""

import resource
import socket
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.agents import Agent
from tests.component.conftest import Rig
from tests.component.definitions import service
from tests.component.h2 import headers, opening, unfinished
from tests.torture.conftest import Torture
from tests.waiting import wait_for

MIB = 1024 * 1024
KEPT = 30 * MIB  # bytes that a flood may leave in the agent's memory


def resident(agent: Agent) -> int:
    """The bytes of an agent's resident memory."""
    return int(Path(f"/proc/{agent.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()


@contextmanager
def descriptors(count: int) -> Iterator[None]:
    """Let this process open so many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, count), hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(agent: Agent, source: str) -> socket.socket:
    """A connection from one of the loopback addresses."""
    return socket.create_connection(("127.0.0.1", agent.port), 60, (source, 0))


def secured(agent: Agent, source: str) -> ssl.SSLSocket:
    """The same with TLS, for HTTP/2."""
    context = ssl.create_default_context(cadata=agent.ca.decode())
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(connect(agent, source), server_hostname="localhost")


def after(agent: Agent, before: int) -> int:
    """Wait until the agent has given its memory back; return what is left of the growth, in bytes."""
    wait_for(
        lambda: resident(agent) - before < KEPT, what=lambda: f"{(resident(agent) - before) / MIB:.0f} MiB are left"
    )
    return max(0, resident(agent) - before)


def operate(rig: Rig) -> None:
    """Look, deploy, and deploy what does not stay up, which is undone."""
    cli = rig.agent.cli
    assert cli.run("ps").code == 0
    rig.agent.define("web", service("web"))
    assert cli.run("deploy", "-q", "web").code == 0


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
def test_connections_held_open(rig: Rig, torture: Torture, source: str) -> None:
    count = torture.count(5000, ci=1500)
    operate(rig)
    before = resident(rig.agent)
    with descriptors(count + 500), ExitStack() as held:
        for _ in range(count):
            held.enter_context(connect(rig.agent, source))
        operate(rig)
    kept = after(rig.agent, before)
    assert "background task died" not in rig.agent.log()
    torture.figure(f"idle connections from {source} held while an operator works", f"{count:,}")
    torture.figure("memory kept after them", f"{kept / MIB:.0f} MiB")


NODE_STATUS = "/mcp.v1.McpAgentService/NodeStatus"
DEPLOY = "/mcp.v1.McpAgentService/Deploy"
WRONG = b"Bearer mcp_" + b"A" * 43


def pour(connection: ssl.SSLSocket, data: bytes) -> None:
    """Send as much as the other side takes in."""
    connection.settimeout(0.05)
    with suppress(OSError):
        connection.sendall(data)


def test_unfinished_messages(rig: Rig, torture: Torture) -> None:
    """Each of 16 MB but for its last byte, without a token and with a wrong one, as far as it can be sent."""
    count = torture.count(300, ci=60)
    operate(rig)
    before, most = resident(rig.agent), 0
    message = unfinished(16 * MIB - 1, 16 * MIB - 2)
    with descriptors(count + 500), ExitStack() as held:
        for number in range(count):
            connection = held.enter_context(secured(rig.agent, f"127.0.0.{2 + number % 50}"))
            pour(connection, opening(DEPLOY, WRONG if number % 2 else b"") + message)
            most = max(most, resident(rig.agent))
        operate(rig)
    kept = after(rig.agent, before)
    assert most - before < count * 512 * 1024 + KEPT
    torture.figure(
        f"memory while {count} unfinished messages of 16 MB are held", f"{(most - before) / MIB:.0f} MiB more"
    )
    torture.figure("memory kept after them", f"{kept / MIB:.0f} MiB")


def test_endless_calls(rig: Rig, torture: Torture) -> None:
    """Connections that send call after call as fast as they are taken, each with 4 MB of a message of 16 MB."""
    count = torture.count(120, ci=60)
    operate(rig)
    before, most = resident(rig.agent), 0
    streams = range(3, 3 + 2 * torture.count(8, ci=3), 2)
    calls = [headers(DEPLOY, WRONG, each) + unfinished(16 * MIB - 1, 4 * MIB, each) for each in streams]

    def send(number: int) -> None:
        with suppress(OSError), secured(rig.agent, f"127.0.0.{2 + number % 50}") as connection:
            connection.sendall(opening(DEPLOY, WRONG))
            for call in calls:
                connection.sendall(call)

    with ThreadPoolExecutor(count) as threads:
        sending = [threads.submit(send, number) for number in range(count)]
        while not all(each.done() for each in sending):
            most = max(most, resident(rig.agent))
            wait(sending, timeout=0.02)
    operate(rig)
    kept = after(rig.agent, before)
    assert most - before < count * MIB + KEPT
    torture.figure(f"memory while {count} connections send without end", f"{(most - before) / MIB:.0f} MiB more")
    torture.figure("memory kept after them", f"{kept / MIB:.0f} MiB")


def test_refused_calls(rig: Rig, torture: Torture) -> None:
    count = torture.count(10_000, ci=1000)
    operate(rig)
    before, written = resident(rig.agent), len(rig.agent.log())
    codes: Counter[grpc.StatusCode] = Counter()
    with grpc.secure_channel(rig.agent.address, grpc.ssl_channel_credentials(rig.agent.ca)) as channel:
        call: Any = channel.unary_unary(NODE_STATUS)
        began = time.monotonic()
        while codes[grpc.StatusCode.UNAUTHENTICATED] < count:  # its connections are closed after a while
            calls = [call.future(b"", metadata=[("authorization", WRONG.decode())]) for _ in range(100)]
            codes.update(each.code() for each in calls)
        seconds = time.monotonic() - began
        operate(rig)
    assert set(codes) <= {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE}
    kept = after(rig.agent, before)
    log = rig.agent.log()[written:]
    refused = [line for line in log.splitlines() if "msg=refused" in line]
    assert len(refused) <= 2 + 2 * (1 + seconds // 60)
    torture.figure(
        f"journal of {count:,} refused calls ({count / seconds:,.0f} a second)", f"{sum(map(len, refused)):,} bytes"
    )
    torture.figure("memory kept after them", f"{kept / MIB:.0f} MiB")


def test_handshakes_that_fail(rig: Rig, torture: Torture) -> None:
    """Plain text, and connections that end within the handshake: no line each in the journal."""
    count = torture.count(3000, ci=300)
    operate(rig)
    before, written = resident(rig.agent), len(rig.agent.log())
    for number in range(count):
        with connect(rig.agent, f"127.0.0.{2 + number % 50}") as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n" if number % 2 else b"\x16\x03\x01")
    operate(rig)
    kept = after(rig.agent, before)
    log = [line for line in rig.agent.log()[written:].splitlines() if "msg=call" not in line]
    assert sum(map(len, log)) < 10_000, log[:3]
    torture.figure("memory kept after failed handshakes", f"{kept / MIB:.0f} MiB")
