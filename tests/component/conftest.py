"""Fixtures: real agents on loopback with real SQLite, each with a fake podman of its own."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mcp.shared.pki import KeyPair, make_ca
from tests.agents import Agent, agent_env, make_home
from tests.component.fakes import FakePodman


@dataclass
class Rig:
    """An agent and its fake podman; `agent` is replaced by `restart`."""

    agent: Agent
    fake: FakePodman

    def restart(self) -> None:
        """Start the agent again on the same state, after it has ended."""
        self.agent = Agent.start(self.agent.home, env=self.agent.env)


@pytest.fixture(scope="session")
def ca() -> KeyPair:
    """One certificate authority for the whole run."""
    return make_ca("MCP test CA")


@pytest.fixture
def rig(tmp_path: Path, ca: KeyPair) -> Iterator[Rig]:
    """An agent of the test's own."""
    yield from _rig(tmp_path, ca)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, ca: KeyPair) -> Iterator[Rig]:
    """One agent for all tests of a module that change nothing, or only what is theirs."""
    yield from _rig(tmp_path_factory.mktemp("agent"), ca)


def _rig(folder: Path, ca: KeyPair) -> Iterator[Rig]:
    fake = FakePodman.install(folder / "bin")
    home = make_home(folder / "agent", ca, runtime_timeout="4s")
    rig = Rig(Agent.start(home, env=agent_env(home.folder, fake.folder)), fake)
    try:
        yield rig
    except BaseException:
        rig.agent.kill()
        raise
    finally:
        fake.behave()
        if rig.agent.process.poll() is None:
            rig.agent.stop()
    assert "Traceback" not in rig.agent.log(), rig.agent.log()
    assert [call["argv"] for call in fake.calls() if call["refused"]] == []
    assert fake.processes() == []
