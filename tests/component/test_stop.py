"""How an agent ends, what it tells those who wait, and what it leaves behind: nothing."""

import re
import signal
import socket
import time

import pytest

from tests.agents import Agent, agent_env, make_home, run_program
from tests.component.conftest import Rig
from tests.component.definitions import component, service
from tests.component.fakes import WEB
from tests.component.processes import resident_bytes
from tests.component.wire import connected, request_for
from tests.waiting import wait_for

GRACE = 10  # seconds that an agent gives to what is under way; what ends sooner was not waited for
ATTACHED = "--- web/api: attached to web-api, 1.0.0 ---\n"


def deploy(rig: Rig, name: str = "web") -> None:
    """Deploy a service with one component."""
    rig.agent.define(name, service(name))
    assert rig.agent.cli.run("deploy", "-q", name).code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_agent_ends_at_once(rig: Rig, number: int) -> None:
    deploy(rig)
    assert rig.agent.stop(number) < GRACE
    assert rig.agent.log().splitlines()[-1].endswith("level=info msg=stopped")
    assert rig.fake.running() == {"web-api": WEB}


def test_a_deploy_under_way_finishes(rig: Rig) -> None:
    rig.agent.define("web", service())
    rig.fake.misbehave("hold", ["run"])
    cli = rig.agent.cli.popen("deploy", "-q", "web")
    wait_for(lambda: rig.fake.busy_with("run"))
    began = time.monotonic()
    rig.agent.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "msg=stopping" in rig.agent.log())
    rig.fake.behave()
    assert rig.agent.wait_stopped(began) < GRACE
    out, err = cli.communicate(timeout=30)
    assert (cli.returncode, out, err) == (0, "web/api: deployed on rift\n", "")
    rig.restart()
    assert rig.agent.cli.run("ps").stdout.splitlines()[1].split()[:4] == ["web", "api", "rift", "running"]


def test_a_deploy_that_takes_too_long_is_left_for_the_next_one(rig: Rig) -> None:
    rig.agent.define("web", service())
    rig.fake.misbehave("hang", ["run"], times=1)
    cli = rig.agent.cli.popen("deploy", "-q", "web")
    rig.fake.wait_hanging()
    took = rig.agent.stop()
    _, err = cli.communicate(timeout=30)
    assert GRACE - 1 < took < 2 * GRACE, "systemd waits so long for it"
    assert cli.returncode in (1, 4)
    assert len(err.splitlines()) == 1
    assert rig.fake.processes() == []
    rig.restart()
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    assert rig.fake.running() == {"web-api": WEB}


def test_no_new_calls_are_taken_while_it_ends(rig: Rig) -> None:
    deploy(rig)
    rig.fake.misbehave("hold", ["stop"])
    cli = rig.agent.cli.popen("stop", "-q", "web")
    wait_for(lambda: rig.fake.busy_with("stop"))
    began = time.monotonic()
    rig.agent.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "msg=stopping" in rig.agent.log())
    done = rig.agent.cli.run("ps")
    assert done.code in (1, 4)
    assert len(done.errors) == 1
    rig.fake.behave()
    _, err = cli.communicate(timeout=30)
    assert (cli.returncode, err) == (0, "")
    rig.agent.wait_stopped(began)


def test_followers_are_told(rig: Rig) -> None:
    deploy(rig)
    followers = [rig.agent.cli.popen("logs", "web", "-f", "--no-reconnect") for _ in range(2)]
    for follower in followers:
        assert follower.stdout is not None
        assert follower.stdout.readline() == "web: starting\n"
    assert rig.agent.stop() < GRACE
    for follower in followers:
        _, err = follower.communicate(timeout=30)
        assert err.startswith(ATTACHED)
        err = err.removeprefix(ATTACHED)
        assert re.fullmatch("mcp: rift: connection lost after [0-9]+ B of logs; the output is incomplete.*\n", err)
        assert follower.returncode == 4
    assert rig.fake.processes() == []


