"""What status counts, and what --check makes of it."""

import json
from typing import Any

import pytest

from tests.agents import Outcome
from tests.component.conftest import Rig
from tests.component.definitions import TWO, component, service
from tests.component.fakes import FAIL, WEB
from tests.component.test_move import REMEDY, Pair, pair

__all__ = ["pair"]


def ok(done: Outcome) -> str:
    assert (done.code, done.stderr) == (0, "")
    return done.stdout


def rows(rig: Rig, *args: str) -> dict[str, dict[str, Any]]:
    """The components in the JSON, by name."""
    components = json.loads(ok(rig.agent.cli.run("status", *args, "--json")))["components"]
    return {row["component"]: row for row in components}


def check(rig: Rig, *args: str) -> int:
    return rig.agent.cli.run("status", "--check", *args).code


def test_what_a_failed_deploy_never_brought_up_counts(rig: Rig) -> None:
    half = service("web", component("api"), component("bad", FAIL))
    rig.agent.define("web", half)
    assert rig.agent.cli.run("deploy", "-q", "web").code == 1
    assert ok(rig.agent.cli.run("status", "web")).splitlines()[0] == "web on rift: 1 of 2 running, drift in 1 of 2"
    found = rows(rig)
    assert (found["bad"]["desired"], found["bad"]["observed"], found["bad"]["drift"]) == ("running", "removed", True)
    assert found["bad"]["image"] == FAIL
    assert (check(rig), check(rig, "web")) == (2, 2)
    rig.agent.stop()
    rig.restart()
    assert set(rows(rig)) == {"api", "bad"}
    rig.agent.define("web", half.replace(FAIL, WEB))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    assert ok(rig.agent.cli.run("status", "web")).splitlines()[0] == "web on rift: 2 of 2 running, no drift"
    assert (check(rig), check(rig, "web")) == (0, 0)


def test_a_service_that_never_came_up_can_be_undeployed(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("bad", FAIL)))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 1
    assert "web on rift: 0 of 1 running, drift in 1 of 1" in ok(rig.agent.cli.run("status", "web"))
    assert ok(rig.agent.cli.run("undeploy", "-q", "web")) == "web/bad: undeployed on rift\n"
    assert rows(rig) == {}
    assert rig.agent.cli.run("undeploy", "web").code == 1


def test_a_component_that_the_definition_dropped_after_a_failed_deploy_no_longer_counts(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api"), component("bad", FAIL)))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 1
    rig.agent.define("web", service("web", component("api")))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    assert set(rows(rig)) == {"api"}


def test_a_crash_loop_is_restarting(rig: Rig) -> None:
    rig.agent.define("web", service())
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    (container,) = rig.fake.state["containers"]
    rig.fake.change(containers=[{**container, "restarts": 7}])
    row = rows(rig)["api"]
    assert (row["desired"], row["observed"], row["drift"], row["restarts"]) == ("running", "restarting", True, 7)
    assert "  api: restarting, should be running" in ok(rig.agent.cli.run("status", "web")).splitlines()
    assert check(rig) == 2
    rig.fake.change(containers=[{**container, "restarts": 7, "started": container["started"] - 120}])
    assert rows(rig)["api"]["observed"] == "running"
    assert check(rig) == 0


@pytest.mark.parametrize("change", [{"state": "exited", "exit_code": 3}, {"state": "paused"}])
def test_check_finds_drift(rig: Rig, change: dict[str, object]) -> None:
    rig.agent.define("web", TWO)
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    assert check(rig) == 0
    containers = rig.fake.state["containers"]
    rig.fake.change(containers=[{**containers[0], **change}, *containers[1:]])
    assert check(rig) == 2
    assert check(rig, "--json") == 2
    assert rig.agent.cli.run("status").code == 0
    rig.fake.change(containers=containers)
    ok(rig.agent.cli.run("stop", "-q", "web"))
    assert check(rig) == 0, "it is stopped as it was asked for"


def test_check_of_nodes_and_mistakes(rig: Rig) -> None:
    config = rig.agent.mcp_toml.read_text()
    rig.agent.mcp_toml.write_text(f'{config}[[nodes]]\nname = "gone"\naddress = "127.0.0.1:1"\n')
    assert check(rig) == 2
    assert rig.agent.cli.run("status").code == 4
    assert check(rig, "--node", "rift") == 0
    assert check(rig, "--node", "nowhere") == 1
    assert check(rig, "--nonsense") == 1
    assert rig.agent.cli.run("status", "--nonsense").code == 2
    assert rig.agent.cli.run("status", "--check", "--node", "rift", env={"MCP_TOKEN": "wrong"}).code == 1


def test_a_copy_on_another_node_is_shown(pair: Pair) -> None:
    done = pair.cli.run("status")
    assert done.code == 0
    remark = "still runs on rift, defined for rift2"
    assert [line.endswith(remark) for line in done.stdout.splitlines()] == [False, True, True]
    assert pair.cli.run("status", "--check").code == 2
    done = pair.cli.run("status", "web")
    assert done.code == 1
    assert done.errors == [
        "mcp: rift2: web is not deployed on this node; nothing is deployed here",
        f"mcp: web still runs on rift, but is defined for rift2; {REMEDY}",
    ]
    assert pair.cli.run("status", "web", "--check").code == 2
    assert pair.cli.run("deploy", "-q", "--move", "web").code == 0
    assert pair.cli.run("status", "--check").code == 0
    assert pair.cli.run("status", "web", "--check").code == 0
