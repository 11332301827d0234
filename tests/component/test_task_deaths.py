"""An agent whose background task dies of a bug ends with an error, so that systemd restarts it."""

import signal
import sys
from pathlib import Path

import pytest

from tests.agents import Agent, Home, agent_env
from tests.component.conftest import copy_home
from tests.component.definitions import service
from tests.component.fakes import FakePodman

# The real agent, but for one coroutine: it raises once the file `trigger` exists.
BROKEN = """
import asyncio, pathlib, sys
from agent.{module} import {owner}
from agent.main import main

async def broken(*_args, **_more):
    while not pathlib.Path({trigger!r}).exists():
        await asyncio.sleep(0.01)
    raise KeyError("injected")

{owner}.{method} = broken
sys.exit(main())
"""


def start(folder: Path, template: Home, module: str, owner: str, method: str) -> tuple[Agent, Path]:
    """Start an agent with a method that raises once the file that is returned exists."""
    fake = FakePodman.install(folder / "bin")
    home, trigger = copy_home(template, folder / "agent"), folder / "trigger"
    code = BROKEN.format(module=module, owner=owner, method=method, trigger=str(trigger))
    broken = Home(home.folder, (sys.executable, "-c", code))
    return Agent.start(broken, env=agent_env(home.folder, fake.folder)), trigger


@pytest.mark.parametrize(
    ("task", "module", "owner", "method"),
    [
        ("monitor", "monitor.loop", "Monitor", "run"),
        ("boot", "services.recover", "Recovery", "boot"),
        ("log retention", "logs.k8s_file.rotation", "LogRetention", "run"),
        ("watchdog", "daemon.systemd", "Notifier", "watch"),
    ],
)
def test_a_task_that_dies_ends_the_agent(
    tmp_path: Path, template: Home, task: str, module: str, owner: str, method: str
) -> None:
    agent, trigger = start(tmp_path, template, module, owner, method)
    try:
        agent.define("web", service())
        assert agent.cli.run("deploy", "-q", "web").code == 0
        follower = agent.cli.popen("logs", "--follow", "--no-reconnect", "web")
        assert follower.stdout is not None
        assert follower.stdout.readline() == "web: starting\n"
        trigger.touch()
        _, err = follower.communicate(timeout=60)
        assert follower.returncode == 4
        assert err.splitlines()[-1].startswith("mcp: rift: connection lost")
        assert agent.process.wait(60) == 1  # neither 0 nor 2: after these systemd does not restart it
    finally:
        agent.kill()
    lines = agent.log().splitlines()
    (death,) = [line for line in lines if "background task died" in line]
    assert f"task={task}" in death.replace('"', "")
    assert "KeyError: 'injected'" in death
    assert "Traceback" in death
    assert [line for line in lines if line.endswith("msg=stopped")]  # the follower's call may end, and be logged, later
    assert lines[-1] == f"mcp-agent: background task {task} ended unexpectedly; the agent's log has the details"


def test_an_orderly_stop_is_no_death(tmp_path: Path, template: Home) -> None:
    agent, _ = start(tmp_path, template, "monitor.loop", "Monitor", "run")
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(60) == 0
    assert "background task" not in agent.log()
