"""What comes back by itself after a reboot, in which order; and what `recover` makes again where podman lost it all."""

import json
import shutil
import time

import pytest

from tests.fleet.install import Installed, install
from tests.nodes import load_images
from tests.waiting import wait_for
from tools.nodelib.fleet import Fleet
from tools.nodelib.node import Node

ORDER = 'boot_order = [["db"], ["app", "cache"]]\n'
ROUTED = """
[[components]]
name = "{name}"
image = "localhost/mcp-worker:1.0.0"
cmd = ["web"]
[[components.routes]]
name = "main"
port = 443
"""
PLAIN = """
[[components]]
name = "{name}"
image = "localhost/mcp-worker:1.0.0"
"""
SERVICES = {"other": PLAIN, "cache": PLAIN, "app": ROUTED, "db": ROUTED, "quiet": PLAIN}  # not in the order of the boot
UP = {f"{name}/{name}" for name in SERVICES if name != "quiet"}


def is_up(site: Installed) -> bool:
    """Tell whether all services that are not stopped run, and no others."""
    done = site.cli.run("ps", "--json")
    rows = json.loads(done.stdout or "[]")
    return (
        done.code == 0 and {f"{row['service']}/{row['component']}" for row in rows if row["state"] == "running"} == UP
    )


def wait_up(site: Installed, seconds: float = 120) -> None:
    wait_for(lambda: is_up(site), seconds, lambda: f"{site.cli.run('ps')}\n{site.log()}\nthat all is up")


def started(node: Node) -> dict[str, float]:
    """When each running container was started, in seconds since 1970."""
    form = "{{.Names}} {{.StartedAt}}"
    listed = node.run(["podman", "ps", "--format", form], user="mcp").stdout.splitlines()
    names = [line.split()[0] for line in listed]
    form = "{{.Name}} {{.State.StartedAt.UnixNano}}"
    lines = node.run(["podman", "inspect", "--format", form, *names], user="mcp").stdout.splitlines()
    return {name: int(nanoseconds) / 1e9 for name, nanoseconds in (line.split() for line in lines)}


def published(node: Node) -> dict[str, str]:
    """What podman publishes, of the containers that have ports."""
    form = "{{.Names}} {{.Ports}}"
    lines = node.run(["podman", "ps", "--all", "--format", form], user="mcp").stdout.splitlines()
    return {line.split()[0]: where for line in lines if (where := line.partition(" ")[2])}


@pytest.fixture(scope="module", params=["twelve", "thirteen"])
def installed(request: pytest.FixtureRequest, nodes: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A node with an agent that runs; what runs on it, tests have changed."""
    made = install(nodes[str(request.param)], tmp_path_factory.mktemp("operator"), more=ORDER)
    made.systemctl("start", "mcp-agent.service")
    return made


@pytest.fixture
def site(installed: Installed) -> Installed:
    """A node with services that need each other, one of which is stopped, whatever the test before left of them."""
    if not is_up(installed):
        load_images(installed.node)
        for name, text in SERVICES.items():
            installed.define(name, text.format(name=name))
            installed.mcp("deploy", name)
        installed.mcp("stop", "quiet")
    return installed


@pytest.mark.parametrize("graceful", [True, False])
def test_services_come_back_in_boot_order(site: Installed, graceful: bool) -> None:
    before = published(site.node)
    began = time.time()
    site.node.reboot(graceful=graceful)
    wait_up(site)
    times = started(site.node)
    assert times.keys() == {"db", "app", "cache", "other"}
    assert began < times["db"]
    settle = 0.3  # seconds, tests/fleet/install.py
    assert times["db"] + settle < min(times["app"], times["cache"])
    assert max(times["app"], times["cache"]) + settle < times["other"]
    assert site.states()["quiet/quiet"] not in ("running", "restarting")
    assert published(site.node) == before
    site.node.run(["test", "-w", "/srv"], user="mcp")  # though systemd-tmpfiles sets its mode at each boot


def test_a_second_start_of_the_agent_finds_nothing_to_do(site: Installed) -> None:
    before = started(site.node)
    site.systemctl("restart", "mcp-agent.service")
    assert [row["action"] for row in recover(site, "--dry-run")] == ["none"] * 4
    assert started(site.node) == before


def recover(site: Installed, *arguments: str, code: int = 0) -> list[dict[str, str]]:
    done = site.cli.run("agent", "recover", site.node.name, "--json", *arguments, timeout=120)
    assert done.code == code, f"{done}\n{site.log()}"
    rows: list[dict[str, str]] = json.loads(done.stdout)
    return rows


def reset_podman(node: Node) -> None:
    """Reset mcp's podman; it fails, half done, where a container's cleanup still writes into what it removes."""
    argv = ["podman", "system", "reset", "--force"]
    wait_for(lambda: node.run(argv, user="mcp", check=False, timeout=120).returncode == 0, what="a complete reset")


def test_after_a_reset_of_podman_all_is_made_again(site: Installed) -> None:
    before = published(site.node)
    assert set(before) == {"app", "db"}
    reset_podman(site.node)
    assert site.node.run(["podman", "ps", "--all", "--quiet"], user="mcp").stdout == ""

    without_images = recover(site, code=1)  # there is no registry that has them
    assert {(row["service"], row["action"]) for row in without_images} == {
        (name, "create") for name in SERVICES if name != "quiet"
    }
    assert [row for row in without_images if "localhost/mcp-worker:1.0.0" not in row["error"]] == []

    load_images(site.node)
    made = recover(site)
    assert {(row["service"], row["action"], row["error"]) for row in made} == {
        (name, "create", "") for name in SERVICES if name != "quiet"
    }
    assert published(site.node) == before
    assert set(started(site.node)) == {"db", "app", "cache", "other"}
    times = started(site.node)
    assert times["db"] < min(times["app"], times["cache"])
    assert max(times["app"], times["cache"]) < times["other"]
    site.mcp("start", "quiet")
    site.mcp("stop", "quiet")


def test_after_the_storage_was_lost_with_the_power_all_is_made_again(site: Installed) -> None:
    before = published(site.node)
    site.node.stop()
    storage = site.node.srv / "mcp/.local/share/containers"
    try:
        shutil.rmtree(storage)
    finally:
        site.node.boot()
    assert site.states() == dict.fromkeys([f"{name}/{name}" for name in SERVICES], "removed")
    load_images(site.node)
    recover(site)
    assert published(site.node) == before
    wait_up(site, 5)
