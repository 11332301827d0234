"""On real podman: its state is lost, the machine starts again, and containers made without MCP are taken over."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents import Agent, Home
from tests.component.processes import free_port
from tests.stage import folder_of, start_agent
from tests.waiting import wait_for
from tools import images
from tools.hostlib import private
from tools.hostlib.private import Private

WEB = "localhost/mcp-web:1.0.0"
WORKER = "localhost/mcp-worker:1.0.0"


def definition(name: str, *components: str) -> str:
    return f'name = "{name}"\nnode = "dev"\n' + "".join(components)


def component(name: str, image: str = WORKER, more: str = "") -> str:
    return f'[[components]]\nname = "{name}"\nimage = "{image}"\n{more}\n'


SITE = definition(
    "site",
    component("web", WEB, 'env = ["COLOUR=a b"]\n[[components.routes]]\nport = 443'),
    component("work", more='network = "sitenet"\ncmd = ["worker"]'),
)


def inspect(podman: Private, *names: str) -> list[dict[str, object]]:
    """What matters of containers, as podman has it."""
    rows = json.loads(podman.run(["podman", "inspect", "--type=container", *names]).stdout)
    return [
        {
            "env": sorted(word for word in row["Config"]["Env"] if not word.startswith("HOSTNAME=")),
            "cmd": row["Config"]["Cmd"],
            "labels": row["Config"]["Labels"],
            "ports": row["HostConfig"]["PortBindings"],
            "networks": sorted(row["NetworkSettings"].get("Networks") or {}),
            "restart": row["HostConfig"]["RestartPolicy"],
            "binds": row["HostConfig"]["Binds"],
            "image": row["Image"],
        }
        for row in rows
    ]


def lives(podman: Private) -> dict[str, tuple[str, str, str]]:
    """Identity, state and start of each container by name."""
    form = "{{.Name}} {{.Id}} {{.State.Status}} {{.State.StartedAt}}"
    names = podman.run(["podman", "ps", "--all", "--format", "{{.Names}}"]).stdout.split()
    if not names:
        return {}
    lines = podman.run(["podman", "inspect", "--format", form, *names]).stdout.splitlines()
    return {(words := line.split(" ", 3))[0]: (words[1], words[2], words[3]) for line in lines}


def running(podman: Private) -> set[str]:
    """The containers that run."""
    return {name for name, (_, state, _) in lives(podman).items() if state == "running"}


@pytest.fixture
def own() -> Iterator[Private]:
    """A podman of the test's own, whose state it may destroy."""
    with private.create() as podman:
        images.build_all(podman)
        yield podman


def test_after_a_system_reset_everything_comes_back(own: Private) -> None:
    with folder_of(own) as folder, start_agent(own, folder) as agent:
        agent.define("site", SITE)
        agent.define("off", definition("off", component("job")))
        for name in ("site", "off"):
            assert agent.cli.run("deploy", "-q", name).code == 0
        assert agent.cli.run("stop", "off").code == 0
        before = inspect(own, "site-web", "site-work")

        own.run(["podman", "rm", "--all", "--force", "--time", "0"])
        own.run(["podman", "system", "reset", "--force"])
        failed = agent.cli.run("agent", "recover", "dev")
        assert (failed.code, len(failed.errors)) == (1, 2), "no image is there, and none can be pulled"
        images.build_all(own)
        dry = agent.cli.run("agent", "recover", "dev", "--dry-run", "--json")
        assert [(row["component"], row["action"]) for row in json.loads(dry.stdout)] == [
            ("web", "create"),
            ("work", "create"),
        ]
        assert lives(own) == {}

        done = agent.cli.run("agent", "recover", "dev")
        assert (done.code, done.stderr) == (0, "")
        assert running(own) == {"site-web", "site-work"} == set(lives(own))
        assert inspect(own, "site-web", "site-work") == before
        after = lives(own)
        deployed = agent.cli.run("deploy", "-q", "site")
        assert deployed.code == 0
        assert lives(own) == after, "what was recovered is up to date"


def test_after_a_reboot_only_what_should_run_comes_up_and_in_boot_order(rootless: Private) -> None:
    with folder_of(rootless) as folder:
        with start_agent(rootless, folder) as agent:
            for name in ("alpha", "dns", "proxy", "off"):
                agent.define(name, definition(name, component("job")))
                assert agent.cli.run("deploy", "-q", name).code == 0
            assert agent.cli.run("stop", "off").code == 0
            agent.kill()
        rootless.run(["podman", "kill", "--all"])
        wait_for(lambda: not running(rootless))
        booted = time.time()
        with start_server(rootless, agent, 'boot_order = [["dns"], ["proxy", "elsewhere"]]') as again:
            wait_for(lambda: len(running(rootless)) == 3)
            wait_for(lambda: again.log().count("brought up") == 3)
        assert running(rootless) == {"dns-job", "proxy-job", "alpha-job"}
        form = "{{.Name}} {{.State.StartedAt.UnixNano}}"
        lines = rootless.run(["podman", "inspect", "--format", form, *sorted(running(rootless))]).stdout.splitlines()
        began = {line.split()[0]: int(line.split()[1]) / 1e9 for line in lines}
        assert booted < began["dns-job"] < began["proxy-job"] - 1 < began["alpha-job"] - 2, "each stage is up first"


