"""MCP's main job on real rootless podman: deploy, look, stop, start, undeploy, and what goes wrong on the way."""

import json
import re
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.agents import Agent, Outcome
from tests.component.processes import free_port
from tests.stage import folder_of, start_agent
from tests.waiting import wait_for
from tools import images
from tools.hostlib.private import Private

WEB = "localhost/mcp-web:1.0.0"
WORKER = "localhost/mcp-worker:1.0.0"

TWO = f"""
name = "site"
node = "dev"
[[components]]
name = "web"
image = "{WEB}"
env = ["COLOUR=a 'quoted' # value", "EMPTY=", "S3CRET_KEY=hunter2-in-no-argv"]
[[components.routes]]
name = "rest"
port = 443
[[components]]
name = "worker"
image = "{WORKER}"
network = "sitenet"
"""


def one(component: str, extra: str = "", image: str = WORKER) -> str:
    return f'name = "solo"\nnode = "dev"\n[[components]]\nname = "{component}"\nimage = "{image}"\n{extra}\n'


def ps(agent: Agent) -> dict[str, str]:
    """State by SERVICE/COMPONENT."""
    done = agent.cli.run("ps", "--json")
    assert done.code == 0, done.stderr
    return {f"{row['service']}/{row['component']}": row["state"] for row in json.loads(done.stdout)}


def containers(podman: Private) -> set[str]:
    return set(podman.run(["podman", "ps", "--all", "--format", "{{.Names}}"]).stdout.split())


def inspect(podman: Private, name: str) -> dict[str, object]:
    rows: list[dict[str, object]] = json.loads(podman.run(["podman", "inspect", "--type=container", name]).stdout)
    return rows[0]


def fetch(port: int) -> str:
    """What answers on loopback; tries for a moment, since a server that starts is not there at once."""
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as response:
                return str(response.read().decode())
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"nothing answers on port {port}")


def variables(podman: Private, name: str) -> dict[str, str]:
    lines = podman.run(["podman", "exec", name, "env"]).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


def failed(done: Outcome, *words: str) -> None:
    assert done.code == 1, done
    assert [line for line in done.errors if not line.startswith("mcp: ")] == []
    for word in words:
        assert word in done.stderr


def test_a_service_from_deploy_to_undeploy(agent: Agent, rootless: Private) -> None:
    agent.define("site", TWO)
    done = agent.cli.run("deploy", "-q", "site")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["site/web: deployed on dev", "site/worker: deployed on dev"]
    assert ps(agent) == {"site/web": "running", "site/worker": "running"}

    seen = variables(rootless, "site-web")
    assert seen["COLOUR"] == "a 'quoted' # value"
    assert seen["EMPTY"] == ""
    assert seen["PORT"] == seen["PORT_REST"]
    assert 10000 <= int(seen["PORT"]) <= 60000
    published = rootless.run(["podman", "port", "site-web"]).stdout
    assert published.strip() == f"{seen['PORT']}/tcp -> 127.0.0.1:{seen['PORT']}"
    assert fetch(int(seen["PORT"])) == "mcp test image 1.0.0\n"

    stopped = agent.cli.run("stop", "site/worker")
    assert (stopped.code, stopped.stdout) == (0, "site/worker: stopped on dev\n")
    assert ps(agent) == {"site/web": "running", "site/worker": "stopped"}
    assert agent.cli.run("start", "site").code == 0
    assert ps(agent) == {"site/web": "running", "site/worker": "running"}

    done = agent.cli.run("undeploy", "site")
    assert (done.code, done.stdout.count("undeployed on dev")) == (0, 2)
    assert ps(agent) == {}
    assert containers(rootless) == set()
    failed(agent.cli.run("undeploy", "site"), "site is not deployed on this node")


def test_deploying_again_keeps_the_port_and_replaces_the_container(agent: Agent, rootless: Private) -> None:
    agent.define("site", TWO)
    assert agent.cli.run("deploy", "-q", "site").code == 0
    before, port = inspect(rootless, "site-web")["Id"], variables(rootless, "site-web")["PORT"]
    worker = inspect(rootless, "site-worker")["Id"]
    assert agent.cli.run("deploy", "-q", "site/web").stdout == "site/web: up to date on dev\n"
    assert inspect(rootless, "site-web")["Id"] == before
    assert agent.cli.run("deploy", "-q", "site/web", "--force").code == 0
    assert inspect(rootless, "site-web")["Id"] != before
    assert inspect(rootless, "site-worker")["Id"] == worker
    assert variables(rootless, "site-web")["PORT"] == port
    assert containers(rootless) == {"site-web", "site-worker"}


