"""deploy/mcp-agent.service on real nodes: from a fresh boot on, and whatever happens to the agent."""

import re
import resource
import signal
import socket
import time
import urllib.request
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import pytest

from mcp.nodes.layout import UID
from mcp.shared.resources import ROOT
from tests.fleet.client import asking
from tests.fleet.install import PORT, UNIT, Installed, install
from tests.waiting import wait_for
from tools.nodelib.fleet import Fleet
from tools.nodelib.node import Node

WEB = """
[[components]]
name = "web"
image = "localhost/mcp-web:1.0.0"
ports = ["8080:8080"]
[[components]]
name = "peer"
image = "localhost/mcp-worker:1.0.0"
network = "sitenet"
ports = ["8081:8080"]
cmd = ["web"]
"""
PORTS = (8080, 8081)  # one of podman's default network, one of a bridge network


def page(node: Node, port: int) -> bytes:
    body: bytes = urllib.request.urlopen(f"http://{node.address}:{port}/", timeout=5).read()
    return body


def answers(node: Node) -> bool:
    try:
        return all(page(node, port).startswith(b"mcp test image") for port in PORTS)
    except OSError:
        return False


def containers(node: Node) -> str:
    """Identity and start of each container: the same text as long as none was touched."""
    form = "{{.ID}} {{.Names}} {{.StartedAt}}"
    return node.run(["podman", "ps", "--no-trunc", "--format", form], user="mcp").stdout


def asked_throughout(node: Node) -> AbstractContextManager[None]:
    """A client keeps requesting every page; each request must be answered."""
    return asking({f"port {port}": partial(page, node, port) for port in PORTS}, least=10)


@pytest.fixture(scope="module", params=["twelve", "thirteen"])
def site(request: pytest.FixtureRequest, nodes: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A node on which, since it booted, only the unit has run podman; a service was deployed there."""
    node = nodes[str(request.param)]
    made = install(node, tmp_path_factory.mktemp("operator"))
    node.reboot()
    made.define("site", WEB)
    made.mcp("deploy", "site")
    return made


def test_after_a_fresh_boot_the_agent_deploys(site: Installed) -> None:
    wait_for(lambda: answers(site.node))
    assert site.states() == {"site/web": "running", "site/peer": "running"}


def test_the_unit_counts_as_started_when_the_agent_serves(site: Installed) -> None:
    site.systemctl("restart", "mcp-agent.service")
    site.mcp("ps")
    assert site.show("ActiveState") == "active"
    assert site.show("Type") == "notify"


def test_containers_live_outside_of_the_unit(site: Installed) -> None:
    form = "{{.ConmonPidFile}}"
    files = site.node.run(["podman", "inspect", "--format", form, "site-web", "site-peer"], user="mcp").stdout.split()
    assert len(files) == 2
    for file in files:
        group = site.node.run(["sh", "-c", 'cat "/proc/$(cat "$1")/cgroup"', "sh", file], user="mcp").stdout
        assert "mcp-agent.service" not in group
        assert re.search(f"/user@{UID}[.]service/.*/libpod-conmon-[0-9a-f]+[.]scope", group)
    tasks = site.node.run(["cat", "/sys/fs/cgroup/system.slice/mcp-agent.service/cgroup.procs"]).stdout.split()
    assert str(site.pid) in tasks


def test_a_restart_of_the_agent_touches_nothing(site: Installed) -> None:
    before, pid = containers(site.node), site.pid
    with asked_throughout(site.node):
        site.systemctl("restart", "mcp-agent.service")
        site.mcp("ps")
    assert site.pid != pid
    assert containers(site.node) == before
    assert before.count("\n") == 2


def test_a_stop_of_the_agent_touches_nothing(site: Installed) -> None:
    before = containers(site.node)
    with asked_throughout(site.node):
        site.systemctl("stop", "mcp-agent.service")
        time.sleep(0.3)
        site.systemctl("start", "mcp-agent.service")
    assert site.show("Result") == "success"
    assert containers(site.node) == before


def test_a_killed_agent_comes_back_and_touches_nothing(site: Installed) -> None:
    before, pid = containers(site.node), site.pid
    with asked_throughout(site.node):
        site.node.run(["kill", "-KILL", str(pid)])
        wait_for(lambda: site.pid not in (0, pid) and site.show("ActiveState") == "active")
        site.mcp("ps")
    assert containers(site.node) == before


def test_an_agent_that_hangs_is_restarted(site: Installed) -> None:
    site.node.run(["mkdir", "-p", f"{UNIT}.d"])
    site.node.write(f"{UNIT}.d/test.conf", "[Service]\nWatchdogSec=6\nTimeoutAbortSec=1\nRestartSec=100ms\n")
    site.systemctl("daemon-reload")
    site.systemctl("reset-failed", "mcp-agent.service")  # the tests before have started it often enough
    site.systemctl("restart", "mcp-agent.service")
    try:
        before, pid = containers(site.node), site.pid
        time.sleep(7)
        assert site.pid == pid  # one that does not hang is left alone
        with asked_throughout(site.node):
            site.node.run(["kill", f"-{signal.SIGSTOP.name}", str(pid)])
            wait_for(lambda: site.pid not in (0, pid) and site.show("ActiveState") == "active")
            site.mcp("ps")
        assert containers(site.node) == before
        assert "atchdog timeout" in site.log()
    finally:
        site.node.run(["rm", "-r", f"{UNIT}.d"])
        site.systemctl("daemon-reload")
        site.systemctl("restart", "mcp-agent.service")


def test_a_flood_of_connections_does_not_disturb_the_operator(site: Installed) -> None:
    """5,000 connections used up the descriptors of the unit's 1,024, and the watchdog ended the agent."""
    before, pid, logged = containers(site.node), site.pid, len(site.log())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 6000), hard))
    try:
        with ExitStack() as held, asking({"port 8080": partial(page, site.node, 8080)}, least=10):
            for _ in range(5000):
                held.enter_context(socket.create_connection((site.node.address, PORT), 60))
            site.mcp("ps")
            site.define("site", WEB.replace("mcp-worker:1.0.0", "mcp-fail:1.0.0").replace('cmd = ["web"]', ""))
            assert site.cli.run("deploy", "site").code == 1
            assert site.states() == {"site/web": "running", "site/peer": "running"}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        site.define("site", WEB)
    wait_for(lambda: answers(site.node))
    assert site.pid == pid
    assert "atchdog timeout" not in site.log()[logged:]
    assert before.split()[0] in containers(site.node)