def test_following_goes_on_until_the_component_is_removed(rig: Rig) -> None:
    deploy(rig)
    follower = rig.agent.cli.popen("logs", "web", "-f", "--tail", "0")
    assert follower.stdout is not None
    assert re.fullmatch(r"web: tick [0-9]+\n", follower.stdout.readline())
    assert rig.agent.cli.run("stop", "web").code == 0
    time.sleep(1)
    assert follower.poll() is None
    assert rig.agent.cli.run("undeploy", "web").code == 0
    out, err = follower.communicate(timeout=30)
    said = ["attached to web-api, 1.0.0", "exited with code 0", "removed"]
    assert (follower.returncode, err) == (0, "".join(f"--- web/api: {text} ---\n" for text in said))
    assert out.endswith("web: stopping\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_client_that_goes_away_leaves_no_podman(rig: Rig, number: int) -> None:
    deploy(rig)
    follower = rig.agent.cli.popen("logs", "web", "-f")
    assert follower.stdout is not None
    assert follower.stdout.readline() == "web: starting\n"
    follower.send_signal(number)
    _, err = follower.communicate(timeout=30)
    assert err == ATTACHED
    wait_for(lambda: not rig.fake.processes(), what="the end of podman")


def test_a_client_that_reads_nothing_is_no_burden(rig: Rig) -> None:
    """It stops reading, podman prints without end: memory stays bounded, others are served, and it can be ended."""
    deploy(rig)
    rig.fake.misbehave("endless", ["logs"])
    follower = rig.agent.cli.popen("logs", "web", "-f")
    assert follower.stdout is not None
    follower.stdout.read(1000)
    before = settled_memory(rig.agent.process.pid)
    time.sleep(1.0)
    assert rig.agent.cli.run("ps").code == 0
    assert resident_bytes(rig.agent.process.pid) - before < 20_000_000
    follower.kill()
    follower.communicate()
    wait_for(lambda: not rig.fake.processes(), what="the end of podman")


def settled_memory(pid: int) -> int:
    """The memory of a process once it has grown to what it needs: less than 1 MB more in half a second, twice."""
    seen = [0]
    while len(seen) < 3 or seen[-1] - seen[-3] > 1_000_000:
        time.sleep(0.5)
        seen.append(resident_bytes(pid))
        assert len(seen) < 30, f"it grows and grows: {seen}"
    return seen[-1]


def test_a_killed_agent_leaves_no_followers(rig: Rig) -> None:
    deploy(rig)
    follower = rig.agent.cli.popen("logs", "web", "-f", "--no-reconnect")
    assert follower.stdout is not None
    assert follower.stdout.readline() == "web: starting\n"
    rig.agent.kill()
    _, err = follower.communicate(timeout=30)
    assert follower.returncode == 4
    assert len(err.removeprefix(ATTACHED).splitlines()) == 1
    wait_for(lambda: not rig.fake.processes(), what="the end of podman")
    rig.restart()


def test_a_podman_that_hangs_does_not_hold_up_start_or_end(rig: Rig) -> None:
    rig.agent.stop()
    rig.agent.home.write_config(settle="50ms", runtime_timeout="60s")
    rig.fake.misbehave("hang", ["version"])
    rig.restart()
    assert rig.agent.cli.run("ps").code == 0
    assert rig.agent.stop() < GRACE
    assert rig.fake.processes() == []


def test_a_second_signal_ends_it_at_once(rig: Rig) -> None:
    rig.agent.define("web", service())
    rig.fake.misbehave("hang", ["run"])
    cli = rig.agent.cli.popen("deploy", "-q", "web")
    rig.fake.wait_hanging()
    rig.agent.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "msg=stopping" in rig.agent.log())
    rig.agent.process.send_signal(signal.SIGTERM)
    assert rig.agent.process.wait(GRACE - 1) == 1
    cli.communicate(timeout=30)


