"""Operations on a podman that fails again and again, and on an agent that is killed: nothing is down or left over."""

import json
import random
import sqlite3
import subprocess
from collections.abc import Callable

import pytest

from tests.component.conftest import Rig
from tests.component.definitions import component, service
from tests.component.fakes import FAIL, WEB, WEB2
from tests.torture.conftest import Torture
from tests.waiting import wait_for

SERVICES = ("one", "two", "three")
NETWORK = "shop"
HANG = 0.5  # seconds for which podman hangs at times; the agent waits for longer
SETTLED = 180.0  # seconds for attempts that are half a minute apart in the end


@pytest.fixture
def busy(rig: Rig) -> Rig:
    """An agent that looks at its containers each second, with services that run."""
    rig.agent.stop()
    rig.agent.home.write_config(settle="50ms", runtime_timeout="8s", more='[monitor]\ninterval = "1s"\n')
    rig.restart()
    for image in (WEB, WEB2):
        rig.fake.add_image(image, anonymous=["/data"])
    rig.fake.add_image(FAIL, program="fail", anonymous=["/data"])
    for name in SERVICES:
        deploy(rig, name, WEB)
    return rig


def deploy(rig: Rig, name: str, image: str) -> None:
    """Deploy a service of two components; it may fail."""
    define(rig, name, image)
    rig.agent.cli.run("deploy", "-q", name)


def define(rig: Rig, name: str, image: str) -> None:
    """Write the definition of a service of two components, one of them in a network."""
    rig.agent.define(name, service(name, component("api", image, f'network = "{NETWORK}"\n'), component("work", image)))


def operate(rig: Rig, chance: random.Random) -> None:
    """One operation, or two that belong together, on one of the services."""
    name, cli = chance.choice(SERVICES), rig.agent.cli
    match chance.randrange(6):
        case 0 | 1:
            deploy(rig, name, chance.choice([WEB, WEB2]))
        case 2:
            deploy(rig, name, FAIL)
        case 3:
            cli.run("restart", "-q", name)
        case 4:
            cli.run("stop", "-q", name)
            cli.run("start", "-q", name)
        case 5:
            cli.run("undeploy", "-q", name)
            deploy(rig, name, WEB)


def wrong(rig: Rig) -> list[str]:
    """Say what is not as it should be: down though it should run, of another image than registered, or left over."""
    rows = json.loads(rig.agent.cli.run("status", "--json").stdout)["components"]
    containers = rig.fake.containers()
    found = [f"{row['service']}/{row['component']}: {row['pending']}" for row in rows if row["pending"]]
    known = set()
    for row in rows:
        name = f"{row['service']}-{row['component']}"
        known.add(name)
        container = containers.get(name)
        if row["registered_image"] is None:  # undeployed, and its next deploy failed before it came up
            continue
        if row["desired"] == "running" and (container is None or container["state"] != "running"):
            found.append(f"{name} is down")
        if container is not None and container["image"] != row["image"]:
            found.append(f"{name} runs {container['image']}, registered {row['image']}")
    return found + [f"{name} is left over" for name in containers if name not in known] + left_over(rig)


def left_over(rig: Rig) -> list[str]:
    """Say what is left over of networks and volumes; those of replaced containers are for the next ones."""
    state = rig.fake.state
    networks = [f"the network {name} is left over" for name in state["networks"] if name != NETWORK]
    known = {volume for each in state["containers"] for volume in each["mounts"].values()}
    with sqlite3.connect(f"file:{rig.agent.home.database}?mode=ro", uri=True) as database:
        known |= {volume for (volume,) in database.execute("SELECT volume FROM anonymous_volumes")}
    database.close()
    volumes = [f"the volume {name[:12]} is left over" for name in state["volumes"] if name not in known]
    return networks + volumes


def _has_called(rig: Rig, calls: int, command: "subprocess.Popen[str]") -> Callable[[], bool]:
    """A condition: podman was called so many times more, or the command has ended."""
    before = len(rig.fake.commands())
    return lambda: len(rig.fake.commands()) - before >= calls or command.poll() is not None


def settle(rig: Rig) -> None:
    """Wait until everything is as it should be."""
    wait_for(lambda: wrong(rig) == [], SETTLED, lambda: "; ".join(wrong(rig)))


def test_a_podman_that_fails_in_a_fifth_of_its_calls(busy: Rig, torture: Torture) -> None:
    count, chance = torture.count(200, ci=8), random.Random(11)
    busy.fake.be_flaky(20, 11, HANG)
    for _ in range(count):
        operate(busy, chance)
    left = wrong(busy)
    busy.fake.behave()
    settle(busy)
    torture.figure("operations with a fifth of podman's calls failing", str(count))
    torture.figure("components and containers to be put right after them", str(len(left)))
    torture.figure("of these, once podman works again", "0")


def test_an_agent_that_is_killed_at_any_moment(busy: Rig, torture: Torture) -> None:
    count, chance = torture.count(200, ci=8), random.Random(12)
    for number in range(count):
        name, image = chance.choice(SERVICES), chance.choice([WEB, WEB2, FAIL])
        define(busy, name, image)
        command = ("deploy", "-q", name) if number % 3 else ("restart", "-q", name)
        done = busy.agent.cli.popen(*command)
        wait_for(_has_called(busy, chance.randrange(25), done))
        busy.agent.kill()
        done.communicate(timeout=60)
        busy.restart()
    settle(busy)
    torture.figure("kill -9 of the agent during operations, without an inconsistency", str(count))
