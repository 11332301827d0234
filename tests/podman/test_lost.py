"""Containers whose conmon was killed: podman calls them running, and can stop but not start them."""

import ctypes
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
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


def pids(podman: Private) -> tuple[int, int]:
    """The container's main process and its conmon."""
    form = "{{.State.Pid}} {{.State.ConmonPid}}"
    main, conmon = podman.run(["podman", "inspect", "--format", form, "site-web"]).stdout.split()
    return int(main), int(conmon)


def lose(podman: Private, *, process_too: bool) -> int:
    """Kill the conmon of the container, and its process if it should be gone as well, whose number is returned."""
    main, conmon = pids(podman)
    os.kill(conmon, signal.SIGKILL)
    if process_too:
        os.kill(main, signal.SIGKILL)
        wait_for(lambda: not Path(f"/proc/{main}").exists())
    assert listed(podman) == ("running", main), "what podman believes"
    return main


def listed(podman: Private) -> tuple[str, int]:
    """State and process of the only container, as `podman ps` has them; no process between two containers."""
    rows = json.loads(podman.run(["podman", "ps", "--all", "--format=json"]).stdout)
    return (rows[0]["State"], int(rows[0]["Pid"])) if rows else ("missing", 0)


# of ptrace(2); an owner of a user namespace may trace what runs in it under every setting of yama but 3
SYSCALL, DETACH, SEIZE, INTERRUPT = 24, 17, 0x4206, 0x4207
ANY_THREAD = 0x40000000  # __WALL of waitpid(2)


def trace(request: int, pid: int, signal_number: int = 0) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.ptrace(*map(ctypes.c_long, (request, pid, 0, signal_number))) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


@contextmanager
def stopped_at_the_end_of(main: int, conmon: int) -> Iterator[None]:
    """Kill a container's process, and stop its conmon once it knows of the end, before it writes it down.

    There a slow disk keeps it: it first waits until the log is written (`sync_logs` in conmon.c).
    """
    trace(SEIZE, conmon)
    trace(INTERRUPT, conmon)
    os.waitpid(conmon, ANY_THREAD)
    os.kill(main, signal.SIGKILL)
    passed_on = 0
    while Path(f"/proc/{main}").exists():
        trace(SYSCALL, conmon, passed_on)
        _, wait_status = os.waitpid(conmon, ANY_THREAD)
        assert os.WIFSTOPPED(wait_status), "conmon has ended"
        is_signal = wait_status >> 16 == 0 and os.WSTOPSIG(wait_status) != signal.SIGTRAP
        passed_on = os.WSTOPSIG(wait_status) if is_signal else 0
    try:
        yield
    finally:
        trace(DETACH, conmon)


@pytest.mark.parametrize("process_too", [True, False])
def test_it_is_seen_and_replaced(rootless: Private, agent: Agent, process_too: bool) -> None:
    agent.define("site", definition(free_port()))
    assert agent.cli.run("deploy", "-q", "site").code == 0
    before = lose(rootless, process_too=process_too)
    wait_for(lambda: listed(rootless)[1] not in (0, before), 180)
    wait_for(lambda: status(agent)["observed"] == "running", 180)
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


def test_a_process_that_was_started_in_it_does_not_hide_it(rootless: Private, agent: Agent) -> None:
    agent.define("site", definition(free_port(), heal=False))
    assert agent.cli.run("deploy", "-q", "site").code == 0
    rootless.run(["podman", "exec", "--detach", "site-web", "sleep", "3600"])
    assert status(agent)["observed"] == "running"
    lose(rootless, process_too=False)
    assert status(agent)["observed"] == "degraded"


def test_one_that_has_just_ended_is_not_lost(rootless: Private, agent: Agent) -> None:
    agent.define("site", definition(free_port(), heal=False))
    assert agent.cli.run("deploy", "-q", "site").code == 0
    main, conmon = pids(rootless)
    with stopped_at_the_end_of(main, conmon):
        assert not Path(f"/proc/{main}").exists()
        assert listed(rootless) == ("running", main), "podman has not heard of its end"
        assert status(agent)["observed"] == "running"
    wait_for(lambda: listed(rootless)[1] not in (0, main))  # by its restart policy
    assert "degraded" not in agent.cli.run("events", "site").stdout
