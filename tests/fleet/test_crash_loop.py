"""Containers that fail and are started again all the time, on podman 4 and 5: told with their codes, and stopped."""

import time

import pytest

from tests.fleet.install import Installed, install
from tests.signals import touch
from tests.waiting import wait_for
from tools.nodelib.fleet import Fleet

# The first run outlives the deploy, and ends when it is told to; the others fail with 3, 4, 5, …
SCRIPT = """
n=$(cat /tmp/n 2>/dev/null || echo 2)
echo $((n+1)) > /tmp/n
while [ $n = 2 ] && [ ! -e /tmp/fail ]; do sleep 0.1; done
exit $n
"""
LOOP = f'''
[[components]]
name = "web"
image = "localhost/mcp-worker:1.0.0"
cmd = ["sh", "-c", """{SCRIPT}"""]
restart = "always"
'''


@pytest.fixture(scope="module", params=["twelve", "thirteen"])
def site(request: pytest.FixtureRequest, nodes: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A node with an agent and a service that is about to fail."""
    made = install(nodes[str(request.param)], tmp_path_factory.mktemp("operator"))
    made.systemctl("start", "mcp-agent.service")
    made.define("loop", LOOP)
    made.mcp("deploy", "loop")
    return made


def run_of(site: Installed) -> tuple[str, str]:
    """The state of the container, and how often it was started again."""
    argv = ["podman", "inspect", "--format", "{{.State.Status}} {{.RestartCount}}", "loop-web"]
    while (done := site.node.run(argv, user="mcp", check=False)).returncode:  # its process ended while podman looked
        time.sleep(0.05)
    state, restarts = done.stdout.split()
    return state, restarts


def fails_again(site: Installed) -> None:
    """Wait until it has failed once more."""
    before = run_of(site)[1]
    wait_for(lambda: run_of(site)[1] != before, what=lambda: f"{site.log()}\nanother run")


def test_a_follower_is_told_with_which_codes_runs_ended(site: Installed) -> None:
    follower = site.cli.popen("logs", "--follow", "loop")
    try:
        assert follower.stderr is not None
        attached = follower.stderr.readline()
        touch(site.node, "loop-web", "/tmp/fail")
        for _ in range(4):
            fails_again(site)
        time.sleep(1)  # until that is told
        follower.send_signal(2)
        told = [attached, *follower.communicate(timeout=60)[1].splitlines()]
    finally:
        follower.kill()
        follower.wait()
    assert "attached to loop-web" in told[0]
    codes = [int(line.rpartition("code ")[2].split()[0]) for line in told if "with code" in line]
    assert codes == sorted(set(codes)), told  # none twice; a run may be over before podman has told of it
    assert len(codes) + sum("exited and restarted" in line for line in told) >= 3, told
    assert codes[0] == 2, told
    assert sum("restarted" in line for line in told) >= len(codes) - 1, told


def test_it_is_stopped_at_whatever_moment(site: Installed) -> None:
    for _ in range(3):
        fails_again(site)
        site.mcp("stop", "loop")
        stopped = run_of(site)
        assert stopped[0] in ("exited", "stopped")
        time.sleep(1)
        assert run_of(site) == stopped
        site.mcp("start", "loop")


def test_it_is_replaced(site: Installed) -> None:
    fails_again(site)
    site.define("loop", LOOP.replace("exit $n", "exec sleep 100000"))
    site.mcp("deploy", "loop")
    assert site.states() == {"loop/web": "running"}
    assert site.node.run(["podman", "ps", "-a", "--format", "{{.Names}}"], user="mcp").stdout.split() == ["loop-web"]
