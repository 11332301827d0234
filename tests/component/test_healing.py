"""The agent starts what failed, and restarts what is unhealthy, on the fake podman."""

from pathlib import Path

import pytest

from tests.component.conftest import Rig
from tests.component.definitions import component, service
from tests.component.fakes import WEB
from tests.component.test_monitor import Watched
from tests.waiting import wait_for

CHECK = '[components.health]\ncmd = ["true"]\ninterval = "500ms"\nretries = 1\n'


@pytest.fixture
def watched(rig: Rig, tmp_path: Path) -> Watched:
    """An agent that watches one component of web, which it repairs; more than 3 changes are flapping."""
    folder = tmp_path / "alerts"
    folder.mkdir()
    one = Watched(rig, folder)
    one.restart("flap_threshold = 4\n")
    rig.agent.define("web", service("web", component("api", more=CHECK)))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    wait_for(lambda: one.changes("api") == [(None, "running")])
    one.wait_rounds()
    return one


def details(watched: Watched) -> list[str]:
    return [event["detail"] for event in watched.events()][1:]


def ends(watched: Watched, code: int) -> None:
    """Have its container end, as podman 5 leaves one with a published port."""
    watched.set_state("web-api", state="exited", exit_code=code, finished=1e9)


def runs(watched: Watched) -> bool:
    return watched.rig.fake.running() == {"web-api": WEB}


def test_what_ended_is_started_and_counted_without_an_alert(watched: Watched) -> None:
    for attempt, code in enumerate((3, 0), 1):
        ends(watched, code)
        wait_for(lambda: runs(watched))
        wait_for(lambda: len(details(watched)) == 2 * attempt)  # noqa: B023 - it is called at once
    assert details(watched) == [
        *("exit code 3", "started by the agent after exit code 3 (attempt 1)"),
        *("exit code 0", "started by the agent after exit code 0 (attempt 2)"),
    ]
    row = watched.status("web")["api"]
    assert (row["observed"], row["drift"], row["restarts"]) == ("running", False, 2)
    assert watched.alerts() == []
    assert 'msg="starting a failed component" service=web component=api reason="exit code 3"' in watched.rig.agent.log()
    assert watched.rig.agent.cli.run("restart", "web").code == 0
    wait_for(lambda: watched.status("web")["api"]["restarts"] == 0)


def test_what_somebody_stopped_stays_stopped(watched: Watched) -> None:
    assert watched.rig.agent.cli.run("stop", "web").code == 0
    wait_for(lambda: watched.changes("api")[-1] == ("running", "stopped"))
    watched.wait_rounds(15)
    assert watched.rig.fake.running() == {}
    assert watched.rig.agent.cli.run("start", "web").code == 0
    ends(watched, 3)
    wait_for(lambda: runs(watched))


def test_one_that_cannot_be_started_is_told_after_some_attempts(watched: Watched) -> None:
    watched.rig.fake.misbehave("fail", ["start"], message="no such device")
    ends(watched, 3)
    wait_for(watched.alerts)
    (alert,) = watched.alerts()
    assert (alert["MCP_KIND"], alert["MCP_DETAIL"]) == ("drift", "exit code 3")
    said = watched.rig.agent.log()
    assert said.count("cannot repair a failed component") >= 4
    assert "no such device" in said
    watched.rig.fake.behave()
    assert watched.rig.agent.cli.run("start", "web").code == 0
    wait_for(lambda: len(watched.alerts()) == 2)
    assert {alert["MCP_KIND"] for alert in watched.alerts()} == {"drift", "resolved"}


def test_one_that_fails_again_and_again_is_flapping(watched: Watched) -> None:
    for code in range(1, 5):
        ends(watched, code)
        wait_for(lambda: runs(watched))
        watched.wait_rounds()
    wait_for(watched.alerts)
    (alert,) = watched.alerts()
    assert (alert["MCP_KIND"], alert["MCP_DETAIL"]) == ("flapping", "flapping: 4 changes within 1h")


def test_what_is_unhealthy_for_too_long_is_restarted(watched: Watched) -> None:
    began = watched.rig.fake.containers()["web-api"]["started"]
    watched.set_state("web-api", health_status="unhealthy")
    wait_for(lambda: any("restarted by the agent" in detail for detail in details(watched)))
    assert watched.rig.fake.containers()["web-api"]["started"] > began
    assert details(watched)[0] == "unhealthy"
    assert "restarted by the agent after it was unhealthy for 1 s (attempt 1)" in details(watched)
    kinds = [alert["MCP_KIND"] for alert in watched.alerts()]
    assert kinds[:1] == ["drift"]


def test_it_is_not_done_during_a_change_and_a_change_waits_for_it(watched: Watched) -> None:
    fake = watched.rig.fake
    fake.misbehave("hold", ["start"])
    ends(watched, 3)
    wait_for(lambda: fake.busy_with("start"))
    cli = watched.rig.agent.cli.popen("stop", "-q", "web")
    watched.wait_rounds()
    assert cli.poll() is None
    fake.behave()
    out, err = cli.communicate(timeout=30)
    assert (cli.returncode, out, err) == (0, "web/api: stopped on rift\n", "")
    assert fake.running() == {}


def test_an_agent_that_is_killed_in_a_repair_completes_it(watched: Watched) -> None:
    watched.rig.fake.misbehave("hang", ["start"], times=1)
    ends(watched, 3)
    watched.rig.fake.wait_hanging()
    watched.rig.agent.kill()
    watched.rig.fake.behave()
    watched.rig.restart()
    wait_for(lambda: runs(watched))
    assert "interrupted operation" in watched.rig.agent.log()


def test_it_can_be_turned_off(watched: Watched) -> None:
    watched.rig.agent.define("web", service("web", component("api", more="heal = false\n" + CHECK)))
    assert watched.rig.agent.cli.run("deploy", "-q", "web").code == 0
    watched.wait_rounds()
    ends(watched, 3)
    wait_for(watched.alerts)
    watched.wait_rounds(10)
    assert watched.rig.fake.running() == {}
    assert [argv for argv in watched.rig.fake.commands() if argv[0] == "start"] == []
