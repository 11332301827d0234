"""The monitor on an agent with the fake podman: events, drift, alerts, and what is asked of podman for them."""

import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.component.conftest import Rig
from tests.component.definitions import component, service
from tests.component.fakes import WEB, WORKER
from tests.component.wire import connected, request_for
from tests.waiting import wait_for

NOT_HEALED = "heal = false\n"
TWO = service("web", component("api", WEB, NOT_HEALED), component("work", WORKER, NOT_HEALED))
OWN = {"PATH", "HOME", "LC_ALL"}  # what tools need; sh adds PWD and the like
FACTS = {f"MCP_{word}" for word in ["NODE", "SERVICE", "COMPONENT", "KIND", "DESIRED", "OBSERVED", "DETAIL", "SINCE"]}


class Watched:
    """A rig whose monitor looks often, and whose alerts are files."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        """Alerts go below `folder`."""
        self.rig = rig
        self.folder = folder
        self.script = folder / "notify"
        self.write_script(f'env >"{folder}/$$.new" && mv "{folder}/$$.new" "{folder}/$$.alert"')

    def write_script(self, body: str) -> None:
        """What the alert command does."""
        self.script.write_text(f"#!/bin/sh\n{body}\n")
        self.script.chmod(0o755)

    def restart(self, more: str = "") -> None:
        """Start the agent again with a monitor that looks every 200 ms."""
        if self.rig.agent.process.poll() is None:
            self.rig.agent.stop()
        settings = f'interval = "200ms"\nalert_command = ["{self.script}", "an argument"]\nflap_window = "1h"\n'
        self.rig.agent.home.write_config(settle="100ms", runtime_timeout="8s", more=f"[monitor]\n{settings}{more}")
        self.rig.restart()

    def alerts(self) -> list[dict[str, str]]:
        """The environments of the alert command's runs."""
        texts = [path.read_text() for path in sorted(self.folder.glob("*.alert"))]
        return [dict(line.split("=", 1) for line in text.splitlines()) for text in texts]

    def events(self, *args: str) -> list[dict[str, Any]]:
        """What `mcp events --json` says."""
        done = self.rig.agent.cli.run("events", "--json", *args)
        assert (done.code, done.stderr) == (0, "")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def changes(self, name: str) -> list[tuple[str | None, str]]:
        """The states that a component went through."""
        return [(event["from"], event["to"]) for event in self.events() if event["component"] == name]

    def status(self, *args: str) -> dict[str, Any]:
        """What `mcp status --json` says, by component."""
        done = self.rig.agent.cli.run("status", "--json", *args)
        assert done.code == 0, done.stderr
        return {row["component"]: row for row in json.loads(done.stdout)["components"]}

    def rounds(self) -> int:
        """How often podman was asked for its list."""
        return sum(1 for argv in self.rig.fake.commands() if argv[0] == "ps")

    def wait_rounds(self, count: int = 2) -> None:
        """Wait until that many more rounds are over."""
        before = self.rounds()
        wait_for(lambda: self.rounds() > before + count)

    def set_state(self, name: str, **facts: object) -> None:
        """Change a container behind the agent's back."""
        self.rig.fake.change_container(name, **facts)


@pytest.fixture
def watched(rig: Rig, tmp_path: Path) -> Watched:
    """An agent that watches two components of web."""
    folder = tmp_path / "alerts"
    folder.mkdir()
    one = Watched(rig, folder)
    one.restart()
    rig.agent.define("web", TWO)  # which the agent does not repair: see test_healing.py
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    wait_for(lambda: one.changes("work") == [(None, "running")])
    one.wait_rounds()  # what is seen from now on is nobody's doing
    return one


def test_a_container_that_dies_is_an_event_drift_and_one_alert(watched: Watched) -> None:
    watched.set_state("web-api", state="exited", exit_code=137)
    wait_for(watched.alerts)
    watched.wait_rounds(4)
    assert watched.changes("api") == [(None, "running"), ("running", "exited")]
    assert watched.events("web", "-n", "1")[0]["detail"] == "exit code 137"
    row = watched.status("web")["api"]
    assert (row["desired"], row["observed"], row["drift"], row["exit_code"]) == ("running", "exited", True, 137)
    assert watched.status()["work"]["drift"] is False
    (alert,) = watched.alerts()
    since = alert.pop("MCP_SINCE")
    assert since.startswith("20")
    assert since.endswith("Z")
    assert {name: value for name, value in alert.items() if name.startswith("MCP_")} == {
        "MCP_NODE": "rift",
        "MCP_SERVICE": "web",
        "MCP_COMPONENT": "api",
        "MCP_KIND": "drift",
        "MCP_DESIRED": "running",
        "MCP_OBSERVED": "exited",
        "MCP_DETAIL": "exit code 137",
    }
    assert set(alert) - FACTS - OWN <= {"PWD", "OLDPWD", "SHLVL", "_"}