def start_server(podman: Private, before: Agent, key: str) -> Agent:
    """`mcp-agent server` on the state of a dev agent, with one more key of [agent]."""
    home = Home(before.home.folder, before.home.command, before.home.cwd, podman.argv)
    text = home.config.read_text()
    assert 'settle = "' in text
    home.config.write_text(text.replace("[agent]\n", f"[agent]\n{key}\n"))
    return Agent.start(home, env=dict(podman.env))


def test_a_restarted_agent_touches_nothing(rootless: Private) -> None:
    with folder_of(rootless) as folder:
        with start_agent(rootless, folder) as agent:
            agent.define("site", SITE)
            assert agent.cli.run("deploy", "-q", "site").code == 0
            before = lives(rootless)
            agent.kill()
        with start_agent(rootless, folder) as again:
            assert again.cli.run("agent", "recover", "dev").stdout.count("nothing to do") == 2
        assert lives(rootless) == before


def test_a_container_made_by_hand_is_adopted_without_noticing(agent: Agent, rootless: Private, tmp_path: Path) -> None:
    rootless.run(["podman", "network", "create", "shopnet"])
    made = ["podman", "run", "--detach"]
    published = f"--publish=127.0.0.1:{free_port()}:8080"
    rootless.run([*made, "--name=shop-web", "--restart=always", published, "--volume=/tmp:/d:ro",
                  "--env=COLOUR=a b", "--volume=shopdata:/v", WEB])  # fmt: skip
    rootless.run([*made, "--name=shop-work", "--network=shopnet", "--user=0:0", "--restart=on-failure:3", WORKER,
                  "worker"])  # fmt: skip
    rootless.run([*made, "--name=odd", "--cap-add=NET_ADMIN", "--tmpfs=/t", "--entrypoint=/bin/worker", WORKER])
    before, made_so = lives(rootless), inspect(rootless, "shop-web", "shop-work")

    dry = agent.cli.run("adopt", "--all", "--dry-run")
    assert dry.code == 1
    note, refusal = dry.errors
    assert note.startswith("shop: without the values of COLOUR: ")
    assert refusal.startswith("mcp: dev: odd: ")
    for word in ("--cap-add", "--tmpfs", "--entrypoint"):
        assert word in refusal
    text = dry.stdout.partition("# shop.toml\n")[2].replace('"COLOUR"', '"COLOUR=a b"')
    assert agent.cli.run("ps").stdout.count("shop") == 0

    done = agent.cli.run("adopt", "shop", "--node", "dev")
    assert (done.code, done.stdout) == (0, "shop/web: adopted on dev\nshop/work: adopted on dev\n")
    assert agent.cli.run("service", "export", "shop", "--with-env", "--node", "dev").code == 0
    exported = (agent.services / "shop.toml").read_text()
    assert [line for line in exported.splitlines() if line] == [line for line in text.splitlines() if line]
    assert agent.cli.run("deploy", "-q", "shop").code == 0
    assert lives(rootless) == before, "adopted, exported and deployed, and nothing has happened to it"

    rootless.run(["podman", "rm", "--all", "--force", "--time", "0"])
    assert agent.cli.run("agent", "recover", "dev").code == 0
    again = inspect(rootless, "shop-web", "shop-work")
    for new, old in zip(again, made_so, strict=True):
        labels = new.pop("labels")
        assert isinstance(labels, dict)
        assert labels["mcp.service"] == "shop"
        old.pop("labels")
    assert again == made_so, "made from its definition it is the same"


def test_restart(agent: Agent, rootless: Private) -> None:
    agent.define("site", SITE)
    assert agent.cli.run("deploy", "-q", "site").code == 0
    before = lives(rootless)
    done = agent.cli.run("restart", "site/web")
    assert (done.code, done.stdout) == (0, "site/web: restarted on dev\n")
    after = lives(rootless)
    assert after["site-work"] == before["site-work"]
    assert after["site-web"][:2] == before["site-web"][:2]
    assert after["site-web"][2] != before["site-web"][2]
    rootless.run(["podman", "rm", "--force", "--time", "0", "site-web"])
    assert agent.cli.run("restart", "site").code == 0
    assert running(rootless) == {"site-web", "site-work"}
