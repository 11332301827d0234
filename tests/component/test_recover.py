"""Bringing up what should run: when the agent starts, and when it is asked to; in boot order, and nothing else."""

import json
import sqlite3
import time
from contextlib import closing

from tests.component.conftest import Rig
from tests.component.definitions import component, route, service
from tests.component.fakes import WEB, WEB2
from tests.component.processes import free_port
from tests.waiting import wait_for


def deploy(rig: Rig, name: str, *components: str) -> None:
    """Define and deploy a service; it must succeed."""
    rig.agent.define(name, service(name, *components))
    done = rig.agent.cli.run("deploy", "-q", name)
    assert (done.code, done.stderr) == (0, ""), done


def reboot(rig: Rig, state: str = "exited") -> None:
    """End the agent, and every container behind its back; start the agent again."""
    rig.agent.kill()
    containers = rig.fake.state["containers"]
    for container in containers:
        container.update(state=state, exit_code=137 if state == "exited" else 0)
    rig.fake.change(containers=containers)
    rig.fake.forget_calls()
    rig.restart()


def started(rig: Rig) -> list[str]:
    """The containers that podman was told to start or make, in order."""
    return [
        argv[-1] if argv[0] == "start" else argv[2].removeprefix("--name=")
        for argv in rig.fake.commands()
        if argv[0] in ("start", "run")
    ]


def recover(rig: Rig, *options: str) -> list[tuple[str, str, str]]:
    """What `mcp agent recover` did: component, action, error."""
    done = rig.agent.cli.run("agent", "recover", "rift", "--json", *options)
    rows = json.loads(done.stdout)
    assert done.code == (1 if any(row["error"] for row in rows) else 0), done
    assert done.stderr == ""
    return [(f"{row['service']}/{row['component']}", row["action"], row["error"]) for row in rows]


def test_after_a_reboot_what_should_run_runs_and_what_was_stopped_stays_so(rig: Rig) -> None:
    deploy(rig, "web", component("api", more=route()), component("work"))
    deploy(rig, "off")
    assert rig.agent.cli.run("stop", "off").code == 0
    assert rig.agent.cli.run("stop", "web/work").code == 0
    for state in ("exited", "created"):
        reboot(rig, state)
        wait_for(rig.fake.running)
        wait_for(lambda: "brought up" in rig.agent.log())
        assert rig.fake.running() == {"web-api": WEB}
        assert started(rig) == ["web-api"]
    rows = json.loads(rig.agent.cli.run("ps", "--json").stdout)
    desired = {f"{row['service']}/{row['component']}": row["desired"] for row in rows}
    assert desired == {"web/api": "running", "web/work": "stopped", "off/api": "stopped"}


def test_a_restarted_agent_touches_nothing_that_runs(rig: Rig) -> None:
    deploy(rig, "web", component("api"), component("work"))
    before = rig.fake.state["containers"]
    rig.agent.kill()
    rig.fake.forget_calls()
    rig.restart()
    assert rig.agent.cli.run("ps").code == 0
    rig.agent.stop()
    assert {argv[0] for argv in rig.fake.commands()} <= {"ps", "images", "version", "inspect", "container"}
    assert [(each["id"], each["started"]) for each in rig.fake.state["containers"]] == [
        (each["id"], each["started"]) for each in before
    ]


def test_services_come_up_in_boot_order(rig: Rig) -> None:
    for name in ("alpha", "mc-proxy", "mcias", "mcns"):
        deploy(rig, name)
    rig.agent.home.write_config(
        settle="300ms", runtime_timeout="8s", more='boot_order = [["mcns", "mcias"], ["mc-proxy", "elsewhere"]]\n'
    )
    reboot(rig)
    wait_for(lambda: len(rig.fake.running()) == 4)
    order = started(rig)
    assert (set(order[:2]), order[2:]) == ({"mcns-api", "mcias-api"}, ["mc-proxy-api", "alpha-api"])
    times = {name: each["started"] for name, each in rig.fake.containers().items()}
    assert times["mc-proxy-api"] - max(times["mcns-api"], times["mcias-api"]) > 0.3
    assert times["alpha-api"] - times["mc-proxy-api"] > 0.3


def test_a_podman_without_containers_gets_them_all_back(rig: Rig) -> None:
    deploy(rig, "web", component("api", more=route()), component("work", more='network = "mcpnet"'))
    deploy(rig, "off")
    assert rig.agent.cli.run("stop", "off").code == 0
    before = rig.fake.containers()
    rig.fake.change(containers=[], networks=[])

    plan = [("web/api", "create", ""), ("web/work", "create", "")]
    assert recover(rig, "--dry-run") == plan
    assert rig.fake.containers() == {}
    assert recover(rig) == plan
    after = rig.fake.containers()
    assert list(after) == ["web-api", "web-work"]
    for name in after:
        for key in ("image", "env", "ports", "labels", "network", "restart", "cmd"):
            assert after[name][key] == before[name][key], key
    assert recover(rig) == [("web/api", "none", ""), ("web/work", "none", "")]
    rows = json.loads(rig.agent.cli.run("ps", "--json").stdout)
    assert {row["service"]: row["desired"] for row in rows} == {"web": "running", "off": "stopped"}