def test_an_alert_is_taken_back_when_its_condition_is_over(watched: Watched) -> None:
    watched.set_state("web-api", state="exited", exit_code=137)
    wait_for(watched.alerts)
    assert watched.rig.agent.cli.run("start", "web/api").code == 0
    wait_for(lambda: len(watched.alerts()) == 2)
    drift, over = sorted(watched.alerts(), key=lambda alert: alert["MCP_KIND"])
    assert [over[f"MCP_{name}"] for name in ("KIND", "COMPONENT", "OBSERVED")] == ["resolved", "api", "running"]
    assert re.fullmatch("drift is over after [0-9]+s: exit code 137", over["MCP_DETAIL"])
    assert over["MCP_SINCE"] == drift["MCP_SINCE"]


def test_an_alert_is_taken_back_by_an_agent_that_starts_later(watched: Watched) -> None:
    job = component("api", WEB, 'restart = "no"\n')  # the agent starts others, if they are down when it starts
    watched.rig.agent.define("web", service("web", job))
    assert watched.rig.agent.cli.run("deploy", "-q", "--prune", "web").code == 0
    watched.set_state("web-api", state="exited", exit_code=137)
    (drift,) = wait_for(watched.alerts)
    watched.wait_rounds(1)  # it is recorded after its command has begun
    watched.restart()
    watched.wait_rounds()
    assert watched.alerts() == [drift], "its cooldown is not over"
    watched.rig.agent.stop()
    watched.set_state("web-api", state="running")
    watched.restart()
    wait_for(lambda: len(watched.alerts()) == 2)
    (over,) = (alert for alert in watched.alerts() if alert != drift)
    assert [over[f"MCP_{name}"] for name in ("KIND", "COMPONENT", "OBSERVED")] == ["resolved", "api", "running"]
    assert over["MCP_SINCE"] == drift["MCP_SINCE"]


def test_a_container_that_flaps_is_seen_though_it_runs_at_every_look(watched: Watched) -> None:
    began = time.time()
    for number in range(1, 4):  # podman's list knows whole seconds only
        watched.set_state("web-api", started=began + 10 * number)
        watched.wait_rounds()
    wait_for(watched.alerts)
    watched.set_state("web-api", started=began + 100)
    watched.wait_rounds()
    (alert,) = watched.alerts()
    assert (alert["MCP_KIND"], alert["MCP_OBSERVED"]) == ("flapping", "running")
    assert alert["MCP_DETAIL"] == "flapping: 3 changes within 1h"
    details = [event["detail"] for event in watched.events() if event["component"] == "api"]
    assert details == ["", "restarted", "restarted", "restarted", "flapping: 3 changes within 1h"]


def test_what_operators_do_is_events_and_no_alerts(watched: Watched) -> None:
    cli = watched.rig.agent.cli
    for command in ("stop", "start", "stop", "start", "restart"):
        watched.rig.fake.misbehave("sleep", ["stop"], seconds=0.5, times=1)
        assert cli.run(command, "web").code == 0
        watched.wait_rounds()
    assert cli.run("undeploy", "web").code == 0
    wait_for(lambda: watched.changes("api")[-1][1] == "removed")
    states = [state for _, state in watched.changes("api")]
    assert [state for state in states if state == "stopped"] == ["stopped", "stopped"]
    assert watched.alerts() == []
    assert not watched.status()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (None, "was not found"),
        ("echo no mail server >&2; exit 1", "no mail server"),
        ("kill -9 $$", "exit status -9"),
    ],
    ids=["missing", "failing", "killed"],
)
def test_an_alert_command_that_fails_is_logged_and_harmless(watched: Watched, body: str | None, said: str) -> None:
    if body is None:
        watched.script.unlink()
    else:
        watched.write_script(body)
    watched.set_state("web-api", state="exited")
    wait_for(lambda: 'msg="the alert command failed" component=web/api' in watched.rig.agent.log())
    assert said in watched.rig.agent.log()
    watched.set_state("web-work", state="exited")
    wait_for(lambda: ("running", "exited") in watched.changes("work"))


