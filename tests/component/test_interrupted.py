"""The agent is killed in the middle of a deploy, at every step of it; deployed again, all is as it should be."""

import pytest

from mcp.definitions.definitions import parse
from mcp.shared.wire import service_to_wire
from proto.mcp.v1 import mcp_pb2 as pb
from tests.agents import Outcome
from tests.component.conftest import Rig
from tests.component.definitions import component, route, service
from tests.component.fakes import WEB, WEB2
from tests.component.wire import connected
from tests.waiting import wait_for

LOOK = ["inspect", "--type=container"]
AFTER = "after"  # what stands behind it has to come before

# The commands of a redeploy, in order; `image inspect` and `pull` come before anything is changed.
STEPS = {
    "image": ["image", "inspect"],
    "pull": ["pull"],
    "network": ["network", "inspect"],
    "network create": ["network", "create"],
    "look": ["ps"],
    "stop": ["stop"],
    "stopped": LOOK,
    "put aside": ["rename"],
    "run": ["run"],
    "settle": [*LOOK, AFTER, "run"],
    "remove the old": ["rm"],
}
NEW = "example.net/app:v2"


def crash_at(rig: Rig, argv: list[str], when: str, *command: str) -> None:
    """Kill the agent while the podman command with `argv` hangs before or after its effect.

    Each such command hangs, not the first alone: others than the deploy inspect a container that has started, and the
    deploy must not get past the step while one of theirs is what hangs.
    """
    at = argv.index(AFTER) if AFTER in argv else len(argv)
    rig.fake.misbehave("hang", argv[:at], when=when, after=argv[at + 1 :])
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


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_redeploy_that_is_interrupted(shared: Rig, step: str, when: str) -> None:
    rig = shared
    known = {name: image for name, image in rig.fake.state["images"].items() if name != NEW}
    rig.fake.change(networks=[], images=known)
    rig.fake.add_image(NEW, remote=True)
    old = service("web", component("api", more=route()))
    deploy(rig, old)
    port = rig.fake.containers()["web-api"]["env"]
    new = service("web", component("api", NEW, 'network = "mcpnet"\n' + route()))
    rig.agent.define("web", new)
    crash_at(rig, STEPS[step], when, "deploy", "web")
    assert list(rig.fake.running().values()) in ([WEB], [NEW], [WEB, NEW], [NEW, WEB], [])

    rig.restart()
    wait_for(lambda: settled(rig, old) or settled(rig, new))
    assert list(rig.fake.containers()) == ["web-api"]
    deploy(rig, new)
    assert rig.fake.running() == {"web-api": NEW}
    assert list(rig.fake.containers()) == ["web-api"]
    assert rig.fake.containers()["web-api"]["env"] == port
    with connected(rig.agent) as wire:
        assert wire.call("UndeployService", pb.UndeployServiceRequest(name="web")).responses
    assert rig.fake.containers() == {}


@pytest.mark.parametrize("verb", ["start", "undeploy", "stop"])
def test_other_commands_finish_what_a_crash_left(rig: Rig, verb: str) -> None:
    rig.agent.define("web", service())
    ok(rig.agent.cli.run("deploy", "web"))
    rig.agent.define("web", service("web", component("api", WEB2)))
    crash_at(rig, ["run"], "before", "deploy", "web")
    assert list(rig.fake.containers()) == ["web-api.old"]
    rig.restart()
    wait_for(lambda: rig.fake.running() == {"web-api": WEB})  # by itself, before any command
    ok(rig.agent.cli.run(verb, "web"))
    wanted = {"start": {"web-api": "running"}, "undeploy": {}, "stop": {"web-api": "exited"}}[verb]
    assert {name: each["state"] for name, each in rig.fake.containers().items()} == wanted


@pytest.mark.parametrize("step", ["look", "run", "settle"])
def test_a_first_deploy_that_is_interrupted(rig: Rig, step: str) -> None:
    rig.agent.define("web", service("web", component("api", more=route())))
    crash_at(rig, STEPS[step], "after", "deploy", "web")
    rig.restart()
    wait_for(lambda: results(rig) == ["interrupted"])
    assert rig.fake.containers() == {}
    ok(rig.agent.cli.run("deploy", "web"))
    assert list(rig.fake.running()) == ["web-api"]


@pytest.mark.parametrize(("verb", "argv"), [("stop", ["stop"]), ("undeploy", ["rm"]), ("start", ["start"])])
@pytest.mark.parametrize("when", ["before", "after"])
def test_other_commands_that_are_interrupted(rig: Rig, verb: str, argv: list[str], when: str) -> None:
    rig.agent.define("web", service("web", component("api"), component("work")))
    ok(rig.agent.cli.run("deploy", "web"))
    if verb == "start":
        ok(rig.agent.cli.run("stop", "web"))
    crash_at(rig, argv, when, verb, "web")
    rig.restart()
    left = {"stop": {"exited"}, "undeploy": set(), "start": {"running"}}[verb]
    wait_for(lambda: {each["state"] for each in rig.fake.containers().values()} == left)  # finished by itself
    done = rig.agent.cli.run(verb, "web")
    assert done.code == (1 if verb == "undeploy" else 0), done


def test_a_failed_deploy_after_an_interrupted_one_brings_the_old_container_back(rig: Rig) -> None:
    """The crash left the old container stopped; it should still run, and the undoing knows that."""
    rig.agent.define("web", service())
    ok(rig.agent.cli.run("deploy", "web"))
    rig.agent.define("web", service("web", component("api", WEB2)))
    crash_at(rig, ["stop"], "after", "deploy", "web")
    assert rig.fake.running() == {}
    rig.restart()
    rig.fake.misbehave("fail", ["run"], times=1)
    assert rig.agent.cli.run("deploy", "web").code == 1
    assert rig.fake.running() == {"web-api": WEB}


def test_a_deploy_goes_on_without_its_client(rig: Rig) -> None:
    rig.agent.define("web", service())
    rig.fake.misbehave("sleep", ["run"], seconds=1.0)
    cli = rig.agent.cli.popen("deploy", "web")
    wait_for(lambda: rig.fake.busy_with("run"))
    cli.kill()
    cli.communicate()
    wait_for(lambda: '"desired": "running"' in rig.agent.cli.run("ps", "--json").stdout)
    assert rig.fake.running() == {"web-api": WEB}


def test_a_killed_agent_leaves_a_registry_that_opens(rig: Rig) -> None:
    for number in range(3):
        name = f"s{number}"
        rig.agent.define(name, service(name))
        ok(rig.agent.cli.run("deploy", name))
        rig.agent.kill()
        rig.restart()
    rows = rig.agent.cli.run("ps").stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["s0", "s1", "s2"]
    assert [row.split()[3] for row in rows] == ["running"] * 3
