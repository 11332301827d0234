"""The monitor on real rootless podman: what happens behind MCP's back is seen and told."""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agents import Agent, Home, make_home
from tests.stage import AGENT_FILE, CLI_FILE, folder_of
from tests.waiting import wait_for
from tests.zipapps import PYTHON
from tools.hostlib.private import Private

SETTINGS = """
[monitor]
interval = "500ms"
alert_command = ["{folder}/notify"]
flap_threshold = 3
flap_window = "1m"
"""
ONE = 'name = "{name}"\nnode = "rift"\n[[components]]\nname = "{name}"\nimage = "localhost/mcp-{image}:1.0.0"\n'


@pytest.fixture
def watcher(rootless: Private, tmp_path: Path) -> Iterator[Agent]:
    """An agent of the built zipapp that looks twice a second and whose alerts are files beside it."""
    with folder_of(rootless) as folder:
        notify = folder / "notify"
        notify.write_text(f'#!/bin/sh\nenv >"{folder}/$$.new" && mv "{folder}/$$.new" "{folder}/$$.alert"\n')
        notify.chmod(0o755)
        state = Path(shutil.copytree(make_home(tmp_path / "state").folder, folder / "state"))
        home = Home(state, (PYTHON, "-I", str(folder / AGENT_FILE)), folder, rootless.argv)
        home.write_config(settle="300ms", more=SETTINGS.format(folder=folder))
        rootless.give(folder)
        cli = rootless.argv(["env", f"HOME={rootless.home}", PYTHON, "-I", str(folder / CLI_FILE)])
        with Agent.start(home, env=dict(rootless.env), cli_command=cli) as agent:
            yield agent


def alerts(agent: Agent) -> list[dict[str, str]]:
    texts = [path.read_text() for path in sorted(agent.home.cwd.glob("*.alert"))]
    return [dict(line.split("=", 1) for line in text.splitlines()) for text in texts]


def changes(agent: Agent) -> list[tuple[str | None, str, str]]:
    done = agent.cli.run("events", "--json")
    assert done.code == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [(row["from"], row["to"], row["detail"]) for row in rows]


def status(agent: Agent, service: str) -> dict[str, Any]:
    done = agent.cli.run("status", service, "--json")
    assert done.code == 0, done.stderr
    (row,) = json.loads(done.stdout)["components"]
    assert isinstance(row, dict)
    return row


def inspect(podman: Private, name: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = json.loads(podman.run(["podman", "inspect", "--type=container", name]).stdout)
    return rows[0]


def test_a_container_killed_behind_mcp_is_an_event_drift_and_an_alert(watcher: Agent, rootless: Private) -> None:
    more = 'restart = "no"\n[[components.routes]]\nport = 443\n'
    watcher.define("web", ONE.format(name="web", image="web") + more)
    assert watcher.cli.run("deploy", "-q", "web").code == 0
    wait_for(lambda: changes(watcher) == [(None, "running", "")])
    seen = status(watcher, "web")
    real = inspect(rootless, "web")
    assert (seen["observed"], seen["drift"], seen["restarts"]) == ("running", False, 0)
    assert seen["digest"] == real["ImageDigest"]
    (port,) = seen["ports"]
    assert port.startswith("127.0.0.1:")
    assert port.endswith("/tcp")
    os.kill(real["State"]["Pid"], signal.SIGKILL)
    wait_for(lambda: alerts(watcher))
    wait_for(lambda: changes(watcher)[-1] == ("running", "exited", "exit code 137"))
    (alert,) = alerts(watcher)
    facts = ("KIND", "SERVICE", "COMPONENT", "DESIRED", "OBSERVED", "DETAIL")
    assert [alert[f"MCP_{name}"] for name in facts] == ["drift", "web", "web", "running", "exited", "exit code 137"]
    seen = status(watcher, "web")
    assert (seen["observed"], seen["drift"], seen["exit_code"]) == ("exited", True, 137)
    assert seen["ports"] == [port]


def test_a_crash_loop_that_a_restart_policy_hides_is_flapping(watcher: Agent, rootless: Private) -> None:
    watcher.define("loop", ONE.format(name="loop", image="worker") + 'restart = "always"\n')
    assert watcher.cli.run("deploy", "-q", "loop").code == 0
    wait_for(lambda: changes(watcher) == [(None, "running", "")])

    def killed_until_told() -> bool:
        pid = inspect(rootless, "loop")["State"]["Pid"]
        if pid:
            os.kill(pid, signal.SIGKILL)
        time.sleep(1.5)  # podman tells starts apart by the second
        return any("flapping" in detail for _, _, detail in changes(watcher))

    wait_for(killed_until_told, 180)
    assert status(watcher, "loop")["restarts"] >= 2
    wait_for(lambda: alerts(watcher))
    assert [alert["MCP_KIND"] for alert in alerts(watcher)] == ["flapping"]
    assert Path(watcher.home.database).exists()
    flapping = [detail for _, _, detail in changes(watcher) if detail.startswith("flapping")]
    assert flapping[0].endswith("changes within 1m")
