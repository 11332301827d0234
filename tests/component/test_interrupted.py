"""The agent is killed in the middle of a change, at every step of it; afterwards all is as it was, or as asked for."""

import json
import signal
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.podman.output import Container
from agent.services import plan as planning
from agent.services.plan import Change, NodeState
from agent.store.registry import ComponentRow
from mcp.definitions.definitions import parse
from mcp.shared.names import LABEL_DEPLOY, LABEL_SERVICE
from mcp.shared.spec import ServiceSpec
from mcp.shared.states import DesiredState
from mcp.shared.wire import service_to_wire
from proto.mcp.v1 import mcp_pb2 as pb
from tests.agents import Agent, Home, Outcome
from tests.component.conftest import Rig
from tests.component.definitions import component, route, service
from tests.component.fakes import WEB, WEB2
from tests.component.wire import connected
from tests.waiting import wait_for

NEW = "example.net/app:v2"
OLD_TEXT = service("web", component("api", more=route()))
NEW_TEXT = service("web", component("api", NEW, 'network = "mcpnet"\n' + route()))


def spec_of(text: str) -> ServiceSpec:
    """The service of a definition."""
    return parse(text, "").service


def planned(verb: str) -> Change:
    """The change that a verb makes of a node that runs OLD_TEXT (deploy: NEW_TEXT; first: of an empty node)."""
    (old,) = spec_of(OLD_TEXT).components
    now = datetime.now(UTC)
    labels = {LABEL_SERVICE: "web", LABEL_DEPLOY: "1"}
    row = ComponentRow("web", "api", "web-api", old, DesiredState.RUNNING, now, deploy=1)
    running = Container("id", "web-api", old.image, "running", 0, now, labels, "image-id")
    state = NodeState([row], [running], {old.image: "image-id"})
    if verb in ("deploy", "first"):
        (change,) = planning.plan(
            [spec_of(NEW_TEXT)], state if verb == "deploy" else NodeState([], [], {}), partial=True
        )
        return change
    if verb == "start":
        return planning.start(row, NodeState([row], [], {old.image: "image-id"}))  # its container is gone
    undeploy = planning.remove("web", "api", planning.containers_of(row, state))
    return undeploy if verb == "undeploy" else getattr(planning, verb)(row, state)


# The real agent, but for one thing: it kills itself before or after the step that a file names.
MORTAL = """
import json, os, pathlib, signal, sys
from agent.main import main
from agent.services.transaction import Transaction

do, end = Transaction._do, pathlib.Path({end!r})

async def do_or_die(self, step):
    title, when = json.loads(end.read_text())
    if step.title == title and when == "before":
        await self._note_position()
        os.kill(os.getpid(), signal.SIGKILL)
    await do(self, step)
    if step.title == title:
        os.kill(os.getpid(), signal.SIGKILL)

Transaction._do = do_or_die
sys.exit(main())
"""


@pytest.fixture(scope="module")
def mortal(shared: Rig) -> Rig:
    """The module's agent, which `kill_at` has killed at a step: nothing else of it is changed."""
    live_on(shared)
    shared.agent.stop()
    command = (sys.executable, "-c", MORTAL.format(end=str(end_file(shared))))
    shared.agent = Agent.start(Home(shared.agent.home.folder, command), env=shared.agent.env)
    return shared


def end_file(rig: Rig) -> Path:
    """The file that names the step at which the agent is killed."""
    return rig.agent.home.folder / "end.json"


def kill_at(rig: Rig, title: str, when: str) -> None:
    """Have the agent killed at a step."""
    end_file(rig).write_text(json.dumps([title, when]))


def live_on(rig: Rig) -> None:
    """Have the agent not killed."""
    kill_at(rig, "", "")


def start_again(rig: Rig) -> None:
    """Start the agent again, after it was killed; it lives on."""
    assert rig.agent.process.wait(30) == -signal.SIGKILL
    live_on(rig)
    rig.restart()


def every_step(verb: str) -> list[tuple[str, str]]:
    """Each step of a verb's change, to be killed before and after it."""
    return [(step.title, when) for step in planned(verb).steps for when in ("before", "after")]


def forget_everything(rig: Rig) -> None:
    """Undeploy web, and have NEW and its network missing on the node."""
    if rig.fake.containers():
        with connected(rig.agent) as wire:
            wire.call("UndeployService", pb.UndeployServiceRequest(name="web"))
    assert rig.fake.containers() == {}
    known = {name: image for name, image in rig.fake.state["images"].items() if name != NEW}
    rig.fake.change(networks=[], images=known)
    rig.fake.add_image(NEW, remote=True)