def test_recovered_containers_are_up_to_date(rig: Rig) -> None:
    deploy(rig, "web")
    rig.fake.change(containers=[])
    recover(rig)
    made = rig.fake.containers()["web-api"]["id"]
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    assert rig.fake.containers()["web-api"]["id"] == made


def test_an_image_that_is_gone_is_pulled_and_one_failure_stops_nothing_else(rig: Rig) -> None:
    for name, image in (("bad", "example.net/gone:v1"), ("far", "example.net/far:v1"), ("web", WEB)):
        rig.fake.add_image(image)
        deploy(rig, name, component("api", image))
    images = {name: image for name, image in rig.fake.state["images"].items() if not name.startswith("example.net")}
    rig.fake.change(containers=[], images=images)
    rig.fake.add_image("example.net/far:v1", remote=True)
    done = rig.agent.cli.run("agent", "recover", "rift")
    assert done.code == 1
    assert [line.split()[0::3] for line in done.stdout.splitlines()[1:]] == [
        ["bad", "failed"],
        ["far", "done"],
        ["web", "done"],
    ]
    (error,) = done.errors
    assert error.startswith("mcp: bad/api: ")
    assert "connection refused" in error
    assert set(rig.fake.running()) == {"far-api", "web-api"}


def test_a_container_that_does_not_stay_up_is_reported(rig: Rig) -> None:
    rig.fake.add_image("example.net/frail:v1")
    deploy(rig, "frail", component("api", "example.net/frail:v1", 'restart = "no"'))
    rig.fake.change(containers=[])
    rig.fake.add_image("example.net/frail:v1", lifetime=0.0, code=3)
    ((name, action, error),) = recover(rig)
    assert (name, action) == ("frail/api", "create")
    assert error.startswith("ended with exit code 3 within")


def test_a_job_that_ended_by_itself_is_not_run_again(rig: Rig) -> None:
    rig.fake.add_image("example.net/job:v1")
    deploy(rig, "job", component("api", "example.net/job:v1", 'restart = "on-failure"'))
    containers = rig.fake.state["containers"]
    containers[0]["lifetime"] = 0.0  # it has done its work
    rig.fake.change(containers=containers)
    wait_for(lambda: '"completed"' in rig.agent.cli.run("ps", "--json").stdout)
    assert recover(rig) == [("job/api", "none", "")]
    containers = rig.fake.state["containers"]
    containers[0]["started"] = 1000.0  # before this machine started
    rig.fake.change(containers=containers)
    assert recover(rig, "--dry-run") == [("job/api", "start", "")]


def test_a_service_that_somebody_works_on_is_left_to_them(rig: Rig) -> None:
    deploy(rig, "web")
    deploy(rig, "other")
    rig.fake.change(containers=[])
    rig.fake.misbehave("hold", ["run", "--name=web-api"])
    starting = rig.agent.cli.popen("start", "-q", "web")
    wait_for(lambda: rig.fake.busy_with("--name=web-api"))
    found = {name: (action, error) for name, action, error in recover(rig)}
    assert found["other/api"] == ("create", "")
    assert found["web/api"][1].startswith("web: start by kyle has been in progress for")
    rig.fake.behave()
    _, err = starting.communicate(timeout=30)
    assert (starting.returncode, err) == (0, "")
    assert set(rig.fake.running()) == {"web-api", "other-api"}


def test_commands_wait_for_a_service_that_is_being_brought_up(rig: Rig) -> None:
    deploy(rig, "web")
    rig.agent.kill()
    containers = rig.fake.state["containers"]
    containers[0]["state"] = "exited"
    rig.fake.change(containers=containers)
    rig.fake.misbehave("hold", ["start"])
    rig.restart()
    wait_for(lambda: rig.fake.busy_with("start"))
    stopping = rig.agent.cli.popen("stop", "-q", "web")
    time.sleep(1.0)
    assert stopping.poll() is None
    rig.fake.behave()
    out, err = stopping.communicate(timeout=30)
    assert (stopping.returncode, out, err) == (0, "web/api: stopped on rift\n", "")
    assert rig.fake.running() == {}


def test_a_podman_that_fails_at_first_is_asked_again(rig: Rig) -> None:
    deploy(rig, "web")
    rig.agent.kill()
    containers = rig.fake.state["containers"]
    containers[0]["state"] = "exited"
    rig.fake.change(containers=containers)
    rig.fake.misbehave("fail", ["ps"], times=2, message="runroot must be set")
    rig.restart()
    wait_for(rig.fake.running)
    assert "runroot must be set" in rig.agent.log()


def test_a_node_without_services_has_nothing_to_recover(rig: Rig) -> None:
    done = rig.agent.cli.run("agent", "recover", "rift")
    assert (done.code, done.stdout) == (0, "")
    assert done.stderr.startswith("rift: no registered component should be running")
    assert recover(rig) == []


