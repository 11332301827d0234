"""Purging: only what no definition has, and only what does not run."""

import json

from tests.agents import Outcome
from tests.component.conftest import Rig
from tests.component.definitions import component, service
from tests.component.fakes import FAIL
from tests.waiting import wait_for

REMEDY = "remove it with `mcp undeploy --node rift"


def deploy(rig: Rig, name: str, *components: str) -> None:
    """Define and deploy a service; it must succeed."""
    rig.agent.define(name, service(name, *components))
    assert rig.agent.cli.run("deploy", "-q", name).code == 0


def forget(rig: Rig, container: str) -> None:
    """Remove a container behind the agent's back."""
    rig.fake.change(containers=[each for each in rig.fake.state["containers"] if each["name"] != container])


def verdicts(done: Outcome) -> dict[str, tuple[bool, str]]:
    """Whether each component may go (or went), and why."""
    return {f"{row['service']}/{row['component']}": (row["eligible"], row["reason"]) for row in json.loads(done.stdout)}


def registered(rig: Rig) -> list[str]:
    """What the registry has."""
    rows = json.loads(rig.agent.cli.run("ps", "--json").stdout)
    return [f"{row['service']}/{row['component']}" for row in rows if row["desired"] != "ignore"]


def test_the_table_of_cases(rig: Rig) -> None:
    deploy(rig, "web", component("api"), component("gone"), component("stopped"), component("running"))
    deploy(rig, "old")
    rig.agent.define("web", service("web", component("api")))
    (rig.agent.services / "old.toml").unlink()
    forget(rig, "web-gone")
    assert rig.agent.cli.run("stop", "web/stopped", "--node", "rift").code == 0
    expected = {
        "old/api": (False, f"the container old-api is running; {REMEDY} old/api`"),
        "web/api": (False, "it has a definition"),
        "web/gone": (True, "no definition; the container web-gone is gone"),
        "web/running": (False, f"the container web-running is running; {REMEDY} web/running`"),
        "web/stopped": (True, "no definition; the container web-stopped is stopped, and is kept"),
    }
    before = registered(rig)
    dry = rig.agent.cli.run("purge", "--dry-run", "--json")
    assert (dry.code, verdicts(dry)) == (0, expected)
    assert not any(row["purged"] for row in json.loads(dry.stdout))
    assert registered(rig) == before

    containers = set(rig.fake.containers())
    done = rig.agent.cli.run("purge", "--json")
    assert (done.code, verdicts(done)) == (0, expected)
    assert registered(rig) == ["old/api", "web/api", "web/running"]
    assert set(rig.fake.containers()) == containers
    again = rig.agent.cli.run("purge")
    assert again.code == 0
    assert [line.split()[3] for line in again.stdout.splitlines()[1:]] == ["kept"] * 3
    for target in ("old/api", "web/running"):
        assert rig.agent.cli.run("undeploy", "--node", "rift", target).code == 0
    assert registered(rig) == ["web/api"]


def test_a_component_that_is_named(rig: Rig) -> None:
    deploy(rig, "web", component("api"), component("work"))
    deploy(rig, "other")
    rig.agent.define("web", service("web", component("api")))
    done = rig.agent.cli.run("purge", "web/work")
    assert done.code == 1, "it was refused"
    assert "the container web-work is running" in done.stdout
    assert rig.agent.cli.run("stop", "web/work", "--node", "rift").code == 0
    done = rig.agent.cli.run("purge", "web/work")
    assert (done.code, len(done.stdout.splitlines())) == (0, 2)
    assert registered(rig) == ["other/api", "web/api"]
    done = rig.agent.cli.run("purge", "web/work")
    assert (done.code, done.stderr) == (1, "mcp: web/work is not registered on any selected node\n")


def test_an_empty_podman_is_no_reason_to_forget_what_should_run(rig: Rig) -> None:
    deploy(rig, "old")
    deploy(rig, "off")
    assert rig.agent.cli.run("stop", "off").code == 0
    for name in ("old", "off"):
        (rig.agent.services / f"{name}.toml").unlink()
    rig.agent.define("web", service())
    rig.fake.change(containers=[])
    found = verdicts(rig.agent.cli.run("purge", "--json"))
    assert found["off/api"][0]
    assert found["old/api"] == (
        False,
        f"it should be running, but podman lists no containers: recover the node; {REMEDY} old/api`",
    )
    assert rig.agent.cli.run("agent", "recover", "rift").code == 0
    assert list(rig.fake.running()) == ["old-api"]


def test_without_sound_definitions_nothing_is_purged(rig: Rig) -> None:
    deploy(rig, "web")
    assert rig.agent.cli.run("stop", "web").code == 0
    rig.agent.define("broken", 'name = "broken"\n')
    done = rig.agent.cli.run("purge")
    assert done.code == 2
    assert "broken.toml: node: is missing" in done.stderr
    for path in rig.agent.services.iterdir():
        path.unlink()
    done = rig.agent.cli.run("purge")
    assert (done.code, len(done.errors)) == (1, 1)
    assert "no definitions in" in done.stderr
    assert registered(rig) == ["web/api"]
    assert rig.agent.cli.run("purge", "web").code == 0
    assert registered(rig) == []


def test_a_definition_of_another_node_does_not_count(rig: Rig) -> None:
    deploy(rig, "web")
    assert rig.agent.cli.run("stop", "web").code == 0
    rig.agent.define("web", service(node="elsewhere"))
    assert verdicts(rig.agent.cli.run("purge", "--dry-run", "--json"))["web/api"][0]


def test_a_service_that_is_worked_on_is_refused(rig: Rig) -> None:
    deploy(rig, "web")
    rig.agent.define("other", service("other"))
    (rig.agent.services / "web.toml").unlink()
    rig.fake.misbehave("hold", ["stop"])
    stopping = rig.agent.cli.popen("stop", "-q", "web", "--node", "rift")
    wait_for(lambda: rig.fake.busy_with("stop"))
    done = rig.agent.cli.run("purge", "web", "--json")
    assert done.code == 1
    assert "web: stop by kyle has been in progress for" in verdicts(done)["web/api"][1]
    rig.fake.behave()
    _, err = stopping.communicate(timeout=30)
    assert (stopping.returncode, err) == (0, "")
    assert registered(rig) == ["web/api"]


def test_what_never_came_up_is_forgotten_once_no_definition_has_it(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api"), component("bad", FAIL)))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 1
    assert verdicts(rig.agent.cli.run("purge", "--dry-run", "--json"))["web/bad"] == (False, "it has a definition")
    rig.agent.define("web", service("web", component("api")))
    expected = {"web/api": (False, "it has a definition"), "web/bad": (True, "no definition; it never came up")}
    assert verdicts(rig.agent.cli.run("purge", "--dry-run", "--json")) == expected
    assert rig.agent.cli.run("status", "--check").code == 2
    assert verdicts(rig.agent.cli.run("purge", "--json")) == expected
    assert rig.agent.cli.run("status", "--check").code == 0
    assert list(rig.fake.running()) == ["web-api"]


def test_a_service_that_never_came_up_can_be_purged_by_its_name(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("bad", FAIL)))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 1
    (rig.agent.services / "web.toml").unlink()
    done = rig.agent.cli.run("purge", "web/bad")
    assert (done.code, done.stderr) == (0, "")
    assert json.loads(rig.agent.cli.run("status", "--json").stdout)["components"] == []
