"""The time that containers have to end: their own stop timeout counts, and it is said when one had to be killed."""

import json

import pytest

from tests.component.conftest import Rig
from tests.component.definitions import component, service
from tests.component.fakes import STUBBORN, STUBBORN2, WEB, WEB2

SECOND = 'stop_timeout = "1s"\n'
NOTE = "web/api: had to be killed: still running 1 s after SIGTERM; raise stop_timeout in its definition\n"


@pytest.fixture
def stubborn(rig: Rig) -> Rig:
    """A service whose container ignores SIGTERM."""
    rig.agent.define("web", service("web", component("api", STUBBORN, SECOND)))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    return rig


@pytest.mark.parametrize(
    ("verb", "done"),
    [("stop", "stopped"), ("restart", "restarted"), ("undeploy", "undeployed"), ("deploy", "deployed")],
)
def test_it_is_said_when_one_had_to_be_killed(stubborn: Rig, verb: str, done: str) -> None:
    stubborn.agent.define("web", service("web", component("api", WEB2, SECOND)))
    said = stubborn.agent.cli.run(verb, "-q", "web")
    assert (said.code, said.stdout, said.stderr) == (0, f"web/api: {done} on rift\n", NOTE)
    assert 'level=warning msg="container killed" container=web-api' in stubborn.agent.log()


def test_it_is_said_in_json_and_by_sync(stubborn: Rig) -> None:
    stubborn.agent.define("web", service("web", component("api", STUBBORN2, SECOND)))
    said = stubborn.agent.cli.run("sync")
    assert (said.code, said.stderr) == (0, "")
    assert "had to be killed: still running 1 s after SIGTERM" in said.stdout
    (row,) = json.loads(stubborn.agent.cli.run("stop", "web", "--json").stdout)
    assert row["notes"] == [NOTE.removeprefix("web/api: ").rstrip()]


def test_one_that_ends_in_time_is_stopped_without_a_word(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api", more='stop_timeout = "1h"\n')))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    said = rig.agent.cli.run("stop", "-q", "web")
    assert (said.code, said.stdout, said.stderr) == (0, "web/api: stopped on rift\n", "")
    (run,) = [argv for argv in rig.fake.commands() if argv[0] == "run"]
    assert "--stop-timeout=3600" in run
    assert ["stop", "web-api"] in rig.fake.commands(), "podman is not given a time of ours"
    assert rig.fake.containers()["web-api"]["image"] == WEB


def test_a_container_that_does_not_end_in_a_failed_deploy_is_named(rig: Rig) -> None:
    more = SECOND + 'restart = "no"\n[components.health]\ncmd = ["true"]\ninterval = "100ms"\nretries = 1\n'
    rig.fake.add_image(STUBBORN, program="stubborn", healthy=False)
    rig.agent.define("web", service("web", component("api", STUBBORN, more)))
    said = rig.agent.cli.run("deploy", "-q", "web")
    assert said.code == 1
    assert "did not become healthy" in said.errors[0]
    assert said.errors[1] == NOTE.rstrip()