@pytest.mark.parametrize(("title", "when"), every_step("deploy"))
def test_a_redeploy_that_is_interrupted(mortal: Rig, title: str, when: str) -> None:
    rig = mortal
    forget_everything(rig)
    deploy(rig, OLD_TEXT)
    port = rig.fake.containers()["web-api"]["env"]
    kill_at(rig, title, when)
    rig.agent.define("web", NEW_TEXT)
    done = rig.agent.cli.run("deploy", "-q", "web")
    assert (done.code, len(done.errors)) == (4, 1), done

    start_again(rig)
    wait_for(lambda: settled(rig, OLD_TEXT) or settled(rig, NEW_TEXT))
    assert list(rig.fake.containers()) == ["web-api"]
    assert len(rig.fake.running()) == 1
    deploy(rig, NEW_TEXT)
    assert rig.fake.running() == {"web-api": NEW}
    assert list(rig.fake.containers()) == ["web-api"]
    assert rig.fake.containers()["web-api"]["env"] == port


@pytest.mark.parametrize(("title", "when"), every_step("first"))
def test_a_first_deploy_that_is_interrupted(mortal: Rig, title: str, when: str) -> None:
    rig = mortal
    forget_everything(rig)
    kill_at(rig, title, when)
    rig.agent.define("web", NEW_TEXT)
    assert rig.agent.cli.run("deploy", "-q", "web").code == 4
    start_again(rig)
    wait_for(lambda: results(rig)[0] == "interrupted")
    committed = (title, when) == ("record it in the registry", "after")
    assert list(rig.fake.running()) == (["web-api"] if committed else [])
    assert len(rig.fake.containers()) == len(rig.fake.running())
    deploy(rig, NEW_TEXT)
    assert rig.fake.running() == {"web-api": NEW}


@pytest.mark.parametrize(
    ("verb", "title", "when"),
    [(verb, *step) for verb in ("stop", "start", "restart", "undeploy") for step in every_step(verb)],
)
def test_another_verb_that_is_interrupted_is_finished(mortal: Rig, verb: str, title: str, when: str) -> None:
    rig = mortal
    forget_everything(rig)
    deploy(rig, OLD_TEXT)
    if verb == "start":
        rig.fake.change(containers=[])
    kill_at(rig, title, when)
    assert rig.agent.cli.run(verb, "web").code == 4
    start_again(rig)
    left = {"stop": ["exited"], "start": ["running"], "restart": ["running"], "undeploy": []}[verb]
    wait_for(lambda: [each["state"] for each in rig.fake.containers().values()] == left)
    wait_for(lambda: not unfinished(rig))
    assert [each["state"] for each in rig.fake.containers().values()] == left


def unfinished(rig: Rig) -> list[tuple[str]]:
    """The services of the operations that the registry says are under way."""
    with closing(sqlite3.connect(rig.agent.home.database)) as connection:
        return connection.execute("SELECT service FROM operations").fetchall()


def crash_at(rig: Rig, argv: list[str], when: str, *command: str) -> None:
    """Kill the agent while the podman command with `argv` hangs before or after its effect."""
    rig.fake.misbehave("hang", argv, when=when, times=1)
    cli = rig.agent.cli.popen(*command)
    rig.fake.wait_hanging()
    rig.agent.kill()  # what podman does by itself goes on, or ends with the machine
    rig.fake.behave()
    out, err = cli.communicate(timeout=30)
    assert cli.returncode == 4, (out, err)
    assert len(err.splitlines()) == 1
    assert err.startswith("mcp: rift: ")


def ok(done: Outcome) -> None:
    """It succeeded."""
    assert (done.code, done.stderr) == (0, "")


def deploy(rig: Rig, text: str) -> None:
    """Deploy a definition without the CLI, which is slower; it must succeed."""
    request = pb.DeployRequest(service=service_to_wire(parse(rig.agent.define("web", text).read_text(), "").service))
    with connected(rig.agent) as wire:
        (response,) = wire.call("Deploy", request).responses
    assert [result.error for result in response.results] == [""]


def settled(rig: Rig, text: str) -> bool:
    """Whether definition, registry and podman agree: there is nothing to do, and nothing under way."""
    with connected(rig.agent) as wire:
        request = pb.PlanRequest(services=[service_to_wire(parse(text, "").service)])
        (response,) = wire.call("Plan", request).responses
    return not response.changes and "running" not in results(rig)


def results(rig: Rig) -> list[str]:
    """How the deploys of web went, newest first."""
    with connected(rig.agent) as wire:
        (history,) = wire.call("History", pb.HistoryRequest(service="web")).responses
    return [entry.result for entry in history.entries]