def run_of(podman: Private, name: str) -> tuple[str, str]:
    """The state of a container, and how often it was started again."""
    argv = ["podman", "inspect", "--format", "{{.State.Status}} {{.RestartCount}}", name]
    while (done := podman.run(argv, check=False)).returncode:  # its process ended while podman looked
        time.sleep(0.05)
    state, restarts = done.stdout.split()
    return state, restarts


def started(podman: Private, name: str) -> str:
    """When a container was started last."""
    return podman.run(["podman", "inspect", "--format", "{{.State.StartedAt}}", name]).stdout


def wait_for_another_run(podman: Private, name: str) -> None:
    began = run_of(podman, name)
    wait_for(lambda: run_of(podman, name)[1] != began[1], 60)


def test_a_container_that_fails_again_and_again_can_be_stopped(agent: Agent, rootless: Private) -> None:
    script = "[ -e /tmp/ran ] || { touch /tmp/ran; exec sleep 6; }; exit 3"  # the first run outlives the deploy
    image, loop = 'image = "localhost/mcp-worker:1.0.0"', f"cmd = {json.dumps(['sh', '-c', script])}"
    agent.define("loop", f'name = "loop"\nnode = "dev"\n[[components]]\nname = "web"\n{image}\n{loop}\n')
    assert agent.cli.run("deploy", "-q", "loop").code == 0
    wait_for_another_run(rootless, "loop-web")
    loops = '"restarting", "drift": true'
    wait_for(lambda: loops in " ".join(agent.cli.run("status", "loop", "--json").stdout.split()))
    assert agent.cli.run("status", "--check").code == 2
    for _ in range(5):  # at any moment of the loop; podman alone fails in two of three cases
        wait_for_another_run(rootless, "loop-web")
        assert agent.cli.run("stop", "loop", timeout=300).code == 0
        state, restarts = run_of(rootless, "loop-web")
        assert state in ("exited", "stopped")
        time.sleep(1)
        assert run_of(rootless, "loop-web") == (state, restarts)
        assert agent.cli.run("start", "loop").code == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            'image = "localhost/mcp-nosuch:2.0"',
            ["the image localhost/mcp-nosuch:2.0 is not on this node and cannot be pulled: "],
        ),
        (
            'image = "localhost/mcp-fail:1.0.0"',
            ["ended", "soon after its start", "cannot read the configuration", "runs again"],
        ),
        (
            'image = "localhost/mcp-worker:1.0.0"\nvolumes = ["/no/such/folder:/data"]',
            ["/no/such/folder does not exist on this node"],
        ),
        ('image = "localhost/mcp-worker:1.0.0"\nports = ["127.0.0.1:{taken}:80"]', ["is in use by another program"]),
        (
            f'image = "{WORKER}"\ncmd = ["sh", "-c", "sleep 1; echo that was all"]\nrestart = "always"',
            ["soon after its start", "that was all", "runs again"],
        ),
        ('image = "localhost/mcp-arch:1.0.0"', ["is for s390x, this node is"]),
        (
            'image = "localhost/mcp-worker:1.0.0"\nhealth = {cmd = ["false"], interval = "1s", retries = 3}',
            ["did not become healthy within 3 s: its check printed nothing", "runs again"],
        ),
        ('image = "localhost/mcp-worker:1.0.0"\ncmd = ["/no/such/program"]', ["no such file", "runs again"]),
    ],
    ids=[
        "image missing",
        "ends at once",
        "volume missing",
        "port taken",
        "ends after 1 s",
        "wrong architecture",
        "never healthy",
        "program missing",
    ],
)
def test_a_deploy_that_fails_leaves_the_old_version_serving(
    agent: Agent, rootless: Private, change: str, words: list[str], taken_port: int, foreign_image: str
) -> None:
    assert foreign_image == "localhost/mcp-arch:1.0.0"
    agent.define("site", TWO)
    assert agent.cli.run("deploy", "-q", "site").code == 0
    port = int(variables(rootless, "site-web")["PORT"])
    agent.define("site", TWO.replace(f'image = "{WEB}"', change.replace("{taken}", str(taken_port))))
    done = agent.cli.run("deploy", "-q", "site/web")
    assert done.code == 1
    assert done.errors[0].startswith("mcp: site/web: ")
    assert [word for word in words if word not in done.stderr] == [], done.stderr
    assert fetch(port) == "mcp test image 1.0.0\n"
    assert ps(agent) == {"site/web": "running", "site/worker": "running"}
    assert containers(rootless) == {"site-web", "site-worker"}


