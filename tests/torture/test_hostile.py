"""Any answer of a node that was taken over, to every command: no traceback, no file elsewhere, the others' output."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.admin.pki import KeyPair
from tests.agents import Cli, Outcome, write_cli_config
from tests.component.conftest import Rig
from tests.component.definitions import service
from tests.component.wire import METHODS
from tests.hostile import HostileAgent, answers, hostile_agent, said
from tests.torture.conftest import Torture

FILE = "FILE"  # a file of ours
OUT = "OUT"  # a folder of ours, the only place where something may be written

# The command, what rift2 is asked for, and what stdout has of rift.
FLEET: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    (("ps",), ("LiveCheck",), "running"),
    (("list",), ("ListServices",), "localhost/"),
    (("status",), ("GetServiceStatus",), "running"),
    (("status", "--json"), ("GetServiceStatus",), "localhost/"),
    (("whoami",), ("WhoAmI",), "kyle"),
    (("node", "list"), ("NodeStatus",), "ready"),
    (("agent", "status"), ("NodeStatus",), "yes"),
    (("logs", "--all"), ("Logs",), ""),
    (("logs", "--all", "--json"), ("Logs",), '"node": "rift"'),
    (("events",), ("Events",), ""),
    (("plan",), ("ListServices", "Plan"), ""),
    (("service", "export", "-o", OUT), ("ListServices",), ""),
)
ALONE: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("status", "shop"), ("GetServiceStatus", "ListServices")),
    (("history", "shop"), ("History",)),
    (("history", "shop", "--json"), ("History",)),
    (("history", "shop", "show", "1"), ("History",)),
    (("deploy", "shop"), ("ListServices", "DeployStream")),
    (("deploy", "-q", "--json", "shop"), ("ListServices", "Deploy")),
    (("deploy", "--dry-run", "shop"), ("ListServices", "Plan")),
    (("deploy", "--move", "shop"), ("ListServices", "Plan", "DeployStream", "LifecycleStream")),
    (("restart", "shop"), ("LifecycleStream",)),
    (("undeploy", "shop"), ("LifecycleStream",)),
    (("sync", "shop"), ("ListServices", "SyncDesiredState")),
    (("rollback", "shop"), ("ListServices", "Rollback")),
    (("rollback", "--dry-run", "shop"), ("ListServices", "Rollback")),
    (("adopt", "--all", "--node", "rift2"), ("AdoptContainers",)),
    (("adopt", "--all", "--dry-run", "--node", "rift2"), ("AdoptContainers",)),
    (("purge", "--node", "rift2"), ("PurgeComponent",)),
    (("agent", "recover", "rift2"), ("Recover",)),
    (("logs", "shop"), ("Logs",)),
    (("logs", "-t", "shop/api"), ("Logs",)),
    (("pull", "shop/x", f"{OUT}/"), ("PullFileStream",)),
    (("pull", "shop/x", "-"), ("PullFileStream",)),
    (("push", FILE, "shop/x"), ("PushFileStream",)),
    (("login", "--token-stdin", "--node", "rift2", "--force"), ("WhoAmI",)),
)
COMMANDS = [*FLEET, *((argv, methods, "") for argv, methods in ALONE)]


@dataclass
class Scene:
    """The CLI with an honest node and one that was taken over, in a folder with everything that is ours."""

    cli: Cli
    evil: HostileAgent
    folder: Path

    def run(self, argv: tuple[str, ...]) -> Outcome:
        """Run a command, whose output folder is new."""
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        (self.folder / "out").mkdir()
        words = [word.replace(OUT, str(self.folder / "out")).replace(FILE, str(self.folder / "file")) for word in argv]
        return self.cli.run(*words, stdin=(self.folder / "secret").read_text())

    def files(self) -> dict[str, bytes]:
        """Every file but those in the output folder."""
        paths = [
            path for path in self.folder.rglob("*") if path.is_file() and (self.folder / "out") not in path.parents
        ]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def scene(shared: Rig, ca: KeyPair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The node rift, where web runs, and rift2, of which shop is."""
    agent = shared.agent
    agent.define("web", service())
    done = agent.cli.run("deploy", "-q", "web")
    assert done.code == 0, done
    folder = tmp_path_factory.mktemp("ours")
    with hostile_agent(ca) as evil:
        config = write_cli_config(agent.home, agent.address, evil.address)
        shutil.copytree(config.parent, folder / "cli")
        (folder / "cli" / "services" / "shop.toml").write_text(service("shop", node="rift2"))
        (folder / "file").write_text("ours")
        (folder / "secret").write_text(agent.token)
        yield Scene(replace(agent.cli, config=folder / "cli" / "mcp.toml"), evil, folder)


def check(scene: Scene, argv: tuple[str, ...], done: Outcome, of_rift: str) -> None:
    """The exit code is a documented one, each error is a line, and what rift has said is there."""
    assert "Traceback" not in done.stderr, done
    assert done.code in range(5), done
    assert of_rift in done.stdout, done
    assert all(line.isprintable() for line in done.errors if line.startswith("mcp: ")), done
    written = {path.name for path in (scene.folder / "out").rglob("*")}
    assert written <= ({"x"} if argv[0] == "pull" else {"web.toml", "shop.toml", "api.toml", "running.toml"}), written


def test_hostile_answers(scene: Scene, torture: Torture) -> None:
    before = scene.files()
    served = scene.evil.served

    @settings(
        max_examples=torture.count(2000, ci=150), deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(data=st.data(), command=st.sampled_from(COMMANDS))
    def run(data: st.DataObject, command: tuple[tuple[str, ...], tuple[str, ...], str]) -> None:
        argv, methods, of_rift = command
        scene.evil.answers = said({method: data.draw(answers(method), label=method) for method in methods})
        done = scene.run(argv)
        check(scene, argv, done, of_rift)
        accepted.append("malformed answer" not in done.stderr)

    accepted: list[bool] = []
    run()
    assert scene.files() == before
    assert scene.evil.served > served
    assert len(accepted) / 5 < sum(accepted) < 4 * len(accepted) / 5, "as many get past the checks as do not"
    torture.figure("hostile answers without a traceback", f"{scene.evil.served - served:,}")


def test_hostile_bytes(scene: Scene, torture: Torture) -> None:
    """What is no message at all."""
    before = scene.files()

    @settings(
        max_examples=torture.count(300, ci=40), deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(data=st.binary(max_size=60), command=st.sampled_from(COMMANDS))
    def run(data: bytes, command: tuple[tuple[str, ...], tuple[str, ...], str]) -> None:
        argv, methods, of_rift = command
        scene.evil.say(**{method: [data] for method in methods})
        check(scene, argv, scene.run(argv), of_rift)

    run()
    assert scene.files() == before


def test_every_call_of_the_client_is_attacked() -> None:
    asked = {method for _, methods, _ in COMMANDS for method in methods}
    unary = {"UndeployService", "StopService", "StartService", "RestartService", "PushFile", "PullFile"}
    assert asked == set(METHODS) - unary  # which the CLI no longer uses
