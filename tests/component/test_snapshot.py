"""The registry outlives its agent: copies of it while it is in use, and an agent that is killed as it writes."""

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

from proto.mcp.v1 import mcp_pb2 as pb
from tests.agents import Agent, Home, Outcome, agent_env, run_program
from tests.component.conftest import Rig, copy_home
from tests.component.definitions import service
from tests.component.fakes import WEB
from tests.component.wire import connected


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
