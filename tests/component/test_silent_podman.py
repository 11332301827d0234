"""A podman that is silent for a while in the middle of a deploy, and then answers again."""

import json
import sqlite3
from pathlib import Path

import pytest

from tests.component.conftest import Rig
from tests.component.definitions import component, service
from tests.component.fakes import WEB, WEB2
from tests.waiting import wait_for

PATIENCE = "2s"  # of the agent for a query; four times as much for the start of a container
NETWORK = 'network = "mcpnet"\n'
# the command after which podman is silent, in the order in which a deploy runs them
MOMENTS = ["network", "create", "stop", "rename", "run", "healthcheck"]
CHECK = '[components.health]\ncmd = ["true"]\ninterval = "500ms"\nretries = 3\n'


@pytest.fixture
def impatient(rig: Rig) -> Rig:
    """An agent that does not wait long for podman, with a service that runs."""
    rig.agent.stop()
    rig.agent.home.write_config(settle="50ms", runtime_timeout=PATIENCE, more='[monitor]\ninterval = "1s"\n')
    rig.restart()
    rig.agent.define("web", service("web", component("api", WEB)))
    wait_for(lambda: rig.agent.cli.run("deploy", "-q", "web").code == 0)
    return rig


def is_whole(rig: Rig, *images: str) -> bool:
    """Tell if web runs one of these images, as the registry says, and nothing is left to do or left over."""
    (row,) = json.loads(rig.agent.cli.run("status", "--json", "web").stdout)["components"]
    found = {name: each["image"] for name, each in rig.fake.containers().items()}
    return (
        rig.fake.running() == found == {"web-api": row["registered_image"]}
        and found["web-api"] in images
        and row["pending"] is None
    )


def left_in(folder: Path) -> list[str]:
    """The transactions and operations in the registry."""
    with sqlite3.connect(f"file:{folder}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT service FROM transactions UNION SELECT service FROM operations").fetchall()
    database.close()
    return [str(row[0]) for row in rows]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_silence_that_is_longer_than_the_agents_patience(impatient: Rig, moment: str, when: str) -> None:
    """The deploy is completed or undone; `when`: podman answers nothing, or does not say what it has done."""
    fake, agent = impatient.fake, impatient.agent
    fake.misbehave("hold", [], when=when, after=[moment])
    agent.define("web", service("web", component("api", WEB2, NETWORK + CHECK)))
    with agent.cli.popen("deploy", "-q", "web") as deploy:
        wait_for(lambda: "did not end within" in agent.log() or deploy.poll() is not None, 120)
        fake.behave()
        deploy.communicate(timeout=120)
    wait_for(lambda: is_whole(impatient, WEB2 if deploy.returncode == 0 else WEB), 120)
    wait_for(lambda: left_in(agent.home.database) == [])
    assert set(fake.state["networks"]) <= {"mcpnet"}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_silence_that_is_shorter(rig: Rig, moment: str) -> None:
    """The deploy goes on when podman does."""
    rig.agent.define("web", service("web", component("api", WEB)))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    rig.fake.misbehave("hold", [], after=[moment])
    rig.agent.define("web", service("web", component("api", WEB2, NETWORK + CHECK)))
    with rig.agent.cli.popen("deploy", "-q", "web") as deploy:
        rig.fake.wait_holding()
        rig.fake.behave()
        deploy.communicate(timeout=120)
    assert deploy.returncode == 0
    assert is_whole(rig, WEB2)
