"""Fixtures: real agents on loopback with real SQLite, each with a fake podman of its own."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.admin.pki import KeyPair, make_ca
from tests.agents import Agent, Home, agent_env, make_home
from tests.component.fakes import FakePodman
from tests.waiting import wait_for


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


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, ca: KeyPair) -> Home:
    """An agent's files, to be copied: faster than making them each time."""
    return make_home(tmp_path_factory.mktemp("template") / "agent", ca)


@pytest.fixture
def rig(tmp_path: Path, template: Home) -> Iterator[Rig]:
    """An agent of the test's own."""
    yield from _rig(tmp_path, template)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, template: Home) -> Iterator[Rig]:
    """One agent for all tests of a module that change nothing, or only what is theirs."""
    yield from _rig(tmp_path_factory.mktemp("agent"), template)


def copy_home(template: Home, folder: Path) -> Home:
    """A copy of an agent's files, with a configuration of its own."""
    shutil.copytree(template.folder, folder)
    home = Home(folder)
    home.write_config(settle="50ms", runtime_timeout="8s")
    return home


def _rig(folder: Path, template: Home) -> Iterator[Rig]:
    fake = FakePodman.install(folder / "bin")
    home = copy_home(template, folder / "agent")
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
    wait_for(lambda: fake.processes() == [])  # what an agent that was killed left needs a moment to end
