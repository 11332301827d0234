"""Mounts on real rootless podman: no container gets what is the agent's or podman's own, whatever leads there."""

import json
from pathlib import Path

from agent.podman.output import parse_places
from tests.agents import Agent, Outcome
from tests.podman.test_service import containers
from tools.hostlib.private import Private


def deploy(agent: Agent, image: str, *volumes: str) -> Outcome:
    """Deploy the service web with these volumes."""
    head = 'name = "web"\nnode = "dev"\n[[components]]\nname = "web"\n'
    agent.define("web", f'{head}image = "{image}"\nvolumes = {json.dumps(volumes)}\n')
    return agent.cli.run("deploy", "-q", "web", timeout=120)


def test_no_mount_leads_to_the_agent_or_to_podman(
    agent: Agent, rootless: Private, image_references: dict[str, str]
) -> None:
    image, state = image_references["worker"], agent.home.folder
    folder = agent.home.srv / "web"
    rootless.run(["mkdir", "-p", str(folder / "data")])
    links = {"up": "../..", "key": str(state / "key.pem"), "root": "/proc/self/root", "bus": str(rootless.runtime)}
    for name, target in links.items():
        rootless.run(["ln", "-s", target, str(folder / name)])
    places = parse_places(rootless.run(["podman", "info", "--format=json"]).stdout.encode())
    assert len(places) == 3
    sources = [state, state / "key.pem", state.parent, rootless.runtime, *places, Path("/proc"), Path("/")]
    for source in [*sources, *(folder / name for name in links)]:
        done = deploy(agent, image, f"{source}:/m:ro")
        assert (done.code, done.stdout, len(done.errors)) == (1, "", 1), done
        assert f"web/web: the mount {source} " in done.stderr
    assert containers(rootless) == set()


def test_a_link_in_the_place_of_a_mount_is_not_followed_by_the_agent(
    agent: Agent, rootless: Private, image_references: dict[str, str]
) -> None:
    """A container puts it there, into a folder that it may write; podman alone would follow it."""
    data = agent.home.srv / "web" / "data"
    assert deploy(agent, image_references["worker"], f"{data.parent}:/w", f"{data}:/d").code == 0
    rootless.run(["podman", "exec", "web", "sh", "-c", f"mv /w/data /w/before && ln -s {agent.home.folder} /w/data"])
    for words in ("restart", "stop", "start"):
        done = agent.cli.run(words, "-q", "web", timeout=60)
        assert (done.code, f"the mount {data} is {agent.home.folder}" in done.stderr) == (
            (0, False) if words == "stop" else (1, True)
        ), done
    listing = rootless.run(["podman", "start", "web"])
    assert listing.returncode == 0
    assert "key.pem" in rootless.run(["podman", "exec", "web", "ls", "/d"]).stdout, "SECURITY.md says what remains"
