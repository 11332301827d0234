"""What is shown is what runs, on real podman: containers made by hand, and images with several names."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.agents import Agent
from tools.hostlib.private import Private

ONE, TWO, WORKER = "localhost/mcp-web:1.0.0", "localhost/mcp-web:2.0.0", "localhost/mcp-worker:1.0.0"


@pytest.fixture(autouse=True)
def second_version(rootless: Private) -> Iterator[None]:
    """Another image with the name of a second version."""
    rootless.run(["podman", "tag", WORKER, TWO])
    yield
    rootless.run(["podman", "untag", WORKER, TWO])


def rows(agent: Agent, *command: str) -> dict[str, dict[str, Any]]:
    """The components that a command prints, by name."""
    answer = json.loads(agent.cli.run(*command, "--json").stdout)
    components = answer["components"] if isinstance(answer, dict) else answer
    return {row["component"]: row for row in components}


def define(agent: Agent, image: str) -> None:
    agent.define("hand", f'name = "hand"\nnode = "dev"\n[[components]]\nname = "web"\nimage = "{image}"\n')


def test_another_version_run_by_hand_is_shown_and_is_drift(agent: Agent, rootless: Private) -> None:
    define(agent, ONE)
    assert agent.cli.run("deploy", "-q", "hand").code == 0
    assert (rows(agent, "ps")["web"]["version"], rows(agent, "ps")["web"]["differences"]) == ("1.0.0", [])
    rootless.run(["podman", "rm", "--force", "--time=0", "hand-web"])
    rootless.run(["podman", "run", "--detach", "--name=hand-web", TWO])
    different = ["its container was not created by MCP", "runs mcp-web:2.0.0, registered 1.0.0"]
    for command in ("ps", "status"):
        row = rows(agent, command)["web"]
        assert (row["version"], row["image"], row["registered_image"]) == ("2.0.0", TWO, ONE)
        assert row["differences"] == different
    assert rows(agent, "status")["web"]["drift"] is True
    (change,) = json.loads(agent.cli.run("plan", "--json").stdout)
    assert (change["action"], change["reasons"]) == ("replace", different)
    assert agent.cli.run("deploy", "-q", "hand").code == 0
    assert (rows(agent, "ps")["web"]["version"], rows(agent, "ps")["web"]["differences"]) == ("1.0.0", [])
    assert agent.cli.run("undeploy", "-q", "hand").code == 0


def test_other_names_of_an_image_are_no_drift(agent: Agent, rootless: Private) -> None:
    """The container keeps the name that it was created with, whatever becomes of the image's names."""
    for name in ("localhost/aaa:9", "localhost/mcp-web:9", "localhost/zzz:9"):
        rootless.run(["podman", "tag", ONE, name])
    (digest,) = rootless.run(["podman", "image", "inspect", "--format={{.Digest}}", ONE]).stdout.split()
    for image in ("localhost/mcp-web:9", f"localhost/mcp-web@{digest}"):
        define(agent, image)
        assert agent.cli.run("deploy", "-q", "hand").code == 0
        assert rows(agent, "ps")["web"]["differences"] == []
        assert rows(agent, "status")["web"]["drift"] is False
        assert "nothing to do" in agent.cli.run("plan", "hand").stdout
    define(agent, "localhost/mcp-web:9")
    assert agent.cli.run("deploy", "-q", "hand").code == 0
    rootless.run(["podman", "tag", TWO, "localhost/mcp-web:9"])  # as a pull does
    assert rows(agent, "ps")["web"]["differences"] == []
    assert "refers to another image now" in agent.cli.run("plan", "hand").stdout
    rootless.run(["podman", "untag", TWO, "localhost/mcp-web:9"])
    assert rows(agent, "ps")["web"]["differences"] == []
    assert agent.cli.run("undeploy", "-q", "hand").code == 0
    rootless.run(["podman", "untag", ONE, "localhost/aaa:9", "localhost/zzz:9"])
