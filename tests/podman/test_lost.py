"""Containers whose conmon was killed: podman calls them running, and can stop but not start them."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.agents import Agent
from tests.component.processes import free_port
from tests.waiting import wait_for
from tools.hostlib.private import Private

WEB = "localhost/mcp-web:1.0.0"


def definition(port: int, *, heal: bool = True) -> str:
    return (
        f'name = "site"\nnode = "dev"\n[[components]]\nname = "web"\nimage = "{WEB}"\n'
        f'ports = ["127.0.0.1:{port}:8080"]\nheal = {str(heal).lower()}\n'
    )


def status(agent: Agent) -> dict[str, Any]:
    """The only component, as `mcp status` has it."""
    (row,) = json.loads(agent.cli.run("status", "--json").stdout)["components"]
    found: dict[str, Any] = row
    return found


def pids(podman: Private) -> tuple[str, int, int]:
    """The container's id, its main process and its conmon."""
    form = "{{.Id}} {{.State.Pid}} {{.State.ConmonPid}}"
    identifier, main, conmon = podman.run(["podman", "inspect", "--format", form, "site-web"]).stdout.split()
    return identifier, int(main), int(conmon)


def lose(podman: Private, *, process_too: bool) -> str:
    """Kill the conmon of the container, and its process if it should be gone as well; return its id."""
    identifier, main, conmon = pids(podman)
    os.kill(conmon, signal.SIGKILL)
    if process_too:
        os.kill(main, signal.SIGKILL)
        wait_for(lambda: not Path(f"/proc/{main}").exists())
    listed = json.loads(podman.run(["podman", "ps", "--format=json"]).stdout)
    assert [row["State"] for row in listed] == ["running"]  # what podman believes
    return identifier


@pytest.mark.parametrize("process_too", [True, False])
def test_it_is_seen_and_replaced(rootless: Private, agent: Agent, process_too: bool) -> None:
    agent.define("site", definition(free_port()))
    assert agent.cli.run("deploy", "-q", "site").code == 0
    before = lose(rootless, process_too=process_too)
    wait_for(lambda: status(agent)["observed"] == "running", 180)
    assert pids(rootless)[0] != before
    events = agent.cli.run("events", "site").stdout
    assert "degraded" in events or "replaced by the agent after podman lost its process" in events


@pytest.mark.parametrize("process_too", [True, False])
def test_a_restart_by_hand_brings_it_up(rootless: Private, agent: Agent, process_too: bool) -> None:
    agent.define("site", definition(free_port(), heal=False))
    assert agent.cli.run("deploy", "-q", "site").code == 0
    before = lose(rootless, process_too=process_too)
    assert status(agent)["observed"] == "degraded"
    done = agent.cli.run("restart", "-q", "site")
    assert done.code == 0, done.stderr
    assert pids(rootless)[0] != before
    assert status(agent)["observed"] == "running"