def test_restart_stops_and_starts(rig: Rig) -> None:
    deploy(rig, "web", component("api"), component("work"))
    rig.fake.forget_calls()
    done = rig.agent.cli.run("restart", "web")
    assert (done.code, done.stdout) == (0, "web/api: restarted on rift\nweb/work: restarted on rift\n")
    verbs = [argv[0] for argv in rig.fake.commands()]
    assert [verb for verb in verbs if verb in ("stop", "start", "run", "rm")] == ["stop", "start"] * 2

    assert rig.agent.cli.run("stop", "web/work").code == 0
    rig.fake.change(containers=[each for each in rig.fake.state["containers"] if each["name"] != "web-api"])
    assert rig.agent.cli.run("restart", "web").code == 0
    assert set(rig.fake.running()) == {"web-api", "web-work"}
    states = {row["component"]: row["desired"] for row in json.loads(rig.agent.cli.run("ps", "--json").stdout)}
    assert states == {"api": "running", "work": "running"}
    done = rig.agent.cli.run("restart", "web/nope")
    assert (done.code, len(done.errors)) == (1, 1)


def test_one_component_that_cannot_restart_does_not_stop_the_others(rig: Rig) -> None:
    deploy(rig, "web", component("api", WEB2), component("work"))
    rig.fake.misbehave("fail", ["start", "web-api"])
    done = rig.agent.cli.run("restart", "-q", "web")
    assert (done.code, done.stdout) == (1, "web/work: restarted on rift\n")
    assert done.stderr.startswith("mcp: web/api: ")
    rig.fake.behave()
    assert rig.agent.cli.run("restart", "web/api").code == 0
    assert set(rig.fake.running()) == {"web-api", "web-work"}


def test_named_volumes_that_come_back_empty_are_said(rig: Rig) -> None:
    more = f'volumes = ["data:/data", "cache:/cache:ro", "{rig.agent.home.srv}/web:/srv"]'
    deploy(rig, "web", component("api", more=more), component("work"))
    rig.fake.change(containers=[], volumes=["cache"])
    notes = ["volume data does not exist and comes back empty: restore its data"]
    for option in ("--dry-run", ""):
        done = rig.agent.cli.run("agent", "recover", "rift", "--json", *([option] if option else []))
        rows = {row["component"]: row["notes"] for row in json.loads(done.stdout)}
        assert (done.code, rows) == (0, {"api": notes, "work": []})
    assert rig.fake.state["volumes"] == ["cache", "data"]
    rig.fake.change(containers=[], volumes=["cache"])
    done = rig.agent.cli.run("agent", "recover", "rift")
    assert (done.code, done.stderr) == (0, f"web/api: {notes[0]}\n")
    rig.fake.change(containers=[])
    assert rig.agent.cli.run("agent", "recover", "rift").stderr == ""
    for command in ("start", "deploy"):
        rig.fake.change(containers=[], volumes=["cache"])
        done = rig.agent.cli.run(command, "-q", "web")
        assert (done.code, done.stderr) == (0, f"web/api: {notes[0]}\n")
    assert rig.agent.cli.run("undeploy", "-q", "web").code == 0
    rig.fake.change(volumes=[])
    assert rig.agent.cli.run("deploy", "-q", "web").stderr == "", "a new service has lost nothing"


def test_doctor_says_that_podman_has_lost_its_containers(rig: Rig) -> None:
    deploy(rig, "web", component("api"), component("work"))
    rig.fake.change(containers=[])
    done = rig.agent.cli.run("doctor", "rift")
    assert done.code == 1
    words = "podman has none of the 2 containers that should run (web/api, web/work): was it reset?; `mcp agent recover"
    assert words in done.stdout
    assert rig.agent.cli.run("agent", "recover", "rift").code == 0
    assert "that should run" not in rig.agent.cli.run("doctor", "rift").stdout


def test_what_was_deployed_before_a_rule_came_is_brought_up(rig: Rig) -> None:
    """An agent's registry outlives the rules of definitions, which a new release adds to."""
    deploy(rig, "web", component("api", more=f'ports = ["127.0.0.1:{free_port()}:80"]'))
    rig.fake.add_image("web:1")
    rig.agent.kill()
    with closing(sqlite3.connect(rig.agent.home.database)) as database, database:
        (spec,) = database.execute("SELECT spec FROM components").fetchone()
        old = {**json.loads(spec), "image": "web:1", "network": "host", "volumes": ["a:/x", "a:/x"]}
        database.execute("UPDATE components SET spec = ?", (json.dumps(old),))
    rig.fake.change(containers=[])
    rig.restart()
    wait_for(lambda: rig.fake.running() == {"web-api": "web:1"})
    rig.fake.change(containers=[])
    assert recover(rig) == [("web/api", "create", "")]
    assert rig.agent.cli.run("stop", "web").code == 0
    rig.fake.change(containers=[])
    assert rig.agent.cli.run("start", "web").code == 0
    assert rig.agent.cli.run("restart", "web").code == 0
    assert rig.fake.running() == {"web-api": "web:1"}
