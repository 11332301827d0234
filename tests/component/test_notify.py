"""The agent under a service manager: when it says that it serves, it does."""

import socket
from pathlib import Path

import pytest

from mcp.shared.version import VERSION
from tests.agents import Agent, Home, agent_env
from tests.component.conftest import copy_home
from tests.component.fakes import FakePodman


def test_ready_comes_once_calls_are_answered_and_stopping_before_the_end(tmp_path: Path, template: Home) -> None:
    fake = FakePodman.install(tmp_path / "bin")
    home = copy_home(template, tmp_path / "home")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000000"}
        with Agent.start(home, env={**agent_env(tmp_path, fake.folder), **told}) as agent:
            assert manager.recv(100) == f"READY=1\nSTATUS=serving {VERSION}".encode()
            assert agent.cli.run("ps").code == 0
            assert manager.recv(100) == b"WATCHDOG=1"
            agent.stop()
            assert manager.recv(100) == b"STOPPING=1"
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):  # nothing else was said
            manager.recv(100)
