"""What systemd is told, on a real socket."""

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.daemon.systemd import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """systemd's end of NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(60)
        yield listening


def waiting(manager: socket.socket) -> list[bytes]:
    """What has been said so far."""
    said = []
    manager.setblocking(False)
    try:
        while True:
            said.append(manager.recv(4096))
    except BlockingIOError:
        return said


def environ(manager: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": manager.getsockname(), "HOME": "/srv/mcp", **more}


def test_ready_and_stopping_are_said(manager: socket.socket) -> None:
    notifier = Notifier.from_environment(environ(manager))
    notifier.ready()
    notifier.stopping()
    assert [message.splitlines()[0] for message in waiting(manager)] == [b"READY=1", b"STOPPING=1"]


def test_an_abstract_socket_is_reached() -> None:
    name = f"mcp-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(60)
        Notifier.from_environment({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert listening.recv(100).startswith(b"READY=1")


def test_no_child_inherits_the_variables(manager: socket.socket) -> None:
    variables = environ(manager, WATCHDOG_USEC="1000000", WATCHDOG_PID=str(os.getpid()))
    Notifier.from_environment(variables)
    assert variables == {"HOME": "/srv/mcp"}


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, 0.0),  # meant for another process
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_USEC": "²"}, 0.0),
        ({}, 0.0),
    ],
)
def test_the_watchdog_is_for_us_only(manager: socket.socket, variables: dict[str, str], seconds: float) -> None:
    assert Notifier.from_environment(environ(manager, **variables)).watchdog == seconds


async def fed(notifier: Notifier, seconds: float) -> None:
    """Feed the watchdog for so long."""
    watch = asyncio.create_task(notifier.watch())
    await asyncio.sleep(seconds)
    watch.cancel()


def test_the_watchdog_is_fed_twice_in_its_interval(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 5:
            raise asyncio.CancelledError

    monkeypatch.setattr("agent.daemon.systemd.asyncio", SimpleNamespace(sleep=sleep))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(Notifier(manager.getsockname(), 0.2).watch())
    assert waiting(manager) == [b"WATCHDOG=1"] * 5
    assert pauses == [0.1] * 5


def test_a_loop_that_hangs_says_nothing(manager: socket.socket) -> None:
    async def hang() -> None:
        watch = asyncio.create_task(Notifier(manager.getsockname(), 0.1).watch())
        await asyncio.sleep(0)
        assert waiting(manager) == [b"WATCHDOG=1"]
        time.sleep(0.3)
        assert waiting(manager) == []
        watch.cancel()

    asyncio.run(hang())


def test_without_systemd_nothing_happens() -> None:
    notifier = Notifier.from_environment({})
    notifier.ready()
    notifier.stopping()
    asyncio.run(asyncio.wait_for(notifier.watch(), 60))


def test_a_manager_that_does_not_listen_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.daemon.systemd.logger.propagate", True)
    notifier = Notifier(str(tmp_path / "nobody"), 0.02)
    notifier.ready()
    asyncio.run(fed(notifier, 0.1))
    assert [record.message for record in caplog.records] == ["cannot notify systemd"]


def test_a_manager_that_does_not_read_holds_nothing_up(manager: socket.socket) -> None:
    notifier = Notifier(manager.getsockname())
    for _ in range(10_000):
        notifier.ready()
    assert 0 < len(waiting(manager)) < 10_000
