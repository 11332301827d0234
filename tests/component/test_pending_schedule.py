"""When the agent tries again what a failed change has left: each service by itself, soon, and until it is done."""

import json
from typing import Any

import pytest

from tests.component.conftest import Rig
from tests.component.definitions import component, service
from tests.component.fakes import FAIL, MISSING, WEB
from tests.waiting import wait_for

LONG = "300s"  # of podman: what hangs, hangs for the whole test
NOT_REPAIRED = 'restart = "on-failure"\n'  # by the monitor, since its container ends with exit code 0


@pytest.fixture
def two(rig: Rig) -> Rig:
    """An agent with two services that run, which waits for podman as long as a test takes."""
    rig.agent.stop()
    rig.agent.home.write_config(settle="50ms", runtime_timeout=LONG, more='[monitor]\ninterval = "1s"\n')
    rig.restart()
    for name in ("web", "other"):
        rig.agent.define(name, service(name))
        assert rig.agent.cli.run("deploy", "-q", name).code == 0
    return rig


def pending(rig: Rig) -> Any:
    """What `mcp status` says that is left of web."""
    (found,) = json.loads(rig.agent.cli.run("status", "--json", "web").stdout)["components"]
    return found["pending"]


def test_a_podman_that_hangs_for_one_service_does_not_delay_another(two: Rig) -> None:
    two.agent.define("other", service("other", component("api", WEB, NOT_REPAIRED)))
    assert two.agent.cli.run("deploy", "-q", "other").code == 0
    two.fake.misbehave("fail", ["start", "web-api"], times=1)
    two.fake.misbehave("hang", ["start", "web-api"])
    assert two.agent.cli.run("restart", "-q", "web").code == 1
    two.fake.wait_hanging()
    before = two.fake.hanging()
    two.fake.misbehave("fail", ["start", "other-api"], times=1)
    assert two.agent.cli.run("restart", "-q", "other").code == 1
    wait_for(lambda: two.fake.running() == {"other-api": WEB})
    assert two.fake.hanging() == before
    two.fake.behave()
    wait_for(lambda: two.fake.running() == {"other-api": WEB, "web-api": WEB})


def test_the_start_of_the_agent_does_not_delay_it(two: Rig) -> None:
    """Podman hangs for one service while the agent starts; what is left of the other is tried again meanwhile."""
    two.fake.misbehave("fail", ["start", "web-api"])
    assert two.agent.cli.run("restart", "-q", "web").code == 1
    two.agent.stop()
    two.fake.behave()
    two.fake.change(containers=[{**each, "state": "exited"} for each in two.fake.state["containers"]])
    two.fake.misbehave("hang", ["start", "other-api"])
    two.fake.misbehave("fail", ["start", "web-api"], times=3)  # what is left, the same before the boot, the boot
    two.restart()
    two.fake.wait_hanging()
    wait_for(lambda: two.fake.running() == {"web-api": WEB})
    assert two.fake.hanging() != []


def test_an_agent_that_stops_ends_its_attempts(two: Rig) -> None:
    two.fake.misbehave("fail", ["start", "web-api"], times=1)
    two.fake.misbehave("hang", ["start", "web-api"])
    assert two.agent.cli.run("restart", "-q", "web").code == 1
    two.fake.wait_hanging()
    two.agent.stop()
    wait_for(lambda: two.fake.processes() == [])
    assert "was destroyed" not in two.agent.log()
    two.fake.behave()
    two.restart()
    wait_for(lambda: two.fake.running() == {"other-api": WEB, "web-api": WEB})


def test_a_command_takes_the_place_of_an_attempt(two: Rig) -> None:
    """It waits for the attempt under way, and for no other one."""
    two.fake.misbehave("fail", ["start", "web-api"], times=1)
    two.fake.misbehave("hold", ["start", "web-api"], times=1)
    assert two.agent.cli.run("restart", "-q", "web").code == 1
    wait_for(lambda: two.fake.busy_with("start"))
    with two.agent.cli.popen("stop", "-q", "web") as stop:
        two.fake.behave()
        stop.communicate(timeout=60)
    assert stop.returncode == 0
    assert two.fake.running() == {"other-api": WEB}
    assert pending(two) is None


def test_a_failed_command_does_not_end_it(two: Rig) -> None:
    """A deploy that fails before it touches anything decides nothing."""
    two.fake.misbehave("fail", ["rm"], after=["run", FAIL])
    two.agent.define("web", service("web", component("api", FAIL)))
    assert two.agent.cli.run("deploy", "-q", "web").code == 1
    two.agent.define("web", service("web", component("api", MISSING)))
    assert two.agent.cli.run("deploy", "-q", "web").code == 1
    assert str(pending(two)).startswith("undo pending")
    two.fake.behave()
    wait_for(lambda: two.fake.running() == {"other-api": WEB, "web-api": WEB})
    assert set(two.fake.containers()) == {"other-api", "web-api"}


def test_a_start_that_fails_does_not_end_a_restart(two: Rig) -> None:
    two.fake.misbehave("fail", ["start", "web-api"])
    assert two.agent.cli.run("restart", "-q", "web").code == 1
    assert two.agent.cli.run("start", "-q", "web").code == 1
    assert str(pending(two)).startswith("completion pending")
    two.fake.behave()
    wait_for(lambda: two.fake.running() == {"other-api": WEB, "web-api": WEB})
    wait_for(lambda: pending(two) is None)