def test_an_alert_command_that_hangs_holds_up_nothing(watched: Watched) -> None:
    watched.write_script(f"echo $$ >{watched.folder}/pid; exec sleep 600")
    watched.set_state("web-api", state="exited")
    wait_for((watched.folder / "pid").exists)
    watched.set_state("web-work", state="exited")
    wait_for(lambda: ("running", "exited") in watched.changes("work"))
    pid = int((watched.folder / "pid").read_text())
    assert watched.rig.agent.stop() < 10, "that much is given to what is under way"
    assert not Path(f"/proc/{pid}").exists()


def test_a_podman_that_fails_is_not_a_node_without_containers(watched: Watched) -> None:
    watched.rig.fake.misbehave("fail", ["ps"], times=4)
    wait_for(lambda: watched.rig.agent.log().count("round skipped") == 2)
    watched.wait_rounds()
    assert [event["to"] for event in watched.events()] == ["running", "running"]
    assert watched.alerts() == []


def test_an_empty_list_after_a_failure_is_unknown_and_not_removed(watched: Watched) -> None:
    watched.rig.fake.misbehave("fail", ["ps"], times=2)
    watched.rig.fake.misbehave("print", ["ps"], message="[]", code=0, times=4)
    nothing = '{"store": {"containerStore": {"number": 0}}}'
    watched.rig.fake.misbehave("print", ["info"], message=nothing, code=0, times=4)
    wait_for(lambda: watched.changes("api")[-1] == ("unknown", "running"))
    assert [state for _, state in watched.changes("api")] == ["running", "unknown", "running"]
    wait_for(lambda: len(watched.alerts()) == 4)
    told = {(alert["MCP_KIND"], alert["MCP_OBSERVED"]) for alert in watched.alerts()}
    assert told == {("drift", "unknown"), ("resolved", "running")}


def test_a_new_agent_goes_on_where_the_last_one_ended(watched: Watched) -> None:
    assert watched.rig.agent.cli.run("stop", "web/api").code == 0
    watched.restart()
    wait_for(lambda: ("running", "stopped") in watched.changes("api"))
    watched.wait_rounds()
    assert watched.changes("api") == [(None, "running"), ("running", "stopped")]
    assert watched.changes("work") == [(None, "running")]


def test_old_events_go(watched: Watched) -> None:
    assert watched.rig.agent.cli.run("stop", "web/api").code == 0
    wait_for(lambda: len(watched.events()) == 3)
    watched.restart('retention = "1ms"\n')
    wait_for(lambda: len(watched.events()) == 2)
    # the last one of each component stays: it says what the next agent goes on from
    assert [(event["component"], event["to"]) for event in watched.events()] == [
        ("work", "running"),
        ("api", "stopped"),
    ]


def test_events_are_followed_until_the_agent_stops(watched: Watched) -> None:
    follower = watched.rig.agent.cli.popen("events", "web", "-f", "-n", "1")
    assert follower.stdout is not None
    assert follower.stdout.readline().endswith("  rift  web/work: running\n")
    watched.set_state("web-api", state="exited", exit_code=3)
    assert follower.stdout.readline().endswith("  rift  web/api: running -> exited  (exit code 3)\n")
    watched.rig.agent.stop()
    out, err = follower.communicate(timeout=30)
    assert (follower.returncode, out) == (1, "")
    assert err == "mcp: rift: the agent is stopping; run the command again when it is back\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_follower_ends_quietly(watched: Watched, number: int) -> None:
    follower = watched.rig.agent.cli.popen("events", "-f", "-n", "1", "--json")
    assert follower.stdout is not None
    assert json.loads(follower.stdout.readline())["component"] == "work"
    follower.send_signal(number)
    out, err = follower.communicate(timeout=30)
    assert (out, err) == ("", "")
    assert follower.returncode == (130 if number == signal.SIGINT else -number)