def test_a_second_agent_on_the_same_state_is_refused(rig: Rig) -> None:
    home = rig.agent.home
    done = run_program([*home.command, "server", "--config", str(home.config)], env=rig.agent.env, timeout=60)
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr == f"mcp-agent: {home.database} is in use by another mcp-agent; stop it first\n"
    assert rig.agent.cli.run("ps").code == 0


def test_a_port_that_is_taken(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> None:
    home = make_home(tmp_path_factory.mktemp("second"))
    home.write_config(address=rig.agent.address)
    done = run_program([*home.command, "server", "--config", str(home.config)], env=agent_env(home.folder), timeout=60)
    assert (done.code, done.stdout) == (1, "")
    errors = [line for line in done.errors if line.startswith("mcp-agent: ")]
    assert errors == [
        f"mcp-agent: cannot listen on {rig.agent.address}; the address must belong to this machine, "
        "and the port must be free: see `ss -ltnp`"
    ]
    assert "Traceback" not in done.stderr


def test_a_thousand_calls_leave_nothing_open(rig: Rig) -> None:
    deploy(rig)
    with connected(rig.agent) as wire:
        for _ in range(20):
            wire.call("NodeStatus")
        before = rig.agent.open_files()
        for number in range(1000):
            if number % 50 == 0:
                assert wire.call("LiveCheck").code.name == "OK"
                assert wire.call("Logs", request_for("Logs", service="web")).code.name == "OK"
            wire.call("ListServices")
            wire.call("StopService")
        assert rig.agent.open_files() <= before
    for _ in range(10):
        with connected(rig.agent) as wire:
            assert wire.call("NodeStatus").code.name == "OK"
    wait_for(lambda: rig.agent.open_files() <= before, 5, "closing of connections")


def test_restarting_finds_everything(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api"), component("work")))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    before = [line.split()[:5] for line in rig.agent.cli.run("ps").stdout.splitlines()]
    rig.agent.stop()
    rig.restart()
    assert [line.split()[:5] for line in rig.agent.cli.run("ps").stdout.splitlines()] == before


def test_starting_again_ends_in_the_same_place(tmp_path_factory: pytest.TempPathFactory, rig: Rig) -> None:
    """An agent whose configuration names a fixed port gets it again right after its end."""
    rig.agent.home.write_config(address=rig.agent.address)
    rig.agent.stop()
    again = Agent.start(rig.agent.home, env=rig.agent.env)
    assert again.address == rig.agent.address
    rig.agent = again


def test_ctrl_c_says_that_the_node_goes_on(rig: Rig) -> None:
    """With several nodes as with one, at once, and the change is brought to its end."""
    config = rig.agent.mcp_toml.read_text()
    silent = socket.create_server(("127.0.0.1", 0))  # a second node, which never answers
    port = silent.getsockname()[1]
    rig.agent.mcp_toml.write_text(f'{config}[[nodes]]\nname = "silent"\naddress = "127.0.0.1:{port}"\n')
    rig.agent.define("web", service())
    for command in (("deploy", "-q", "web"), ("sync",)):
        rig.fake.misbehave("hold", ["run"])
        cli = rig.agent.cli.popen(*command)
        wait_for(lambda: rig.fake.busy_with("run"))
        cli.send_signal(signal.SIGINT)
        _, said = cli.communicate(timeout=30)
        assert rig.fake.busy_with("run"), "it was not waited for"
        rig.fake.behave()
        assert cli.returncode == 130
        interrupted = said.splitlines()[-1]  # deploy warns of the silent node first
        assert interrupted == "mcp: interrupted; changes that a node has begun continue there; see mcp status"
        wait_for(lambda: rig.fake.running() == {"web-api": WEB})
        wait_for(lambda: rig.agent.cli.run("undeploy", "web").code == 0)
    silent.close()