@pytest.fixture
def foreign_image(rootless: Private) -> str:
    """An image for another processor."""
    made = images.Image("arch", architecture="s390x")
    return images.build_all(rootless, [made])["arch"]


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A host port that somebody else has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_a_first_deploy_that_fails_leaves_nothing(agent: Agent, rootless: Private) -> None:
    agent.define("solo", one("job", 'restart = "no"', image="localhost/mcp-fail:1.0.0"))
    done = agent.cli.run("deploy", "-q", "solo")
    assert done.code == 1
    assert done.errors[0] == "mcp: solo/job: the new container ended with exit code 3 soon after its start"
    assert "    stderr | fail: cannot read the configuration" in done.errors
    assert containers(rootless) == set()
    assert ps(agent) == {}


@pytest.mark.parametrize("restart", ["no", "on-failure:2"])
def test_a_job_that_ended_with_exit_code_0_is_done(agent: Agent, rootless: Private, restart: str) -> None:
    agent.define("solo", one("job", f'restart = "{restart}"', image="localhost/mcp-brief:1.0.0"))
    done = agent.cli.run("deploy", "-q", "solo")  # on a busy machine it may outlast the settle time
    assert (done.code, done.stderr.removesuffix("solo/job: ended with exit code 0\n")) == (0, "")
    wait_for(lambda: ps(agent) == {"solo/job": "completed"})
    assert agent.cli.run("plan").stdout == "nothing to do: nodes match the definitions\n"
    before = started(rootless, "solo-job")
    assert agent.cli.run("sync").code == 0
    assert started(rootless, "solo-job") == before
    assert agent.cli.run("start", "solo").code == 0
    assert started(rootless, "solo-job") != before
    wait_for(lambda: ps(agent) == {"solo/job": "completed"})


def test_one_bad_component_does_not_stop_the_others(agent: Agent) -> None:
    bad = '[[components]]\nname = "bad"\nimage = "localhost/mcp-fail:1.0.0"\n'
    agent.define("site", TWO + bad)
    done = agent.cli.run("deploy", "-q", "site")
    assert done.code == 1
    assert done.errors[0].startswith("mcp: site/bad: ")
    assert len(done.stdout.splitlines()) == 2
    assert ps(agent) == {"site/web": "running", "site/worker": "running"}


def test_an_explicit_mapping_is_not_overridden_by_a_route(agent: Agent, rootless: Private) -> None:
    agent.define(
        "solo",
        one("web", 'ports = ["127.0.0.1:0:8080"]\n', WEB).replace(":0:", f":{free_port()}:")
        + "[[components.routes]]\nport = 443\n",
    )
    assert agent.cli.run("deploy", "-q", "solo").code == 0
    assert variables(rootless, "solo-web")["PORT"] == "8080"
    published = re.findall(r"8080/tcp -> 127\.0\.0\.1:(\d+)", rootless.run(["podman", "port", "solo-web"]).stdout)
    assert len(published) == 2
    assert {fetch(int(port)) for port in published} == {"mcp test image 1.0.0\n"}


def test_logs_keep_streams_apart_and_name_components(agent: Agent) -> None:
    agent.define("site", TWO)
    assert agent.cli.run("deploy", "-q", "site").code == 0
    wait_for(lambda: "web: warning 5" in agent.cli.run("logs", "site").stderr)
    done = agent.cli.run("logs", "site")
    assert done.code == 0
    assert re.search(r"^web    \| web: tick 1$", done.stdout, re.M)
    assert re.search(r"^worker \| worker: line 1$", done.stdout, re.M)
    assert "warning" not in done.stdout
    assert re.search(r"^web    \| web: warning 5$", done.stderr, re.M)

    assert agent.cli.run("logs", "site/worker", "--tail", "1").stdout.startswith("worker: line ")
    stamped = agent.cli.run("logs", "site/worker", "-t", "-n", "1").stdout
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\S* worker: line \d+\n", stamped)
    assert agent.cli.run("logs", "site/worker", "--since", "1h").stdout.startswith("worker: line 1\n")
    assert "worker: line 1\n" not in agent.cli.run("logs", "site/worker", "--since", "1s").stdout
    assert agent.cli.run("logs", "site/worker", "--since", "2020-01-01T00:00:00+02:00").stdout.startswith(
        "worker: line 1\n"
    )


