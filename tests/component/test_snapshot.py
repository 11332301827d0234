"""The registry outlives its agent: copies of it while it is in use, and an agent that is killed as it writes."""

import json
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

from proto.mcp.v1 import mcp_pb2 as pb
from tests.agents import Agent, Home, Outcome, agent_env, run_program
from tests.component.conftest import Rig, copy_home
from tests.component.definitions import component, service
from tests.component.fakes import WEB, WEB2
from tests.component.wire import connected
from tests.waiting import wait_for


def snapshot(home: Home, *args: str) -> Outcome:
    """Run `mcp-agent snapshot`."""
    argv = [*home.command, "snapshot", "--config", str(home.config), *args]
    return run_program(argv, env=agent_env(home.folder), timeout=60)


def test_an_agent_starts_from_a_copy_made_while_another_ran(rig: Rig, tmp_path: Path) -> None:
    rig.agent.define("web", service())
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    copy = tmp_path / "copy.db"
    done = snapshot(rig.agent.home, str(copy))
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert copy.stat().st_mode & 0o777 == 0o600
    again = snapshot(rig.agent.home, str(copy))
    assert (again.code, len(again.errors)) == (1, 1)
    assert "exists already" in again.stderr
    assert snapshot(rig.agent.home, "--force", str(copy)).code == 0

    rig.agent.stop()
    for path in rig.agent.home.folder.glob("mcp.db*"):
        path.unlink()
    copy.rename(rig.agent.home.database)
    rig.restart()
    done = rig.agent.cli.run("ps")
    assert (done.code, done.stdout.splitlines()[1].split()[:4]) == (0, ["web", "api", "rift", "running"])


def test_mistakes_are_one_line(template: Home, tmp_path: Path) -> None:
    home = copy_home(template, tmp_path / "agent")
    for args, code, words in (
        ((), 2, "the following arguments are required: FILE"),
        ((str(tmp_path),), 1, "is a folder"),
        ((str(tmp_path / "no" / "copy"),), 1, "cannot be written: No such file or directory"),
        ((str(home.database),), 1, "is the registry itself"),
        (("--config", "/nonexistent.toml", "x"), 2, "/nonexistent.toml: cannot be read"),
    ):
        done = snapshot(home, *args)
        assert (done.code, done.stdout, len(done.errors)) == (code, "", 1), done
        assert words in done.stderr


def test_a_killed_agent_loses_nothing_that_it_answered(rig: Rig) -> None:
    kept: set[str] = set()
    for number, seconds in enumerate((2.0, 2.7)):
        kept |= _deploy_until_killed(rig.agent, number, seconds)
        with closing(sqlite3.connect(rig.agent.home.database)) as database:
            rows = database.execute("SELECT service FROM components WHERE desired_state = 'running'").fetchall()
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert kept <= {service for (service,) in rows}
        rig.restart()
    assert len(kept) > 1
    assert {f"{service}-api" for service in kept} <= set(rig.fake.running())


def _deploy_until_killed(agent: Agent, number: int, seconds: float) -> set[str]:
    """Deploy one service after the other, three at a time, until the agent is killed; those answered as done."""
    answered: set[str] = set()

    def deploy(worker: int) -> None:
        with connected(agent) as wire:
            for count in range(1000):
                name = f"s{number}-{worker}-{count}"
                definition = pb.ServiceSpec(
                    name=name, active=True, components=[pb.ComponentSpec(name="api", image=WEB)]
                )
                answer = wire.call("Deploy", pb.DeployRequest(service=definition))
                if not answer.responses:
                    return
                assert [each.success for each in answer.responses[0].results] == [True]
                answered.add(name)

    threads = [threading.Thread(target=deploy, args=(worker,)) for worker in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    agent.kill()
    for thread in threads:
        thread.join(30)
    return answered


def test_what_was_deployed_after_a_copy_is_adopted_when_it_is_put_back(rig: Rig, tmp_path: Path) -> None:
    cli, copy = rig.agent.cli, tmp_path / "copy.db"
    for name in ("web", "same", "gone", "halted"):
        rig.agent.define(name, service(name))
        assert cli.run("deploy", "-q", name).code == 0
    assert snapshot(rig.agent.home, str(copy)).code == 0
    rig.agent.define("web", service("web", component("api", WEB2)))
    rig.agent.define("later", service("later"))
    for name in ("web", "later"):
        assert cli.run("deploy", "-q", name).code == 0
    assert cli.run("undeploy", "gone").code == 0
    assert cli.run("stop", "halted").code == 0
    before = {container["name"]: container["id"] for container in rig.fake.state["containers"]}

    argv = [*rig.agent.home.command, "restore", "--config", str(rig.agent.home.config), str(copy)]
    env = agent_env(rig.agent.home.folder)
    refused = run_program(argv, env=env, timeout=60)
    assert (refused.code, len(refused.errors)) == (1, 1)
    assert "is in use by another mcp-agent; stop it first" in refused.stderr
    rig.agent.stop()
    done = run_program(argv, env=env, timeout=60)
    assert (done.code, done.stdout, done.stderr) == (0, "restored\n", "")

    rig.restart()
    with connected(rig.agent) as wire:
        notes = wait_for(lambda: list(wire.call("NodeStatus", pb.NodeStatusRequest()).responses[0].restore_notes))
    assert notes[0].startswith("the registry is that of ")
    assert sorted(notes[1:]) == [
        "gone/api has no container and is created again; undeploy it if it was undeployed since",
        "halted/api does not run and is started again; stop it if it was stopped since",
        "later/api was deployed since and is adopted again",
        "web/api was deployed since and is adopted again",
    ]
    wait_for(lambda: len(rig.fake.running()) == 5)
    after = {container["name"]: container["id"] for container in rig.fake.state["containers"]}
    assert {name: after[name] for name in before} == before
    rows = json.loads(rig.agent.cli.run("list", "--json").stdout)
    older = dict.fromkeys(("same", "gone", "halted", "later"), WEB)
    assert {row["service"]: row["image"] for row in rows} == {"web": WEB2, **older}
    with connected(rig.agent) as wire:
        kept = wire.call("NodeStatus", pb.NodeStatusRequest()).responses[0].restore_notes
    assert list(kept) == notes