def test_conmon_is_not_ended_before_the_agent(site: Installed) -> None:
    """When memory is short, the kernel ends the process with the highest score."""
    site.mcp("restart", "site/web")
    form = "{{.State.Pid}} {{.State.ConmonPid}}"
    pids = site.node.run(["podman", "inspect", "--format", form, "site-web"], user="mcp").stdout.split()
    scores = [site.node.run(["cat", f"/proc/{pid}/oom_score_adj"]).stdout.strip() for pid in (site.pid, *pids)]
    assert scores == ["200", "0", "0"]


def test_a_wrong_configuration_is_not_tried_again(site: Installed) -> None:
    right = site.node.run(["cat", "/srv/mcp/mcp-agent.toml"]).stdout
    site.node.write("/srv/mcp/mcp-agent.toml", right + "colour = 1\n", owner="mcp", mode=0o600)
    site.systemctl("reset-failed", "mcp-agent.service")
    try:
        assert site.node.run(["systemctl", "restart", "mcp-agent.service"], check=False).returncode == 1
        wait_for(lambda: site.show("ActiveState") == "failed")
        assert site.show("ExecMainStatus") == "2"
        assert "colour" in site.log()
    finally:
        site.node.write("/srv/mcp/mcp-agent.toml", right, owner="mcp", mode=0o600)
        site.systemctl("reset-failed", "mcp-agent.service")  # systemd counts how often these tests start it
        site.systemctl("start", "mcp-agent.service")
    assert answers(site.node)


def test_podman_from_a_login_sees_the_same_containers(site: Installed) -> None:
    assert {line.split()[1] for line in containers(site.node).splitlines()} == {"site-web", "site-peer"}
    site.node.run(["podman", "exec", "site-web", "touch", "/tmp/by-hand"], user="mcp")


@pytest.mark.parametrize("graceful", [True, False])
def test_after_a_reboot_the_services_are_up_again(site: Installed, graceful: bool) -> None:
    began = time.monotonic()
    site.node.reboot(graceful=graceful)
    assert time.monotonic() - began < 80  # systemd waits 90 s for what does not end
    wait_for(lambda: answers(site.node))
    assert site.states() == {"site/web": "running", "site/peer": "running"}


def test_nothing_in_the_unit_is_unknown_to_systemd(site: Installed) -> None:
    done = site.node.run(["systemd-analyze", "verify", UNIT], check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert not re.search(r"Unknown|Failed to parse", site.log())


def test_the_unit_has_one_placeholder() -> None:
    text = (ROOT / "deploy/mcp-agent.service").read_text()
    assert set(re.findall(r"@[A-Z]+@", text)) == {"@UID@"}
    assert Path("/srv/mcp/mcp-agent") in map(Path, re.findall(r"^ExecStart=.*-I (\S+)", text, re.M))