def test_following_ends_with_ctrl_c_and_leaves_nothing_on_the_node(agent: Agent) -> None:
    agent.define("solo", one("job"))
    assert agent.cli.run("deploy", "-q", "solo").code == 0
    follower = agent.cli.popen("logs", "solo", "--follow", "--tail", "0")
    assert follower.stdout is not None
    lines = [follower.stdout.readline() for _ in range(2)]
    assert all(line.startswith("worker: line ") for line in lines)
    assert open_logs(agent)
    follower.send_signal(signal.SIGINT)
    assert follower.wait(60) == 130
    assert follower.stderr is not None
    assert follower.stderr.read() == "--- solo/job: attached to solo-job, 1.0.0 ---\n"
    wait_for(lambda: not open_logs(agent))


def open_logs(agent: Agent) -> list[str]:
    """The log files of containers that the agent has open."""
    found = []
    for file in Path(f"/proc/{agent.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.append(str(file.readlink()))
    return [file for file in found if "/ctr.log" in file]


def test_containers_outlive_the_agent_and_are_found_again(rootless: Private, agent: Agent) -> None:
    agent.define("site", TWO)
    assert agent.cli.run("deploy", "-q", "site").code == 0
    port = int(variables(rootless, "site-web")["PORT"])
    agent.kill()
    assert fetch(port) == "mcp test image 1.0.0\n"
    with start_agent(rootless, agent.home.cwd) as again:
        assert ps(again) == {"site/web": "running", "site/worker": "running"}
        assert again.token == agent.token
        rootless.run(["podman", "rm", "--force", "--time", "0", "site-worker"])
        assert ps(again)["site/worker"] == "removed"
        assert again.cli.run("start", "site/worker").code == 0
        assert ps(again)["site/worker"] == "running"


def test_no_secret_in_any_process_list_log_or_open_file(agent: Agent, rootless: Private) -> None:
    agent.define("site", TWO)
    deploying = agent.cli.popen("deploy", "-q", "site")
    secrets = (b"hunter2-in-no-argv", agent.token.encode())
    while deploying.poll() is None:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes()
            except OSError:
                continue
            assert not any(secret in words for secret in secrets), words
    assert deploying.returncode == 0
    assert "hunter2" not in agent.log()
    assert agent.token not in agent.log()
    for path in agent.home.cwd.rglob("*"):
        if path.is_file() and not path.is_symlink() and any(secret in path.read_bytes() for secret in secrets):
            inside = [parent for parent in path.parents if parent.is_relative_to(agent.home.folder)]
            # the definition is the operator's own file; whatever MCP wrote is 0600 in a folder of its owner alone
            assert path.suffix == ".toml" or path.stat().st_mode & 0o077 == 0, path
            assert all(parent.stat().st_mode & 0o077 == 0 for parent in inside), path


def test_a_proxy_of_the_agents_is_in_no_container_that_does_not_ask_for_it(rootless: Private) -> None:
    proxy = "http://mcp:hunter2@proxy.example.net:3128"
    proxied = replace(rootless, env={**rootless.env, "HTTPS_PROXY": proxy, "no_proxy": "example.net"})
    asking = f'[[components]]\nname = "asks"\nimage = "{WORKER}"\nhttp_proxy = true'
    with folder_of(rootless) as folder, start_agent(proxied, folder) as agent:
        agent.define("solo", one("plain", asking))
        assert agent.cli.run("deploy", "-q", "solo").code == 0
        for _ in range(2):
            assert "hunter2" not in json.dumps(inspect(rootless, "solo-plain"))
            assert {"HTTPS_PROXY", "no_proxy"}.isdisjoint(variables(rootless, "solo-plain"))
            asked = variables(rootless, "solo-asks")
            assert (asked["HTTPS_PROXY"], asked["no_proxy"]) == (proxy, "example.net")
            assert agent.cli.run("restart", "solo").code == 0


def test_components_of_a_network_reach_each_other_by_the_names_of_their_containers(
    agent: Agent, rootless: Private
) -> None:
    network = 'network = "solonet"\n'
    agent.define("solo", one("web", network + f'[[components]]\nname = "db"\nimage = "{WEB}"\n{network}'))
    for force in ([], ["--force"]):
        assert agent.cli.run("deploy", "-q", *force, "solo").code == 0
        fetched = rootless.run(["podman", "exec", "solo-web", "busybox", "wget", "-qO-", "http://solo-db:8080/"])
        assert fetched.stdout == "mcp test image 1.0.0\n"


def test_plan_and_deploy_find_the_same_image(agent: Agent, rootless: Private) -> None:
    def planned_and_done() -> tuple[int, str]:
        return agent.cli.run("plan", "--exit-code", "solo").code, agent.cli.run("deploy", "-q", "solo").stdout

    up_to_date = (0, "solo/web: up to date on dev\n")
    names = ("localhost/team/web:2.0", "docker.io/web:2.0", "registry.example.net:5000/team/web:2.0")
    for name in names:
        rootless.run(["podman", "tag", WEB, name])
        agent.define("solo", one("web", image=name))
        assert planned_and_done() == (2, "solo/web: deployed on dev\n")
        assert planned_and_done() == up_to_date
        rootless.run(["podman", "tag", WORKER, name])
        assert planned_and_done() == (2, "solo/web: deployed on dev\n")
        assert planned_and_done() == up_to_date
    digest = rootless.run(["podman", "image", "inspect", "--format", "{{.Digest}}", WEB]).stdout.strip()
    for name in (f"localhost/mcp-web@{digest}", f"localhost/mcp-web:9.9@{digest}"):
        agent.define("solo", one("web", image=name))
        assert planned_and_done() == (2, "solo/web: deployed on dev\n")
        assert planned_and_done() == up_to_date
        assert inspect(rootless, "solo-web")["ImageDigest"] == digest
    rootless.run(["podman", "untag", WORKER, *names])


def test_a_name_that_begins_another_containers_id_harms_nothing(agent: Agent, rootless: Private) -> None:
    """podman takes a name that no container has for the beginning of an id."""
    agent.define("solo", one("job"))
    assert agent.cli.run("deploy", "-q", "solo").code == 0
    prefix = str(inspect(rootless, "solo-job")["Id"])[:6]
    text = one(prefix, image="localhost/mcp-fail:1.0.0").replace('"solo"', f'"{prefix}"')
    agent.define(prefix, text)
    assert agent.cli.run("deploy", "-q", prefix).code == 1  # and is undone, under a name that has no container then
    assert agent.cli.run("undeploy", prefix).code == 0, "it forgets what never came up"
    assert agent.cli.run("undeploy", prefix).code == 1
    assert containers(rootless) == {"solo-job"}
    assert ps(agent) == {"solo/job": "running"}


def test_a_container_that_mcp_did_not_make_is_not_replaced(agent: Agent, rootless: Private) -> None:
    rootless.run(["podman", "run", "--detach", "--name", "solo-job", WORKER])
    agent.define("solo", one("job"))
    failed(agent.cli.run("deploy", "-q", "solo"), "the container solo-job was not created by MCP", "mcp adopt solo")
    planned = agent.cli.run("plan", "solo")
    assert (planned.code, planned.stdout.split()[:2]) == (0, ["blocked", "solo/job"])
    assert inspect(rootless, "solo-job")["Config"] is not None


def test_an_image_with_a_health_check_is_kept_once_it_is_healthy(agent: Agent, rootless: Private) -> None:
    agent.define("solo", one("job", image="localhost/mcp-health:1.0.0"))
    assert agent.cli.run("deploy", "-q", "solo").code == 0
    agent.define("solo", one("job", 'cmd = ["stubborn"]', image="localhost/mcp-health:1.0.0"))
    done = agent.cli.run("deploy", "-q", "solo")  # the program that makes itself healthy is not started
    assert done.code == 1
    said = "did not become healthy within 3 s: its check printed nothing; the old container runs again"
    assert said in done.errors[0]
    assert containers(rootless) == {"solo-job"}


def test_rollback_on_real_podman(agent: Agent, rootless: Private) -> None:
    agent.define("solo", one("job"))
    assert agent.cli.run("deploy", "-q", "solo").code == 0
    agent.define("solo", one("job", 'env = ["A=b"]'))
    assert agent.cli.run("deploy", "-q", "solo").code == 0
    assert variables(rootless, "solo-job")["A"] == "b"
    assert agent.cli.run("plan", "--exit-code").code == 0
    assert agent.cli.run("rollback", "-q", "solo").code == 0
    assert "A" not in variables(rootless, "solo-job")
    assert agent.cli.run("plan", "--exit-code").code == 2
    assert agent.cli.run("sync").code == 0
    assert variables(rootless, "solo-job")["A"] == "b"
    assert agent.cli.run("plan", "--exit-code").code == 0


def test_a_network_whose_name_begins_anothers_id_is_refused(agent: Agent, rootless: Private) -> None:
    rootless.run(["podman", "network", "create", "first"])
    (first,) = json.loads(rootless.run(["podman", "network", "inspect", "first"]).stdout)
    agent.define("solo", one("job", f'network = "{first["id"][:8]}"'))
    failed(agent.cli.run("deploy", "-q", "solo"), "for the prefix of another network's id; choose another name")
    assert containers(rootless) == set()


SLOW = """trap 'sleep 4; echo saved; exit 0' TERM; echo up; while :; do sleep 100 & wait $!; done"""


def slow(stop_timeout: str) -> str:
    """A service whose container takes 4 s to end after SIGTERM."""
    return f'''
name = "slow"
node = "dev"
[[components]]
name = "slow"
image = "{WORKER}"
cmd = ["sh", "-c", """{SLOW}"""]
stop_timeout = "{stop_timeout}"
'''


def test_a_container_has_its_own_time_to_end(agent: Agent, rootless: Private) -> None:
    """It gets it in each way of being stopped, and it is said where it was too short."""
    show = ["podman", "inspect", "--format", "{{.State.ExitCode}}", "slow"]
    agent.define("slow", slow("10s"))
    assert agent.cli.run("deploy", "-q", "slow").code == 0
    done = agent.cli.run("stop", "-q", "slow")
    assert (done.code, done.stdout, done.stderr) == (0, "slow/slow: stopped on dev\n", "")
    assert rootless.run(show).stdout == "0\n"
    assert agent.cli.run("start", "slow").code == 0
    agent.define("slow", slow("1s"))
    assert agent.cli.run("deploy", "-q", "slow").stderr == "", "the old one had its 10 s"
    done = agent.cli.run("stop", "-q", "slow")
    note = "slow/slow: had to be killed: still running 1 s after SIGTERM; raise stop_timeout in its definition\n"
    assert (done.code, done.stdout, done.stderr) == (0, "slow/slow: stopped on dev\n", note)
    assert rootless.run(show).stdout == "137\n"
    assert agent.cli.run("start", "slow").code == 0
    done = agent.cli.run("undeploy", "-q", "slow")
    assert (done.code, done.stdout, done.stderr) == (0, "slow/slow: undeployed on dev\n", note)


def checked(script: str, more: str) -> str:
    """A service with a health check that is a shell's command line."""
    return f'''
name = "checked"
node = "dev"
[[components]]
name = "checked"
image = "localhost/mcp-worker:1.0.0"
restart = "no"
[components.health]
cmd = ["sh", "-c", """{script}"""]
{more}
'''


def processes(podman: Private) -> list[str]:
    """The commands that run in the container."""
    return podman.run(["podman", "top", "checked", "args"]).stdout.splitlines()[1:]


HANGS_ONCE = "test ! -e /tmp/again || exit 0; touch /tmp/again; echo hanging; sleep 1000; true"


def test_a_check_that_hangs_once_is_ended_at_its_timeout_and_tried_again(agent: Agent, rootless: Private) -> None:
    agent.define("checked", checked(HANGS_ONCE, 'timeout = "2s"\ninterval = "1s"\nretries = 2'))
    assert agent.cli.run("deploy", "-q", "checked").code == 0
    assert not [each for each in processes(rootless) if "1000" in each], "what the check left is ended as well"


def test_a_check_may_take_its_whole_timeout(agent: Agent) -> None:
    """Longer than all its intervals."""
    agent.define("checked", checked("sleep 5", 'timeout = "60s"\ninterval = "1s"\nretries = 1'))
    assert agent.cli.run("deploy", "-q", "checked").code == 0


def test_the_error_of_a_check_that_fails_says_what_it_printed(agent: Agent, rootless: Private) -> None:
    agent.define("checked", checked("echo no such table; echo really >&2; exit 7", 'interval = "1s"\nretries = 2'))
    done = agent.cli.run("deploy", "-q", "checked")
    assert done.code == 1
    assert "did not become healthy within 2 s: its check printed no such table | really" in done.errors[0]
    agent.define("checked", checked("echo hanging; sleep 1000; true", 'timeout = "1s"\ninterval = "1s"\nretries = 1'))
    done = agent.cli.run("deploy", "-q", "checked")
    assert done.code == 1
    assert re.search(r"within [23] s: its check did not end within 1 s and printed hanging", done.errors[0])
    assert containers(rootless) == set()
