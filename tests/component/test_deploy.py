"""The services' life through the real CLI: deploy, undeploy, stop, start, ps, logs, node list."""

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.podman.client import STOP_FAILURES
from tests.agents import Outcome
from tests.component.conftest import Rig
from tests.component.definitions import TWO, component, route, service
from tests.component.fakes import BRIEF, FAIL, MISSING, WEB, WEB2, WORKER
from tests.component.processes import free_port
from tests.component.wire import connected
from tests.waiting import wait_for


def states(rig: Rig) -> dict[str, str]:
    """What `mcp ps` shows: the state of each component."""
    done = rig.agent.cli.run("ps", "--json")
    assert done.code == 0, done.stderr
    return {f"{row['service']}/{row['component']}": row["state"] for row in json.loads(done.stdout)}


def ok(done: Outcome) -> str:
    """The output of a command that must have succeeded without a word on stderr."""
    assert (done.code, done.stderr) == (0, "")
    return done.stdout


def failed(done: Outcome) -> str:
    """The one line of a command that must have failed."""
    assert done.code == 1, done
    (line,) = done.errors
    assert line.startswith("mcp: ")
    return line


def undone(done: Outcome) -> tuple[str, list[str]]:
    """The error, and the new container's last lines, of a deploy that must have been undone."""
    assert (done.code, done.stdout) == (1, "")
    error, heading, *lines = done.errors
    assert heading == "mcp: web/api: last log lines:"
    return error, [line.strip() for line in lines]


def test_the_life_of_a_service(rig: Rig) -> None:
    run = rig.agent.cli.run
    assert ok(run("ps")).split() == ["SERVICE", "COMPONENT", "NODE", "STATE", "VERSION", "UPTIME"]
    rig.agent.define("web", TWO)
    assert ok(run("deploy", "-q", "web")) == "web/api: deployed on rift\nweb/work: deployed on rift\n"
    assert rig.fake.running() == {"web-api": WEB, "web-work": WORKER}
    table = [line.split() for line in ok(run("ps")).splitlines()]
    assert [row[:5] for row in table[1:]] == [
        ["web", "api", "rift", "running", "1.0.0"],
        ["web", "work", "rift", "running", "1.0.0"],
    ]
    assert re.fullmatch(r"[0-9]+s", table[1][5])
    assert ok(run("stop", "-q", "web")) == "web/api: stopped on rift\nweb/work: stopped on rift\n"
    assert states(rig) == {"web/api": "stopped", "web/work": "stopped"}
    assert ok(run("start", "-q", "web/api")) == "web/api: started on rift\n"
    assert states(rig) == {"web/api": "running", "web/work": "stopped"}
    assert ok(run("undeploy", "-q", "web")) == "web/api: undeployed on rift\nweb/work: undeployed on rift\n"
    assert rig.fake.containers() == {}
    assert json.loads(ok(run("ps", "--json"))) == []


def test_what_podman_is_asked_for(rig: Rig) -> None:
    port = free_port()
    more = (
        'user = "0:0"\nnetwork = "mcpnet"\nrestart = "on-failure:3"\ncmd = ["web", "--flag", "a b"]\n'
        f'ports = ["127.0.0.1:{port}:8080"]\n'
        'volumes = ["/usr/share:/data:ro"]\nenv = ["LOG_LEVEL=info"]'
    )
    rig.agent.define("web", service("web", component("web", more=more)))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    (argv,) = [argv for argv in rig.fake.commands() if argv[0] == "run"]
    assert argv == [
        *("run", "--detach", "--name=web", "--pull=never", "--log-driver=k8s-file"),
        "--log-opt=max-size=32000000",
        *("--label=mcp.service=web", "--label=mcp.component=web", "--label=mcp.deploy=1", "--restart=on-failure:3"),
        *("--stop-timeout=10", "--http-proxy=false"),
        *("--network=mcpnet", "--user=0:0", f"--publish=127.0.0.1:{port}:8080", "--volume=/usr/share:/data:ro"),
        *("--env-file=/dev/stdin", WEB, "web", "--flag", "a b"),
    ]
    assert ["network", "create", "mcpnet"] in rig.fake.commands()
    assert rig.fake.containers()["web"]["env"] == ["LOG_LEVEL=info"]


def test_commands_can_be_repeated(rig: Rig) -> None:
    rig.agent.define("web", service())
    run = rig.agent.cli.run
    for _ in range(2):
        ok(run("deploy", "-q", "web"))
        assert rig.fake.running() == {"web-api": WEB}
    for _ in range(2):
        ok(run("stop", "-q", "web"))
        assert states(rig) == {"web/api": "stopped"}
    for _ in range(2):
        ok(run("start", "-q", "web"))
        assert states(rig) == {"web/api": "running"}
    ok(run("undeploy", "-q", "web"))
    assert "web is not deployed on this node" in failed(run("undeploy", "web"))


