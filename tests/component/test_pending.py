"""What a failed change leaves is undone or completed by the agent, and said until then."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.component.conftest import Rig
from tests.component.definitions import component, service
from tests.component.fakes import WEB, WEB2, WORKER
from tests.component.test_monitor import Watched
from tests.waiting import wait_for

TRIED_AGAIN = "the agent tries again until it has succeeded"
BUSY = "undo pending: podman rm --force: Error: it is busy"


@pytest.fixture
def web(rig: Rig) -> Rig:
    """An agent with one component that runs, which looks at it each second."""
    rig.agent.stop()
    rig.agent.home.write_config(settle="50ms", runtime_timeout="8s", more='[monitor]\ninterval = "1s"\n')
    rig.restart()
    rig.agent.define("web", service())
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    return rig


def rows(rig: Rig) -> dict[str, dict[str, Any]]:
    """The components by name, as `mcp status` has them."""
    found: list[dict[str, Any]] = json.loads(rig.agent.cli.run("status", "--json").stdout)["components"]
    return {each["component"]: each for each in found}


def row(rig: Rig) -> dict[str, Any]:
    """The only component, as `mcp status` has it."""
    (found,) = rows(rig).values()
    return found


def attempts(rig: Rig) -> int:
    """How often the agent has tried to undo or complete what is left, in vain."""
    return rig.agent.log().count("cannot finish an interrupted operation")


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
    assert BUSY in done.stderr, done.stderr
    assert TRIED_AGAIN in done.stderr
    assert row(web)["pending"] == BUSY
    assert f"registered 1.0.0; {BUSY}" in web.agent.cli.run("status").stdout
    assert BUSY in web.agent.cli.run("ps").stdout
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
    web.fake.misbehave("fail", ["rm"], after=["run", WEB2], message="it is busy")
    web.agent.define("web", service("web", component("api", WEB2)))
    assert web.agent.cli.run("deploy", "-q", "web").code == 0
    wait_for(lambda: attempts(web) >= 2)
    assert row(web)["pending"] == BUSY.replace("undo", "completion")
    web.fake.behave()
    wait_for(lambda: is_up(web, WEB2))


def test_a_node_without_containers_is_not_counted_again(rig: Rig) -> None:
    assert rig.agent.cli.run("ps").code == 0
    rig.fake.forget_calls()
    for _ in range(3):
        assert rig.agent.cli.run("ps").code == 0
    assert [argv for argv in rig.fake.commands() if argv[0] == "info"] == []


def test_a_replaced_container_that_the_next_command_cannot_remove_either(web: Rig) -> None:
    web.fake.misbehave("fail", ["rm"], after=["run", WEB2], message="it is busy")
    web.agent.define("web", service("web", component("api", WEB2)))
    assert web.agent.cli.run("deploy", "-q", "web").code == 0
    assert web.agent.cli.run("restart", "-q", "web").code == 0
    assert row(web)["pending"] == BUSY.replace("undo", "completion")
    web.fake.behave()
    wait_for(lambda: is_up(web, WEB2))


def test_a_start_that_podman_refuses_has_touched_nothing(web: Rig) -> None:
    assert web.agent.cli.run("stop", "-q", "web").code == 0
    web.fake.misbehave("fail", ["start"], message="no such device")
    done = web.agent.cli.run("start", "-q", "web")
    assert (done.code, TRIED_AGAIN in done.stderr) == (1, False)
    assert row(web)["pending"] is None
    web.fake.forget_calls()
    wait_for(lambda: [argv[0] for argv in web.fake.commands()].count("ps") >= 5)  # rounds of the monitor
    assert "resuming" not in web.agent.log()


def test_an_attempt_in_progress_is_still_pending(web: Rig) -> None:
    web.fake.add_image(WEB2, lifetime=0.01, code=3)
    web.fake.misbehave("fail", ["rm"], after=["run", WEB2], message="it is busy", times=3)
    web.fake.misbehave("hold", ["rm"], after=["run", WEB2])
    web.agent.define("web", service("web", component("api", WEB2)))
    assert web.agent.cli.run("deploy", "-q", "web").code == 1
    wait_for(lambda: web.fake.busy_with("rm"))
    assert row(web)["pending"] == BUSY
    assert web.agent.cli.run("status", "--check").code == 2
    restart = web.agent.cli.popen("restart", "-q", "web")  # which waits for the attempt
    assert row(web)["pending"] == BUSY
    web.fake.behave()
    assert (restart.wait(timeout=60), is_up(web, WEB)) == (0, True)


def test_each_component_says_why(web: Rig) -> None:
    web.agent.define("web", service("web", component("api"), component("work", WORKER)))
    assert web.agent.cli.run("deploy", "-q", "web").code == 0
    web.fake.misbehave("fail", ["start", "web-api"], message="no room")
    web.fake.misbehave("fail", ["start", "web-work"], message="no device")
    assert web.agent.cli.run("restart", "-q", "web").code == 1
    expected = {
        "api": "completion pending: podman start web-api: Error: no room",
        "work": "completion pending: podman start web-work: Error: no device",
    }
    assert {name: each["pending"] for name, each in rows(web).items()} == expected
    wait_for(lambda: attempts(web) >= 2)
    assert {name: each["pending"] for name, each in rows(web).items()} == expected


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


# --- what the monitor makes of it ---


@pytest.fixture
def watched(rig: Rig, tmp_path: Path) -> Watched:
    """An agent that watches and repairs one component of web, with alerts."""
    folder = tmp_path / "alerts"
    folder.mkdir()
    one = Watched(rig, folder)
    one.restart()
    rig.agent.define("web", service())
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    one.wait_rounds()
    return one


def details(watched: Watched) -> list[str]:
    return [event["detail"] for event in watched.events("web")]


def alerts(watched: Watched) -> list[tuple[str, str]]:
    """The kind and the detail of each alert, without how long something lasted."""
    found = [(each["MCP_KIND"], each["MCP_DETAIL"]) for each in watched.alerts()]
    return [(kind, detail.partition(" after ")[0] if kind == "resolved" else detail) for kind, detail in found]


def test_what_is_pending_is_an_event_and_one_alert_until_it_is_over(watched: Watched) -> None:
    rig, pending = watched.rig, "completion pending: podman start web-api: Error: no such device"
    rig.fake.misbehave("fail", ["start"], message="no such device")
    assert rig.agent.cli.run("restart", "-q", "web").code == 1
    wait_for(watched.alerts)
    wait_for(lambda: attempts(rig) >= 2)
    watched.wait_rounds(5)
    assert alerts(watched) == [("drift", pending)]
    assert details(watched).count(pending) == 1
    assert "failed component" not in rig.agent.log()  # the repairs leave it alone
    assert pending in rig.agent.cli.run("events", "web").stdout
    rig.fake.behave()
    wait_for(lambda: rig.fake.running() == {"web-api": WEB})
    wait_for(lambda: len(watched.alerts()) == 2)
    assert sorted(alerts(watched)) == [("drift", pending), ("resolved", "drift is over")]
    assert "no longer pending" in details(watched)[-2:]  # the other one is that it runs
    assert "flapping" not in "".join(details(watched))
    watched.set_state("web-api", state="exited", exit_code=3, finished=1e9)
    wait_for(lambda: "started by the agent after exit code 3 (attempt 1)" in details(watched))


def test_an_undo_that_is_pending_is_told_like_that(watched: Watched) -> None:
    rig = watched.rig
    rig.fake.add_image(WEB2, lifetime=0.01, code=3)
    rig.fake.misbehave("fail", ["rm"], after=["run", WEB2], message="it is busy")
    rig.agent.define("web", service("web", component("api", WEB2)))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 1
    wait_for(watched.alerts)
    wait_for(lambda: attempts(rig) >= 1)
    assert f"warning  rift: web/api: {BUSY}; the agent tries again" in rig.agent.cli.run("doctor").stdout
    rig.fake.behave()
    wait_for(lambda: len(watched.alerts()) == 2)
    assert sorted(alerts(watched)) == [("drift", BUSY), ("resolved", "drift is over")]
    assert [each for each in details(watched) if "pending" in each] == [BUSY, "no longer pending"]
    assert is_up(rig, WEB)
    assert rig.agent.cli.run("status", "--check").code == 0


def test_a_boot_that_podman_refuses_is_a_failure_that_is_told(watched: Watched) -> None:
    rig = watched.rig
    rig.agent.stop()
    watched.set_state("web-api", state="exited", exit_code=3, finished=1e9)
    rig.fake.misbehave("fail", ["start"], message="no such device")
    rig.restart()
    wait_for(watched.alerts)
    assert alerts(watched) == [("drift", "exit code 3")]
    assert watched.status("web")["api"]["pending"] is None
    assert rig.agent.log().count("starting a failed component") >= 3
    rig.fake.behave()
    wait_for(lambda: rig.fake.running() == {"web-api": WEB})
    wait_for(lambda: "started by the agent" in details(watched)[-1])


def test_an_interrupted_start_that_podman_refuses_is_not_resumed_for_ever(watched: Watched) -> None:
    rig = watched.rig
    assert rig.agent.cli.run("stop", "-q", "web").code == 0
    rig.fake.misbehave("hang", ["start"], times=1)
    started = rig.agent.cli.popen("start", "-q", "web")
    rig.fake.wait_hanging()
    rig.agent.kill()
    started.wait(timeout=60)
    rig.fake.behave()
    rig.fake.misbehave("fail", ["start"], message="no such device")
    rig.restart()
    watched.wait_rounds(10)
    assert rig.agent.log().count("msg=resuming") == 1
    row = watched.status("web")["api"]
    assert (row["pending"], row["desired"], row["observed"]) == (None, "stopped", "stopped")


# --- what the history makes of it ---


def errors(rig: Rig) -> list[tuple[str, str]]:
    """The result and the error of each deploy, newest first."""
    found = json.loads(rig.agent.cli.run("history", "web", "--json").stdout)
    return [(each["result"], each["error"]) for each in found]


def test_history_says_that_an_undo_was_done_later(web: Rig) -> None:
    web.fake.add_image(WEB2, lifetime=0.01, code=3)
    web.fake.misbehave("fail", ["rm"], after=["run", WEB2], message="it is busy")
    web.agent.define("web", service("web", component("api", WEB2)))
    assert web.agent.cli.run("deploy", "-q", "web").code == 1
    (result, error), *_ = errors(web)
    assert (result, error.endswith(f"; {BUSY}; {TRIED_AGAIN}")) == ("failed", True), error
    web.fake.behave()
    wait_for(lambda: is_up(web, WEB))
    assert errors(web)[0] == ("failed", f"{error}; api: undone; the old container runs again")


def test_history_says_what_became_of_the_deploy_of_a_killed_agent(web: Rig) -> None:
    web.agent.define("web", service("web", component("api", WEB2)))
    web.fake.misbehave("hang", ["run", WEB2], times=1)
    deploy = web.agent.cli.popen("deploy", "-q", "web")
    web.fake.wait_hanging()
    web.agent.kill()
    deploy.wait(timeout=60)
    web.fake.behave()
    web.restart()
    wait_for(lambda: errors(web)[0][0] != "running")
    assert errors(web)[0] == (
        "interrupted",
        "the agent ended during the deploy; api: undone; the old container runs again",
    )
    assert is_up(web, WEB)