def test_the_page_of_one_service(watched: Watched) -> None:
    watched.set_state("web-api", state="exited", exit_code=3)
    wait_for(lambda: ("running", "exited") in watched.changes("api"))
    done = watched.rig.agent.cli.run("status", "web")
    lines = done.stdout.splitlines()
    assert done.code == 0
    assert lines[0] == "web on rift: 1 of 2 running, drift in 1 of 2"
    assert "  api: exited, should be running" in lines
    assert "    exit code: 3" in lines
    assert "    image:     localhost/mcp-web:1.0.0" in lines
    assert any(line.startswith("    digest:    sha256:") for line in lines)
    assert lines[-1].endswith("  web/api: running -> exited  (exit code 3)")


def test_the_list_is_the_registry_s(watched: Watched) -> None:
    watched.rig.fake.misbehave("fail", ["ps"])
    done = watched.rig.agent.cli.run("list")
    assert [line.split() for line in done.stdout.splitlines()[1:]] == [
        ["web", "api", "rift", "running", "1.0.0", "localhost/mcp-web:1.0.0"],
        ["web", "work", "rift", "running", "1.0.0", "localhost/mcp-worker:1.0.0"],
    ]
    with connected(watched.rig.agent) as wire:
        (answer,) = wire.call("ListServices").responses
    (info,) = answer.services
    assert [each.name for each in info.definition.components] == ["api", "work"]
    assert [each.observed_state for each in info.components] == ["running", "running"]


def test_a_service_that_is_not_there(watched: Watched) -> None:
    for command in ("status", "events"):
        done = watched.rig.agent.cli.run(command, "nope")
        assert done.code == 1
        assert done.errors == ["mcp: rift: nope is not deployed on this node; deployed here: web"]
    with connected(watched.rig.agent) as wire:
        answer = wire.call("Events", request_for("Events", after=-1))
    assert (answer.code.name, answer.details) == ("INVALID_ARGUMENT", "after: must not be negative")


def test_a_node_that_does_not_answer_is_said_so(watched: Watched) -> None:
    config = watched.rig.agent.mcp_toml
    config.write_text(config.read_text() + '[[nodes]]\nname = "gone"\naddress = "127.0.0.1:1"\n')
    cli = watched.rig.agent.cli
    for command in ("list", "status"):
        done = cli.run(command)
        assert done.code == 4
        assert "web" in done.stdout
        assert [line.split()[2] for line in done.stdout.splitlines() if "unreachable" in line] == ["gone"]
        assert len(done.errors) == 1
    done = cli.run("events")
    assert done.code == 4
    assert len(done.stdout.splitlines()) == 2
    assert done.errors[0].startswith("mcp: gone: 127.0.0.1:1 refuses the connection")
    assert cli.run("status", "web").code == 0  # its definition says that it is not on that node


def test_two_hundred_services_are_one_call_a_round(watched: Watched) -> None:
    rig = watched.rig
    (model,) = [each for each in rig.fake.state["containers"] if each["name"] == "web-api"]
    with connected(rig.agent) as wire:
        assert wire.call("ListServices").code.name == "OK"
    rig.agent.stop()
    many = [
        {**model, "id": f"{number:064x}", "name": f"s{number}", "labels": {"mcp.service": f"s{number}"}}
        for number in range(200)
    ]
    rig.fake.change(containers=[*rig.fake.state["containers"], *many])
    rig.fake.forget_calls()
    watched.restart()
    watched.wait_rounds(5)
    assert len(watched.events()) >= 200
    asked = [argv[0] for argv in rig.fake.commands()]
    assert asked.count("ps") >= 5
    assert asked.count("inspect") <= 2  # where they log, and which volumes they have, is asked at the start
    rig.fake.forget_calls()
    assert len(watched.status()) == 202
    (inspected,) = [argv for argv in rig.fake.commands() if argv[0] == "inspect"]
    assert len(inspected) == 2 + 202


def test_a_monitor_that_is_wrongly_configured(rig: Rig) -> None:
    rig.agent.stop()
    rig.agent.home.write_config(more='[monitor]\ninterval = "0s"\nalert_command = "notify"\n')
    done = rig.agent.home.token("list")
    assert done.code == 2
    assert [line.partition("mcp-agent.toml: ")[2] for line in done.errors] == [
        'monitor.interval: "0s": expected 100ms or more',
        "monitor.alert_command: expected a list, found a string",
    ]