def test_one_component_fails_and_the_others_do_not(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api"), component("bad", MISSING), component("work", WORKER)))
    done = rig.agent.cli.run("deploy", "-q", "web")
    assert done.code == 1
    assert done.stdout == "web/api: deployed on rift\nweb/work: deployed on rift\n"
    (line,) = done.errors
    assert line.startswith(f"mcp: web/bad: the image {MISSING} is not on this node and cannot be pulled: Error: ")
    assert MISSING in line
    assert rig.fake.running() == {"web-api": WEB, "web-work": WORKER}
    rows = json.loads(rig.agent.cli.run("deploy", "-q", "web", "--json").stdout)
    assert [(row["component"], row["success"]) for row in rows] == [("api", True), ("bad", False), ("work", True)]


def test_an_image_is_pulled_once_and_before_anything_stops(rig: Rig) -> None:
    rig.fake.add_image("example.net/app:v1", remote=True)
    rig.agent.define("web", service("web", component()))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    rig.agent.define("web", service("web", component("api", "example.net/app:v1")))
    rig.fake.forget_calls()
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    verbs = [argv[0] for argv in rig.fake.commands()]
    assert verbs.index("pull") < verbs.index("stop")
    rig.fake.forget_calls()
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    assert "pull" not in [argv[0] for argv in rig.fake.commands()]


def test_one_component_is_deployed_alone(rig: Rig) -> None:
    rig.agent.define("web", TWO)
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    before = rig.fake.containers()["web-work"]["id"]
    assert ok(rig.agent.cli.run("deploy", "-q", "web/api")) == "web/api: up to date on rift\n"
    assert ok(rig.agent.cli.run("deploy", "-q", "web/api", "--force")) == "web/api: deployed on rift\n"
    assert rig.fake.containers()["web-work"]["id"] == before


SETTLE = ["inspect", "--type=container"]

NEW_ENDS = {
    "at once": (
        component("api", FAIL, 'restart = "no"'),
        "ended with exit code 3",
        "stderr | fail: cannot read the configuration",
    ),
    "again and again": (component("api", FAIL), "ended", "stdout | fail: starting"),
    "after a moment": (component("api", "example.net/short:v1"), "ended", "stdout | web: starting"),
}


@pytest.mark.parametrize("how", NEW_ENDS)
def test_the_new_container_ends_and_the_old_one_runs_again(rig: Rig, how: str) -> None:
    text, code, words = NEW_ENDS[how]
    rig.fake.add_image("example.net/short:v1", lifetime=0.01, code=7)
    rig.agent.define("web", service())
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    before = rig.fake.containers()["web-api"]["id"]
    rig.agent.define("web", service("web", text))
    line, last_lines = undone(rig.agent.cli.run("deploy", "-q", "web"))
    assert line.startswith(f"mcp: web/api: the new container {code} soon after its start")
    assert line.endswith("; the old container runs again")
    assert words in last_lines
    assert list(rig.fake.containers()) == ["web-api"]
    assert rig.fake.containers()["web-api"]["id"] == before
    assert rig.fake.running() == {"web-api": WEB}
    assert json.loads(rig.agent.cli.run("ps", "--json").stdout)[0]["image"] == WEB


def test_a_first_container_that_ends_is_removed(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api", FAIL, 'restart = "no"')))
    error, last_lines = undone(rig.agent.cli.run("deploy", "-q", "web"))
    assert "exit code 3" in error
    assert last_lines == ["stdout | fail: starting", "stderr | fail: cannot read the configuration"]
    assert rig.fake.containers() == {}
    assert states(rig) == {}


def test_the_last_lines_of_several_runs_come_in_the_order_in_which_they_were_written(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api", FAIL)))
    rig.fake.misbehave("hold", ["logs"])
    cli = rig.agent.cli.popen("deploy", "-q", "web", "--json")
    wait_for(lambda: rig.fake.busy_with("logs"))
    # time passes for the fake's containers when somebody asks for them
    wait_for(lambda: rig.agent.cli.run("ps").code == 0 and rig.fake.containers()["web-api"]["restarts"] >= 2)
    rig.fake.behave()
    out, _ = cli.communicate(timeout=60)
    lines = [(line["stream"], line["message"]) for line in json.loads(out)[0]["last_lines"]]
    run = [("stdout", "fail: starting"), ("stderr", "fail: cannot read the configuration")]
    assert len(lines) >= 6
    assert lines == run * (len(lines) // 2)


def test_the_old_container_runs_again_when_podman_cannot_start_the_new_one(rig: Rig) -> None:
    rig.agent.define("web", service())
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    rig.agent.define("web", service("web", component("api", WEB2)))
    for where, argv, times, after in (
        ("stop", ["stop"], STOP_FAILURES, []),
        ("rename", ["rename"], 1, []),
        ("run", ["run"], 1, []),
        ("inspect", SETTLE, 6, ["run"]),  # half of them for the logs, each tried three times
    ):
        rig.fake.misbehave("fail", argv, times=times, message=f"{where} has a bad day", after=after)
        line = failed(rig.agent.cli.run("deploy", "-q", "web"))
        assert f"podman {where}" in line
        assert f"Error: {where} has a bad day" in line
        assert rig.fake.running() == {"web-api": WEB}
        assert list(rig.fake.containers()) == ["web-api"]
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    assert rig.fake.running() == {"web-api": WEB2}


def test_a_port_is_told_to_the_container_and_kept(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api", more=route())))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    port = the_port(rig, "web-api", "PORT")
    rig.agent.define("web", service("web", component("api", WEB2, route())))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    assert the_port(rig, "web-api", "PORT") == port
    rig.agent.stop()
    rig.restart()
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    assert the_port(rig, "web-api", "PORT") == port


def the_port(rig: Rig, container: str, variable: str) -> int:
    """The port that a container was told, after a look at whether it is published so."""
    seen = rig.fake.containers()[container]
    (value,) = [entry.partition("=")[2] for entry in seen["env"] if entry.startswith(f"{variable}=")]
    assert f"127.0.0.1:{value}:{value}" in seen["ports"]
    return int(value)


def test_named_routes_have_their_own_ports(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api", more=route("rest") + route("my-grpc", 9443))))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    assert the_port(rig, "web-api", "PORT_REST") != the_port(rig, "web-api", "PORT_MY_GRPC")


def test_many_deploys_at_once_get_different_ports(rig: Rig) -> None:
    names = [f"s{number}" for number in range(24)]
    for name in names:
        rig.agent.define(name, service(name, component("api", more=route("a") + route("b", 9443))))
    with ThreadPoolExecutor(6) as pool:
        for done in pool.map(lambda name: rig.agent.cli.run("deploy", "-q", name), names):
            ok(done)
    ports = [the_port(rig, f"{name}-api", variable) for name in names for variable in ("PORT_A", "PORT_B")]
    assert len(set(ports)) == 48
    assert all(10000 <= port <= 60000 for port in ports)


def test_a_second_deploy_of_the_same_service_is_refused(rig: Rig) -> None:
    rig.agent.define("web", service())
    rig.agent.define("other", service("other"))
    rig.fake.misbehave("hold", ["run", "--name=web-api"])
    first: list[Outcome] = []
    thread = threading.Thread(target=lambda: first.append(rig.agent.cli.run("deploy", "-q", "web")))
    thread.start()
    wait_for(lambda: rig.fake.busy_with("run"))
    for verb in ("deploy", "stop", "undeploy", "start"):
        line = failed(rig.agent.cli.run(verb, "web"))
        assert re.fullmatch(
            r"mcp: rift: web: deploy by kyle has been in progress for [0-9]+s; try again when it has finished", line
        )
    ok(rig.agent.cli.run("deploy", "-q", "other"))
    assert states(rig)["other/api"] == "running"
    rig.fake.behave()
    thread.join()
    ok(first[0])
    ok(rig.agent.cli.run("deploy", "-q", "web"))


def test_an_inactive_service_is_not_deployed(rig: Rig) -> None:
    rig.agent.define("web", service(more="active = false"))
    assert "web is not active; set active = true" in failed(rig.agent.cli.run("deploy", "-q", "web"))
    assert rig.fake.containers() == {}


def test_two_services_cannot_share_a_container(rig: Rig) -> None:
    rig.agent.define("a", service("a", component("b-c")))
    rig.agent.define("a-b", service("a-b", component("c")))
    ok(rig.agent.cli.run("deploy", "-q", "a"))
    assert "the container a-b-c belongs to a/b-c" in failed(rig.agent.cli.run("deploy", "-q", "a-b"))
    assert states(rig) == {"a/b-c": "running"}


def test_start_makes_a_container_again_that_is_gone(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api", more='env = ["A=b"]\n' + route())))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    port, before = the_port(rig, "web-api", "PORT"), rig.fake.containers()["web-api"]
    rig.fake.change(containers=[])
    assert states(rig) == {"web/api": "removed"}
    ok(rig.agent.cli.run("start", "-q", "web"))
    after = rig.fake.containers()["web-api"]
    assert the_port(rig, "web-api", "PORT") == port
    for key in ("image", "env", "ports", "labels", "restart"):
        assert after[key] == before[key]


def test_a_container_that_ended_by_itself(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api", BRIEF, 'restart = "no"')))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    containers = rig.fake.state["containers"]
    containers[0]["started"] -= 10
    rig.fake.change(containers=containers)
    assert states(rig) == {"web/api": "completed"}


def test_logs_of_all_components(rig: Rig) -> None:
    rig.agent.define("web", TWO)
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    out = ok(rig.agent.cli.run("logs", "web")).splitlines()
    assert {"api  | web: starting", "work | worker: starting"} <= set(out)
    assert ok(rig.agent.cli.run("logs", "web/work")) == "worker: starting\n"
    assert ok(rig.agent.cli.run("logs", "web/api", "--tail", "0")) == ""
    assert re.match(r"20[0-9-]+T[0-9:.]+Z worker: starting\n", ok(rig.agent.cli.run("logs", "-t", "web/work")))
    assert ok(rig.agent.cli.run("logs", "web/work", "--since", "2040-01-01T00:00:00Z")) == ""
    assert ok(rig.agent.cli.run("logs", "web/work", "--since", "1h")) == "worker: starting\n"


def test_logs_tell_stderr_from_stdout(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api", FAIL, 'restart = "no"')))
    rig.fake.add_image(FAIL)  # it says the same, but does not end
    images = rig.fake.state["images"]
    images[FAIL]["program"] = "fail"
    rig.fake.change(images=images)
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    done = rig.agent.cli.run("logs", "web")
    assert (done.code, done.stdout, done.stderr) == (0, "fail: starting\n", "fail: cannot read the configuration\n")


def test_logs_of_what_is_not_there(rig: Rig) -> None:
    rig.agent.define("web", TWO)
    assert "web is not deployed on this node; nothing is deployed here" in failed(rig.agent.cli.run("logs", "web"))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    assert "web has no component x; it has: api, work" in failed(rig.agent.cli.run("logs", "web/x", "--node", "rift"))
    rig.fake.change(containers=[])
    line = failed(rig.agent.cli.run("logs", "web"))
    assert "no container named web-api, web-work; start or deploy the service first" in line
    line = failed(rig.agent.cli.run("logs", "web/api", "-f"))
    assert "no container named web-api; start or deploy the service first" in line


def test_logs_say_when_podman_fails(rig: Rig) -> None:
    rig.agent.define("web", service())
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    rig.fake.misbehave("fail", ["logs"], message="the journal cannot be read")
    done = rig.agent.cli.run("logs", "web")
    assert done.code == 1
    assert done.errors[-1] == "mcp: rift: podman logs web-api: Error: the journal cannot be read"


def test_node_list_says_what_the_agent_is(rig: Rig) -> None:
    rig.agent.define("web", service())
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    (row,) = json.loads(ok(rig.agent.cli.run("node", "list", "--json")))
    with connected(rig.agent) as wire:
        status = wire.call("NodeStatus").responses[0]
    assert row == {
        "node": "rift", "address": rig.agent.address, "arch": status.architecture, "state": "ready",
        "agent": status.agent_version, "podman": "4.3.1", "services": 1,
    }  # fmt: skip
    assert (status.node_name, status.service_count, status.component_count) == ("rift", 1, 1)
    assert status.disk_total_bytes >= status.disk_free_bytes > 0
    assert status.memory_total_bytes >= status.memory_free_bytes > 0


def test_what_mcp_made_and_the_registry_does_not_know(rig: Rig) -> None:
    rig.agent.define("web", service())
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    containers = rig.fake.state["containers"]
    labels = {"mcp.service": "web", "mcp.component": "gone"}
    stray = {**containers[0], "name": "web-gone", "id": "f" * 64, "labels": labels}
    alien = {**containers[0], "name": "database", "id": "e" * 64, "labels": {}}
    aside = {**stray, "name": "web-gone.old", "id": "d" * 64}
    rig.fake.change(containers=[*containers, stray, aside, alien])
    assert states(rig) == {"web/api": "running", "web/gone": "running"}
    ok(rig.agent.cli.run("undeploy", "-q", "web"))
    assert list(rig.fake.containers()) == ["database"]


def test_an_image_is_inspected_once(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api")))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    rig.fake.forget_calls()
    assert rig.agent.cli.run("deploy", "-q", "--force", "web").code == 0
    assert [argv for argv in rig.fake.commands() if argv[:2] == ["image", "inspect"]] == []
    rig.fake.add_image(WEB, code=9)  # the tag names another image now
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    assert ["image", "inspect", WEB] in rig.fake.commands()
