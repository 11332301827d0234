"""Containers with a published port that fail: podman 5 with pasta leaves them down, so the agent starts them."""

import json
import urllib.request

import pytest

from tests.fleet.install import Installed, install
from tests.waiting import wait_for
from tools.nodelib.fleet import Fleet

# Its first run fails when it is told to; the next one does not.
SCRIPT = "mkdir -p /tmp/www; echo up >/tmp/www/index.html; httpd -p 8080 -h /tmp/www; " + (
    "while [ ! -e /told/fail ]; do sleep 0.1; done; rm /told/fail; exit 7"
)
WEB = f'''
[[components]]
name = "web"
image = "localhost/mcp-worker:1.0.0"
cmd = ["sh", "-c", """{SCRIPT}"""]
ports = ["18080:8080"]
volumes = ["/srv/NAME/told:/told"]
restart = "RESTART"
stop_timeout = "1s"
'''
HANGS = """
[components.health]
cmd = ["sh", "-c", "test ! -e /told/hang || sleep 1000; true"]
interval = "1s"
timeout = "1s"
retries = 2
"""


@pytest.fixture(scope="module", params=["twelve", "thirteen"])
def site(request: pytest.FixtureRequest, nodes: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A node with an agent whose monitor looks every 2 s."""
    node = nodes[str(request.param)]
    made = install(node, tmp_path_factory.mktemp("operator"), more='[monitor]\ninterval = "2s"\nflap_threshold = 5\n')
    made.systemctl("start", "mcp-agent.service")
    return made


def deploy(site: Installed, name: str, text: str) -> None:
    site.define(name, text.replace("NAME", name))
    site.mcp("deploy", "-q", name)


def answers(site: Installed) -> bool:
    """Whether the published port leads to a container that serves."""
    try:
        with urllib.request.urlopen(f"http://{site.node.address}:18080/", timeout=5) as response:
            return bool(response.read() == b"up\n")
    except OSError:
        return False


def judged(site: Installed, name: str) -> tuple[bool, int]:
    """Whether the only component of a service drifts, and how often it was restarted."""
    (row,) = json.loads(site.mcp("status", name, "--json").stdout)["components"]
    return row["drift"], row["restarts"]


def details(site: Installed, name: str) -> list[str]:
    return [json.loads(line)["detail"] for line in site.mcp("events", name, "--json").stdout.splitlines()]


@pytest.mark.parametrize("restart", ["unless-stopped", "always", "on-failure"])
def test_one_that_failed_once_serves_again(site: Installed, restart: str) -> None:
    deploy(site, "crash", WEB.replace("RESTART", restart))
    wait_for(lambda: answers(site) and details(site, "crash"))  # the monitor has seen it: it reports what comes then
    # not by `podman exec`, which fails in podman 5.4 if the container ends before it has read the command's exit code
    site.node.run(["touch", "/srv/crash/told/fail"], user="mcp")
    wait_for(
        lambda: any("exit code 7" in each or "restarted" in each for each in details(site, "crash")), what=site.log
    )
    wait_for(lambda: answers(site), what=site.log)
    assert site.states() == {"crash/web": "running"}
    crash_loop = site.node.name == "twelve"  # for a minute after podman's own restart
    wait_for(lambda: judged(site, "crash") == (crash_loop, 1))
    if site.node.name == "thirteen":
        wait_for(lambda: "started by the agent after exit code 7 (attempt 1)" in details(site, "crash"))
    site.mcp("undeploy", "crash")


def test_one_whose_check_hangs_is_restarted(site: Installed) -> None:
    """podman's own timer waits for such a check for ever, and goes on calling the container healthy."""
    deploy(site, "hang", WEB.replace("RESTART", "always").replace("18080", "18081") + HANGS)
    site.node.run(["touch", "/srv/hang/told/hang"], user="mcp")
    wait_for(
        lambda: any("restarted by the agent after it was unhealthy" in each for each in details(site, "hang")), 120
    )
    wait_for(lambda: site.states() == {"hang/web": "running"}, what=site.log)  # again and again
    site.mcp("undeploy", "hang")
