"""Real podman behind a labelled stand-in that fails a fifth of its calls: nothing is down or left over in the end."""

import json
import random
import re

from tests.agents import NODE, Agent, Home
from tests.podman.stand_in import StandIn
from tests.stage import folder_of, start_agent
from tests.waiting import wait_for
from tools.hostlib.private import Private

WORKER, FAIL = "localhost/mcp-worker:1.0.0", "localhost/mcp-fail:1.0.0"
SERVICES = ("one", "two")
OPERATIONS = 10
SETTLED = 300.0  # seconds for attempts that are half a minute apart in the end


def deploy(agent: Agent, name: str, number: int, image: str = WORKER) -> int:
    """Deploy what differs from the deploy before; return the exit code."""
    agent.define(
        name,
        f'name = "{name}"\nnode = "{NODE}"\n[[components]]\nname = "work"\nimage = "{image}"\n'
        f'network = "{name}net"\nenv = ["NUMBER={number}"]\n',
    )
    return agent.cli.run("deploy", "-q", name, timeout=120).code


def operate(agent: Agent, number: int, chance: random.Random) -> None:
    """One operation on one of the services; it may fail."""
    name = chance.choice(SERVICES)
    match chance.randrange(5):
        case 0:
            deploy(agent, name, number, FAIL)
        case 1:
            agent.cli.run("restart", "-q", name, timeout=120)
        case _:
            deploy(agent, name, number)


def numbers(agent: Agent) -> dict[str, str]:
    """The variable of each service as the registry has it."""
    export = ("service", "export", "--with-env", "--output", "-", "--node", NODE)
    texts = {name: agent.cli.run(*export, name).stdout for name in SERVICES}
    return {name: re.findall("NUMBER=([0-9]+)", text)[0] for name, text in texts.items()}


def wrong(agent: Agent, podman: Private) -> list[str]:
    """Say what is not as it should be: pending, down, other than registered, or left over."""
    rows = json.loads(agent.cli.run("status", "--json").stdout)["components"]
    found = [f"{row['service']}: {row['observed']}, {row['pending']}, {row['differences']}" for row in rows
             if row["observed"] != "running" or row["pending"] or row["differences"]]  # fmt: skip
    listed = json.loads(podman.run(["podman", "ps", "--all", "--external", "--format=json"]).stdout)
    states = {row["Names"][0]: row["State"] for row in listed}
    return found if states == {f"{name}-work": "running" for name in SERVICES} else [*found, str(states)]


def quick(podman: Private, agent: Agent) -> Agent:
    """Start the agent again, so that it waits less for new containers, and looks at them more often."""
    agent.stop()
    home = Home(agent.home.folder, agent.home.command, agent.home.cwd, podman.argv)
    text = home.config.read_text()
    assert 'settle = "2s"' in text
    assert "[monitor]" not in text
    home.config.write_text(text.replace('settle = "2s"', 'settle = "300ms"') + '\n[monitor]\ninterval = "5s"\n')
    return Agent.start(home, env=dict(podman.env), cli_command=agent.cli_command)


def test_operations_on_a_podman_that_fails_in_a_fifth_of_its_calls(rootless: Private) -> None:
    chance = random.Random(10)
    with folder_of(rootless) as folder:
        stand_in = StandIn.make(rootless, folder / "stand-in")
        with quick(stand_in.podman, start_agent(stand_in.podman, folder)) as agent:
            assert [deploy(agent, name, 0) for name in SERVICES] == [0, 0]
            stand_in.be_flaky(20, 10)
            for number in range(OPERATIONS):
                operate(agent, number, chance)
            assert stand_in.failed
            stand_in.behave()
            wait_for(lambda: not wrong(agent, rootless), SETTLED, lambda: "; ".join(wrong(agent, rootless)))
            for name, registered in numbers(agent).items():
                env = rootless.run(["podman", "inspect", "--format={{.Config.Env}}", f"{name}-work"]).stdout
                assert re.findall("NUMBER=([0-9]+)", env) == [registered]
