"""What a failed change leaves is undone or completed by the agent, and said until then."""

import json
from typing import Any

import pytest

from tests.component.conftest import Rig
from tests.component.definitions import component, service
from tests.component.fakes import WEB, WEB2
from tests.waiting import wait_for

TRIED_AGAIN = "the agent tries again until it has succeeded"


@pytest.fixture
def web(rig: Rig) -> Rig:
    """An agent with one component that runs, which looks at it each second."""
    rig.agent.stop()
    rig.agent.home.write_config(settle="50ms", runtime_timeout="8s", more='[monitor]\ninterval = "1s"\n')
    rig.restart()
    rig.agent.define("web", service())
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    return rig


def row(rig: Rig) -> dict[str, Any]:
    """The component, as `mcp status` has it."""
    (found,) = json.loads(rig.agent.cli.run("status", "--json").stdout)["components"]
    component: dict[str, Any] = found
    return component


def is_up(rig: Rig, image: str) -> bool:
    """Tell if the component runs, nothing is pending, and no other container is left."""
    return row(rig)["pending"] is None and rig.fake.running() == {"web-api": image} == {
        name: each["image"] for name, each in rig.fake.containers().items()
    }


def test_a_restart_after_whose_stop_podman_fails(web: Rig) -> None:
    web.fake.misbehave("fail", ["start"], times=3)
    done = web.agent.cli.run("restart", "-q", "web")
    assert done.code == 1
    assert web.fake.running() == {}
    wait_for(lambda: is_up(web, WEB))


def test_an_undo_that_fails_is_said_and_goes_on(web: Rig) -> None:
    web.fake.add_image(WEB2, lifetime=0.01, code=3)
    web.fake.misbehave("fail", ["rm"], after=["run", WEB2], message="it is busy")
    web.agent.define("web", service("web", component("api", WEB2)))
    done = web.agent.cli.run("deploy", "-q", "web")
    assert done.code == 1
    assert "undo pending: podman rm --force: Error: it is busy" in done.stderr, done.stderr
    assert TRIED_AGAIN in done.stderr
    pending = "undo pending: podman rm --force: Error: it is busy"
    wait_for(lambda: row(web)["pending"] == pending)
    assert pending in web.agent.cli.run("status").stdout
    assert pending in web.agent.cli.run("ps").stdout
    assert web.agent.cli.run("status", "--check").code == 2
    web.fake.behave()
    wait_for(lambda: is_up(web, WEB))
    assert web.agent.cli.run("status", "--check").code == 0


def test_an_operator_decides_before_that(web: Rig) -> None:
    web.fake.add_image(WEB2, lifetime=0.01, code=3)
    web.fake.misbehave("fail", ["rm"], after=["run", WEB2])
    web.agent.define("web", service("web", component("api", WEB2)))
    assert web.agent.cli.run("deploy", "-q", "web").code == 1
    web.fake.behave()
    web.agent.define("web", service())
    assert web.agent.cli.run("deploy", "-q", "web").code == 0
    assert is_up(web, WEB)
    assert web.agent.cli.run("undeploy", "-q", "web").code == 0
    assert web.fake.containers() == {}


def test_what_is_pending_outlives_the_agent(web: Rig) -> None:
    web.fake.add_image(WEB2, lifetime=0.01, code=3)
    web.fake.misbehave("fail", ["rm"], after=["run", WEB2])
    web.agent.define("web", service("web", component("api", WEB2)))
    assert web.agent.cli.run("deploy", "-q", "web").code == 1
    web.agent.stop()
    web.restart()
    wait_for(lambda: "pending: podman rm" in str(row(web)["pending"]))  # the start of the agent may take it over
    web.fake.behave()
    wait_for(lambda: is_up(web, WEB))


def test_a_replaced_container_that_cannot_be_removed_yet(web: Rig) -> None:
    web.fake.misbehave("fail", ["rm"], after=["run", WEB2])
    web.agent.define("web", service("web", component("api", WEB2)))
    assert web.agent.cli.run("deploy", "-q", "web").code == 0
    assert str(row(web)["pending"]).startswith("completion pending")
    web.fake.behave()
    wait_for(lambda: is_up(web, WEB2))


def test_a_node_without_containers_is_not_counted_again(rig: Rig) -> None:
    assert rig.agent.cli.run("ps").code == 0
    rig.fake.forget_calls()
    for _ in range(3):
        assert rig.agent.cli.run("ps").code == 0
    assert [argv for argv in rig.fake.commands() if argv[0] == "info"] == []


@pytest.mark.parametrize("printed", ["[]", "null"])
@pytest.mark.parametrize("command", ["stop", "undeploy", "restart", "start"])
def test_an_empty_list_is_not_believed(web: Rig, command: str, printed: str) -> None:
    web.fake.misbehave("print", ["ps"], message=printed, code=0)
    done = web.agent.cli.run(command, "-q", "web")
    assert done.code == 1
    assert done.errors == [
        "mcp: rift: podman lists no containers, but has 1; see `podman ps --all` on the node",
    ]
    web.fake.behave()
    assert is_up(web, WEB)
    assert web.agent.cli.run(command, "-q", "web").code == 0