@pytest.mark.parametrize("verb", ["start", "undeploy", "stop"])
def test_other_commands_finish_what_a_crash_left(rig: Rig, verb: str) -> None:
    rig.agent.define("web", service())
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    rig.agent.define("web", service("web", component("api", WEB2)))
    crash_at(rig, ["run"], "before", "deploy", "-q", "web")
    assert list(rig.fake.containers()) == ["web-api.old"]
    rig.restart()
    wait_for(lambda: rig.fake.running() == {"web-api": WEB})  # by itself, before any command
    ok(rig.agent.cli.run(verb, "-q", "web"))
    wanted = {"start": {"web-api": "running"}, "undeploy": {}, "stop": {"web-api": "exited"}}[verb]
    assert {name: each["state"] for name, each in rig.fake.containers().items()} == wanted


@pytest.mark.parametrize("verb", ["deploy", "restart", "start", "agent recover"])
def test_a_container_whose_stop_was_killed_runs_again(rig: Rig, verb: str) -> None:
    """podman leaves it in the state stopping, in which it cannot be started."""
    rig.agent.define("web", service())
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    rig.fake.change(containers=[{**each, "state": "stopping"} for each in rig.fake.state["containers"]])
    rig.agent.cli.run(*verb.split(), *(["rift"] if verb == "agent recover" else ["web"]))
    assert rig.fake.running() == {"web-api": WEB}


def test_what_a_killed_podman_run_left_in_the_storage_does_not_keep_the_name(rig: Rig) -> None:
    rig.agent.define("web", service())
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    (left,) = rig.fake.state["containers"]
    rig.fake.change(containers=[{**left, "state": "storage"}])
    ok(rig.agent.cli.run("start", "-q", "web"))
    (made,) = rig.fake.state["containers"]
    assert (made["name"], made["state"]) == ("web-api", "running")
    assert made["id"] != left["id"]


def test_an_interrupted_stop_of_the_old_container_is_undone(rig: Rig) -> None:
    rig.agent.define("web", service())
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    rig.agent.define("web", service("web", component("api", WEB2)))
    crash_at(rig, ["stop"], "before", "deploy", "-q", "web")
    rig.fake.change(containers=[{**each, "state": "stopping"} for each in rig.fake.state["containers"]])
    rig.restart()
    wait_for(lambda: not unfinished(rig))
    assert rig.fake.running() == {"web-api": WEB}
    assert "is not finished" not in rig.agent.log()


def test_a_component_that_cannot_be_finished_does_not_hold_up_the_others(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api"), component("worker")))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    crash_at(rig, ["stop", "web-worker"], "before", "stop", "-q", "web")  # in reverse order: the worker comes first
    rig.fake.misbehave("fail", ["stop", "web-worker"], message="device or resource busy")
    rig.restart()
    wait_for(lambda: rig.fake.running() == {"web-worker": WEB}, 20, "the stop of the other component")
    rig.fake.behave()
    wait_for(lambda: not rig.fake.running(), 20, "the end of the stop")


def test_a_failed_deploy_after_an_interrupted_one_brings_the_old_container_back(rig: Rig) -> None:
    """The crash left the old container stopped; it should still run, and the undoing knows that."""
    rig.agent.define("web", service())
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    rig.agent.define("web", service("web", component("api", WEB2)))
    crash_at(rig, ["stop"], "after", "deploy", "-q", "web")
    assert rig.fake.running() == {}
    rig.restart()
    rig.fake.misbehave("fail", ["run"], times=1)
    assert rig.agent.cli.run("deploy", "-q", "web").code == 1
    assert rig.fake.running() == {"web-api": WEB}


def test_a_deploy_goes_on_without_its_client(rig: Rig) -> None:
    rig.agent.define("web", service())
    rig.fake.misbehave("sleep", ["run"], seconds=1.0)
    cli = rig.agent.cli.popen("deploy", "-q", "web")
    wait_for(lambda: rig.fake.busy_with("run"))
    cli.kill()
    cli.communicate()
    wait_for(lambda: '"desired": "running"' in rig.agent.cli.run("ps", "--json").stdout)
    assert rig.fake.running() == {"web-api": WEB}


def test_a_killed_agent_leaves_a_registry_that_opens(rig: Rig) -> None:
    for number in range(3):
        name = f"s{number}"
        rig.agent.define(name, service(name))
        ok(rig.agent.cli.run("deploy", "-q", name))
        rig.agent.kill()
        rig.restart()
    rows = rig.agent.cli.run("ps").stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["s0", "s1", "s2"]
    assert [row.split()[3] for row in rows] == ["running"] * 3
