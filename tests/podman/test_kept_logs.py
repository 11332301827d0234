"""The end of a log, as podman really writes and prints it, and as it is kept when the container goes."""

import asyncio
import shlex
import sqlite3
from pathlib import Path

import pytest

from agent.logs.k8s_file.records import in_utc
from agent.logs.model import LogSource
from agent.logs.previous import as_records
from agent.logs.tail import read_tail
from agent.podman.client import Podman
from tests.agents import Agent
from tools.hostlib.private import Private

WORKER = "localhost/mcp-worker:1.0.0"
FAIL = "localhost/mcp-fail:1.0.0"


RUNS = "echo out 1; sleep 0.05; echo err 2 >&2; sleep 0.05; echo out 3; sleep 0.05; echo err 4 >&2; exit 3"
IN_ORDER = ["stdout | out 1", "stderr | err 2", "stdout | out 3", "stderr | err 4"]


@pytest.fixture
def podman(rootless: Private, tmp_path: Path) -> Podman:
    """The run's private podman as the agent calls it."""
    program = tmp_path / "podman"
    variables = [f"{name}={value}" for name, value in rootless.env.items()]
    program.write_text(f'#!/bin/sh\nexec {shlex.join(["env", "-i", *variables, *rootless.argv(["podman"])])} "$@"\n')
    program.chmod(0o755)
    return Podman(str(program), 60.0)


@pytest.mark.parametrize("driver", ["k8s-file", "read by podman"])
def test_the_tail_of_a_log_keeps_the_order_of_both_streams(rootless: Private, podman: Podman, driver: str) -> None:
    script = ["sh", "-c", RUNS]
    rootless.run(["podman", "run", "--name=f", "--log-driver=k8s-file", WORKER, *script], check=False)
    identifier, path = rootless.run(
        ["podman", "inspect", "-f", "{{.Id}} {{.HostConfig.LogConfig.Path}}", "f"]
    ).stdout.split()
    source = LogSource("s", "c", "f", identifier, driver, Path(path))
    lines = asyncio.run(read_tail(podman, source, 100, timed=True))
    assert as_records(lines).splitlines() == [in_utc(record) for record in Path(path).read_bytes().splitlines()]
    last = asyncio.run(read_tail(podman, source, 3))
    assert [(line.text, line.is_stderr) for line in last] == [(b"err 2", True), (b"out 3", False), (b"err 4", True)]


def test_a_deploy_that_fails_shows_its_last_lines_in_order(agent: Agent) -> None:
    text = f'name = "solo"\nnode = "dev"\n[[components]]\nname = "work"\nimage = "{WORKER}"\nrestart = "no"\n'
    agent.define("solo", f'{text}cmd = ["sh", "-c", "{RUNS}"]\n')
    done = agent.cli.run("deploy", "-q", "solo")
    assert done.code == 1
    assert [line.strip() for line in done.errors[2:]] == IN_ORDER


def kept(agent: Agent) -> tuple[str, int, str, bytes]:
    """Reason, exit code, driver and records of the one log that is kept."""
    (database,) = agent.home.folder.rglob("mcp.db")
    with sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True) as connection:
        (row,) = connection.execute("SELECT reason, exit_code, driver, data FROM kept_logs").fetchall()
    connection.close()
    reason, code, driver, data = row
    return reason, code, driver, data


def test_the_last_words_of_a_container_outlive_it(agent: Agent) -> None:
    text = f'name = "solo"\nnode = "dev"\n[[components]]\nname = "work"\nimage = "{WORKER}"\n'
    agent.define("solo", text)
    for options in ((), ("--force",)):
        done = agent.cli.run("deploy", "-q", "solo", *options)
        assert done.code == 0, done.stderr
    reason, code, driver, data = kept(agent)
    assert (reason, code, driver) == ("replaced", 0, "k8s-file")
    lines = data.splitlines()
    assert lines[0].endswith(b" stdout F worker: line 1")
    assert lines[-1].endswith(b" stdout F worker: stopping")
    agent.define("solo", text.replace(WORKER, FAIL) + 'restart = "no"\n')
    assert agent.cli.run("deploy", "-q", "solo").code == 1
    reason, code, driver, data = kept(agent)
    assert (reason, code, driver) == ("failed", 3, "k8s-file")
    assert b" stderr F fail: " in data
