"""A service whose node was changed in its definition never runs on both nodes."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.agents import Agent, Cli, Home, Outcome, agent_env, write_cli_config
from tests.component.conftest import Rig, copy_home
from tests.component.definitions import TWO, component, service
from tests.component.fakes import FAIL, WEB, FakePodman

NEW = "rift2"  # the second node of tests.agents.write_cli_config
REMEDY = "remove it there with `mcp undeploy --node rift web`, or move it with `mcp deploy --move web`"
DATA = "the data in /srv/web on rift was not moved; see mcp pull and mcp push"


@dataclass
class Pair:
    """Two nodes, and a CLI that knows both."""

    old: Rig
    new: Rig
    cli: Cli

    def define(self, name: str, text: str, node: str = "rift") -> None:
        """Write the definition of a service for a node."""
        self.old.agent.define(name, text.replace('node = "rift"', f'node = "{node}"'))

    def running(self) -> tuple[list[str], list[str]]:
        """The containers that run on the old and on the new node."""
        return list(self.old.fake.running()), list(self.new.fake.running())


@pytest.fixture
def pair(rig: Rig, tmp_path: Path, template: Home) -> Iterator[Pair]:
    """The service web with two components runs on rift, but is defined for rift2 now."""
    fake = FakePodman.install(tmp_path / "bin2")
    home = copy_home(template, tmp_path / "agent2")
    with Agent.start(home, env=agent_env(home.folder, fake.folder)) as agent:
        rig.agent.define("web", TWO)
        assert rig.agent.cli.run("deploy", "-q", "web").code == 0
        config = write_cli_config(rig.agent.home, rig.agent.address, agent.address)
        made = Pair(rig, Rig(agent, fake), Cli(config))
        made.define("web", TWO, NEW)
        yield made
    assert [call["argv"] for call in fake.calls() if call["refused"]] == []


def ok(done: Outcome) -> str:
    assert (done.code, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("target", ["web", "web/api"])
def test_deploy_refuses_and_names_the_node_and_the_commands(pair: Pair, target: str) -> None:
    done = pair.cli.run("deploy", "-q", target)
    assert (done.code, done.stdout, done.stderr) == (1, "", f"mcp: web still runs on rift; {REMEDY}\n")
    assert pair.running() == (["web-api", "web-work"], [])
    ok(pair.cli.run("stop", "-q", "--node", "rift", "web"))
    done = pair.cli.run("deploy", "-q", target)
    assert (done.code, done.stderr) == (1, f"mcp: web is still deployed on rift, stopped; {REMEDY}\n")
    ok(pair.cli.run("undeploy", "-q", "--node", "rift", "web"))
    ok(pair.cli.run("deploy", "-q", target))


def test_move_undeploys_there_and_deploys_here(pair: Pair) -> None:
    dry = ok(pair.cli.run("deploy", "--dry-run", "--move", "web"))
    removed, created = "remove   web/work on rift (moves to rift2)", "create   web/work on rift2 (is not deployed)"
    assert [line for line in dry.splitlines() if line in (removed, created)] == [removed, created]
    assert pair.running() == (["web-api", "web-work"], [])
    done = pair.cli.run("deploy", "-q", "--move", "web")
    assert (done.code, done.stdout) == (0, "web/api: deployed on rift2\nweb/work: deployed on rift2\n")
    assert done.errors == ["web/api: undeployed on rift", "web/work: undeployed on rift", DATA]
    assert pair.running() == ([], ["web-api", "web-work"])
    assert ok(pair.cli.run("plan")) == "nothing to do: nodes match the definitions\n"
    assert ok(pair.cli.run("deploy", "-q", "--move", "web")) == (
        "web/api: up to date on rift2\nweb/work: up to date on rift2\n"
    )


def test_a_move_whose_deploy_fails_says_how_to_go_back(pair: Pair) -> None:
    pair.define("web", service("web", component("api", FAIL, 'restart = "no"')), NEW)
    done = pair.cli.run("deploy", "-q", "--move", "web")
    assert done.code == 1
    assert done.errors[-1] == ("web no longer runs on rift; `mcp rollback --node rift web` deploys it there again")
    assert pair.running() == ([], [])
    assert pair.cli.run("rollback", "-q", "--node", "rift", "web").code == 0
    assert pair.running() == (["web-api", "web-work"], [])


def test_a_move_of_which_a_component_fails_says_how_to_go_back(pair: Pair) -> None:
    failing = component("work", FAIL, 'restart = "no"')
    pair.define("web", service("web", component("api"), failing), NEW)
    done = pair.cli.run("deploy", "-q", "--move", "web")
    first, then = "mcp undeploy --node rift2 web", "mcp rollback --node rift web"
    assert done.errors[-1] == f"web no longer runs on rift; `{first}` and `{then}` deploy it there again"
    assert pair.running() == ([], ["web-api"])
    for command in (first, then):
        assert pair.cli.run(*command.split()[1:], "-q").code == 0
    assert pair.running() == (["web-api", "web-work"], [])


def test_a_move_says_which_volumes_stay_where_it_was(pair: Pair) -> None:
    image = "localhost/mcp-data:1.0.0"
    for side in (pair.old, pair.new):
        side.fake.add_image(image, anonymous=["/data"])
    pair.define("db", service("db", component("db", image)))
    assert pair.cli.run("deploy", "-q", "db").code == 0
    (volume,) = pair.old.fake.state["volumes"]
    pair.define("db", service("db", component("db", image)), NEW)
    done = pair.cli.run("deploy", "-q", "--move", "db")
    assert done.errors[:2] == [
        "db/db: undeployed on rift",
        f"db/db: /data is kept in the anonymous volume {volume}",
    ]


def test_a_move_to_a_node_that_cannot_take_it_undeploys_nothing(pair: Pair) -> None:
    pair.new.fake.misbehave("fail", ["ps"])
    assert pair.cli.run("deploy", "-q", "--move", "web").code == 1
    pair.new.fake.behave()
    pair.define("web-api", service("web-api", component("web-api")), NEW)
    ok(pair.cli.run("deploy", "-q", "web-api"))
    done = pair.cli.run("deploy", "-q", "--move", "web")
    assert done.code == 1
    assert done.stderr.startswith("mcp: rift2: web/api cannot be deployed: the container web-api belongs to")
    assert pair.running() == (["web-api", "web-work"], ["web-api"])
    done = pair.cli.run("deploy", "--move", "web/api")
    assert (done.code, done.errors) == (2, ["mcp: --move is for whole services; name web without a component"])


def test_rollback_starts_no_second_copy(pair: Pair) -> None:
    ok(pair.cli.run("undeploy", "-q", "--node", "rift", "web"))
    ok(pair.cli.run("deploy", "-q", "web"))
    done = pair.cli.run("rollback", "-q", "--node", "rift", "web")
    assert done.code == 1
    assert done.stderr.startswith("mcp: web still runs on rift2; remove it there with")
    assert pair.running() == ([], ["web-api", "web-work"])


def test_plan_says_so_on_both_nodes(pair: Pair) -> None:
    held = [f"blocked  web/{name} on rift2 (still runs on rift; {REMEDY})" for name in ("api", "work")]
    assert ok(pair.cli.run("plan", "web")).splitlines() == held
    assert pair.cli.run("plan", "web", "--exit-code").code == 2
    left = [
        f"keep     web/{name} on rift (still runs on rift; is defined for another node; {REMEDY})"
        for name in ("api", "work")
    ]
    assert ok(pair.cli.run("plan")).splitlines() == [*held, *left]
    assert ok(pair.cli.run("sync", "--dry-run", "--node", "rift")).splitlines() == left
    assert ok(pair.cli.run("deploy", "--dry-run", "web")).splitlines() == held


def test_sync_starts_no_second_copy_and_does_the_rest(pair: Pair) -> None:
    pair.define("other", service("other"), NEW)
    for args in ((), ("web",), ("--node", NEW)):
        done = pair.cli.run("sync", *args)
        assert (done.code, done.stderr) == (1, f"mcp: web on rift2: still runs on rift; {REMEDY}\n")
    assert pair.running() == (["web-api", "web-work"], ["other-api"])
    rows = json.loads(ok(pair.cli.run("ps", "--json", "--node", "rift")))
    assert {row["desired"] for row in rows} == {"running"}, "a reboot would not bring it up"
    ok(pair.cli.run("sync", "--node", "rift"))
    ok(pair.cli.run("undeploy", "-q", "--node", "rift", "web"))
    ok(pair.cli.run("sync"))
    assert pair.running() == ([], ["other-api", "web-api", "web-work"])


def test_a_service_that_is_not_active_may_stay_where_it_is(pair: Pair) -> None:
    pair.define("web", TWO.replace("\n\n", "\nactive = false\n", 1), NEW)
    assert "web" not in ok(pair.cli.run("plan", "web"))
    ok(pair.cli.run("sync", "web"))


def test_a_node_that_does_not_answer_is_a_warning(pair: Pair) -> None:
    ok(pair.cli.run("undeploy", "-q", "--node", "rift", "web"))
    pair.old.agent.stop()
    done = pair.cli.run("deploy", "-q", "web")
    assert (done.code, done.stdout.splitlines()[0]) == (0, "web/api: deployed on rift2")
    (warning,) = done.errors
    assert warning.startswith("mcp: warning: cannot tell which services still run on rift: ")
    assert "refuses the connection" in warning
    with socket.create_server(("127.0.0.1", pair.old.agent.port)):  # one that says nothing
        done = pair.cli.run("deploy", "-q", "web")
    assert (done.code, done.stdout.splitlines()[0]) == (0, "web/api: up to date on rift2")
    assert "does not respond" in done.stderr
    assert pair.cli.run("plan", "web").code == 0
    pair.old.restart()


def test_what_has_no_definition_is_found_where_it_is(pair: Pair) -> None:
    (pair.old.agent.services / "web.toml").unlink()
    assert ok(pair.cli.run("stop", "-q", "web/work")) == "web/work: stopped on rift\n"
    assert ok(pair.cli.run("logs", "web/api")).startswith("web: starting\n")
    assert "done" in ok(pair.cli.run("history", "web"))
    done = pair.cli.run("stop", "nope")
    hint = "name its node with --node"
    assert (done.code, done.errors) == (1, [f"mcp: nope has no definition, and is not deployed on any node; {hint}"])
    pair.new.agent.define("web", service("web", component("api", WEB)))
    ok(pair.new.agent.cli.run("deploy", "-q", "web"))
    done = pair.cli.run("undeploy", "web/api")
    assert (done.code, done.errors) == (
        2,
        ["mcp: web has no definition, and is deployed on rift and rift2; choose with --node"],
    )
