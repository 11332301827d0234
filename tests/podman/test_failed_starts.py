"""podman fails before, in or after a start; a labelled stand-in in front of real podman does that."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents import Agent
from tests.podman.stand_in import StandIn
from tests.stage import folder_of, start_agent
from tests.waiting import wait_for
from tools import images
from tools.hostlib.private import Private

IMAGE = images.Image("worker", "1.0.0-data", volumes=("/data",))
DEFINITION = f'name = "db"\nnode = "dev"\n[[components]]\nname = "db"\nimage = "{IMAGE.reference}"\n'


@pytest.fixture
def podman(rootless: Private) -> Private:
    """The run's podman, with an image that asks for a volume."""
    images.build_all(rootless, [IMAGE])
    return rootless


@pytest.fixture
def folder(podman: Private) -> Iterator[Path]:
    """A folder for an agent."""
    with folder_of(podman) as made:
        yield made


@pytest.fixture
def stand_in(podman: Private, folder: Path) -> StandIn:
    """A stand-in that calls podman."""
    return StandIn.make(podman, folder / "stand-in")


@pytest.fixture
def agent(stand_in: StandIn, folder: Path) -> Iterator[Agent]:
    """An agent that calls the stand-in, and has deployed the service."""
    with start_agent(stand_in.podman, folder) as running:
        running.define("db", DEFINITION)
        done = running.cli.run("deploy", "-q", "db")
        assert done.code == 0, done.stderr
        yield running


def states(podman: Private) -> dict[str, str]:
    """The state of each container by name, also of one that only the storage knows."""
    listed = podman.run(["podman", "ps", "--all", "--external", "--format=json"]).stdout
    return {row["Names"][0]: row["State"] for row in json.loads(listed)}


def volumes(podman: Private) -> list[str]:
    return podman.run(["podman", "volume", "ls", "--quiet"]).stdout.split()


def mounted(podman: Private) -> list[str]:
    form = "{{range .Mounts}}{{.Name}} {{end}}"
    return podman.run(["podman", "inspect", "--format", form, "db"]).stdout.split()


def is_settled(agent: Agent, podman: Private) -> bool:
    """The service runs, nothing is pending, and nothing is left over."""
    (row,) = json.loads(agent.cli.run("status", "--json").stdout)["components"]
    return row["observed"] == "running" and not row["pending"] and states(podman) == {"db": "running"}


RUN, REMOVE = (["run"], "created"), (["rm"], "before")


@pytest.mark.parametrize("orders", [[RUN], [RUN, RUN]])
def test_a_container_that_was_created_blocks_no_later_attempt(
    agent: Agent, podman: Private, stand_in: StandIn, orders: list[tuple[list[str], str]]
) -> None:
    before = volumes(podman)
    assert mounted(podman) == before != []
    pid = podman.run(["podman", "inspect", "--format={{.State.ConmonPid}}", "db"]).stdout
    stand_in.fail(*orders)
    podman.run(["kill", "-9", pid.strip()])  # the container is lost, and replaced
    wait_for(lambda: stand_in.left == 0, 180)
    wait_for(lambda: is_settled(agent, podman), 180, lambda: agent.cli.run("status").stdout + str(states(podman)))
    assert mounted(podman) == volumes(podman) == before, "it has its data again, and nothing is left"


@pytest.mark.parametrize("orders", [[RUN], [RUN, REMOVE], [RUN, (["ps"], "before"), (["ps"], "before")]])
def test_a_deploy_whose_run_fails_leaves_nothing(
    agent: Agent, podman: Private, stand_in: StandIn, orders: list[tuple[list[str], str]]
) -> None:
    before = volumes(podman)
    agent.define("db", DEFINITION + 'env = ["A=1"]\n')
    stand_in.fail(*orders)
    done = agent.cli.run("deploy", "-q", "db")
    assert done.code == 1, done
    stand_in.behave()
    wait_for(lambda: is_settled(agent, podman), 180, lambda: agent.cli.run("status").stdout + str(states(podman)))
    assert mounted(podman) == volumes(podman) == before
    done = agent.cli.run("deploy", "-q", "db")
    assert (done.code, states(podman), mounted(podman)) == (0, {"db": "running"}, before), done.stderr


@pytest.mark.parametrize("command", ["run", "start"])
def test_what_fails_after_it_has_started_the_container_is_no_failure(
    agent: Agent, podman: Private, stand_in: StandIn, command: str
) -> None:
    agent.define("db", DEFINITION + 'env = ["A=1"]\n')
    stand_in.fail(([command], "after"))
    done = agent.cli.run(*(["deploy", "-q", "db"] if command == "run" else ["restart", "db"]))
    assert (done.code, stand_in.left) == (0, 0), done.stderr
    assert is_settled(agent, podman)
