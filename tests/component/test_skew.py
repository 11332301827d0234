"""Old and new together: the previous release works with this tree, and what is below the minimum is refused."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from grpc import StatusCode

from agent.store.check import damages
from mcp.shared.resources import ROOT
from mcp.shared.version import OLDEST_AGENT, OLDEST_CLI, VERSION, is_older
from tests import previous as history
from tests.agents import AGENT, CLI, Agent, Cli, Home, Outcome, agent_env, run_program
from tests.component.conftest import copy_home
from tests.component.definitions import TWO, component, service
from tests.component.fakes import FakePodman
from tests.component.wire import connected
from tests.previous import Previous, previous
from tests.zipapps import PYTHON, built, forged

TOO_OLD = "0.0.9"
# A call that changes something, one with a stream of answers, and one with a stream of requests.
CALLS = [("deploy", "web"), ("logs", "web", "-f"), ("push", __file__, "web/file")]


@pytest.fixture(scope="session")
def release() -> Previous:
    """The previous release."""
    return previous()


@pytest.fixture
def old_home(tmp_path: Path, template: Home, release: Previous) -> tuple[Home, dict[str, str]]:
    """The files of an agent of the previous release, and its environment: a podman that knows what it asks for."""
    fake = FakePodman.install(tmp_path / "bin")
    shutil.copy(release.fake_podman, fake.folder / "podman")
    home = replace(copy_home(template, tmp_path / "agent"), command=(PYTHON, "-I", str(release.agent)))
    return home, agent_env(home.folder, fake.folder)


@pytest.fixture
def old_agent(old_home: tuple[Home, dict[str, str]]) -> Iterator[Agent]:
    """An agent of the previous release."""
    with Agent.start(old_home[0], env=old_home[1]) as agent:
        yield agent


@pytest.fixture
def new_agent(tmp_path: Path, template: Home) -> Iterator[Agent]:
    """This tree's agent."""
    fake = FakePodman.install(tmp_path / "bin")
    home = copy_home(template, tmp_path / "agent")
    with Agent.start(home, env=agent_env(home.folder, fake.folder)) as agent:
        yield agent


def ok(outcome: Outcome) -> str:
    assert (outcome.code, outcome.stderr) == (0, ""), outcome.stdout
    return outcome.stdout


def refused(agent: Agent, call: tuple[str, ...], version: str) -> None:
    """A call to an agent below the minimum does nothing, and names it and its upgrade."""
    agent.define("web", TWO)
    done = agent.cli.run(*call)
    assert (done.code, done.stdout) == (1, "")
    assert done.errors == [
        f"mcp: the agent on rift ({version}) is too old for mcp {VERSION}; upgrade it with `mcp agent upgrade rift`"
    ]
    assert list(agent.home.srv.iterdir()) == []


def work(agent: Agent, cli: Cli, folder: Path) -> None:
    """What operators do every day; every command must do it, and say what it says."""
    agent.define("web", TWO)
    assert "web/api" in ok(cli.run("deploy", "-q", "web")).replace("  ", "/")
    rows = json.loads(ok(cli.run("ps", "--json")))
    assert {(row["service"], row["component"], row["state"]) for row in rows} == {
        ("web", "api", "running"),
        ("web", "work", "running"),
    }
    assert ok(cli.run("logs", "web/work")) == "worker: starting\n"
    assert ok(cli.run("logs", "web/work", "--tail", "1", "--since", "1h", "-t")).endswith("Z worker: starting\n")
    assert "worker: starting\n" in ok(cli.run("logs", "web"))
    assert "running" in ok(cli.run("status", "web"))
    assert "web" in ok(cli.run("list"))
    assert "api=1.0.0" in ok(cli.run("history", "web"))
    assert cli.run("plan").code == 0
    assert cli.run("sync").code == 0
    assert cli.run("events", "web").code == 0
    assert cli.run("stop", "web/api").code == 0
    assert cli.run("start", "web/api").code == 0
    assert cli.run("restart", "web/work").code == 0
    (folder / "file").write_bytes(b"content")
    assert cli.run("push", str(folder / "file"), "web/file").code == 0
    assert cli.run("pull", "web/file", str(folder / "back")).code == 0
    assert (folder / "back").read_bytes() == b"content"
    assert "kyle" in ok(cli.run("whoami"))
    assert "ready" in ok(cli.run("node", "list"))
    assert "web" in ok(cli.run("service", "export", "web"))
    assert cli.run("undeploy", "web").code == 0
    assert json.loads(ok(cli.run("ps", "--json"))) == []


def test_this_cli_works_with_the_agent_of_the_previous_release_or_asks_for_its_upgrade(
    old_agent: Agent, release: Previous, tmp_path: Path
) -> None:
    if is_older(release.version, OLDEST_AGENT):
        for call in CALLS:
            refused(old_agent, call, release.version)
    else:
        work(old_agent, old_agent.cli, tmp_path)


def test_the_cli_of_the_previous_release_works_with_this_agent(
    new_agent: Agent, release: Previous, tmp_path: Path
) -> None:
    work(new_agent, replace(new_agent.cli, command=(PYTHON, "-I", str(release.mcp))), tmp_path)


def test_the_previous_cli_deploys_no_definition_without_values(
    new_agent: Agent, release: Previous, tmp_path: Path
) -> None:
    """Agents show values of variables to nobody; what an earlier `mcp` makes of that is refused before it is sent."""
    old = replace(new_agent.cli, command=(PYTHON, "-I", str(release.mcp)))
    for user in ("1", "2"):
        new_agent.define("web", service("web", component(more=f'user = "{user}"\nenv = ["KEY=hunter2"]')))
        ok(old.run("deploy", "-q", "web"))
    done = old.run("rollback", "web")
    assert (done.code in (1, 2), done.stdout) == (True, "")
    assert "components[0].env[0]: is not KEY=VALUE" in done.stderr
    done = old.run("service", "export", "web", "-o", "-")
    assert done.code == 1
    assert "hunter2" not in done.stdout
    new_agent.define("web", done.stdout)
    assert old.run("deploy", "web").code == 2
    new_agent.define("web", TWO)
    assert new_agent.cli.run("rollback", "-q", "web").stdout == "web/api: rolled back to deploy 1 on rift\n"
    assert "KEY=hunter2" in new_agent.cli.run("service", "export", "web", "--with-env", "-o", "-").stdout


def test_values_of_an_agent_of_the_previous_release_are_left_out_here(old_agent: Agent, release: Previous) -> None:
    if is_older(release.version, OLDEST_AGENT):
        return  # its answers are refused
    old_agent.define("web", service("web", component(more='env = ["KEY=hunter2"]')))
    ok(old_agent.cli.run("deploy", "-q", "web"))
    assert 'env = ["KEY"]' in old_agent.cli.run("service", "export", "web", "-o", "-").stdout
    assert "admin" in ok(old_agent.cli.run("whoami"))
    done = old_agent.cli.run("rollback", "web")
    assert (done.code, done.stdout) == (1, "")
    assert f"({release.version}) is too old for mcp {VERSION}; upgrade it with `mcp agent upgrade rift`" in done.stderr


def test_the_versions_are_shown_side_by_side(old_agent: Agent, release: Previous) -> None:
    (row,) = json.loads(ok(old_agent.cli.run("agent", "status", "--json")))
    assert (row["version"], row["reachable"], row["error"]) == (release.version, True, None)
    assert row["skew"] != "current"


def test_an_upgrade_and_its_undo_keep_what_is_registered(
    old_home: tuple[Home, dict[str, str]], release: Previous, tmp_path: Path
) -> None:
    old, env = old_home
    new = replace(old, command=AGENT)
    own_cli = {old: (PYTHON, "-I", str(release.mcp)), new: CLI}
    copy = str(tmp_path / "mcp-agent.prev.db")
    with Agent.start(old, env=env, cli_command=own_cli[old]) as agent:
        agent.define("web", TWO)
        ok(agent.cli.run("deploy", "-q", "web"))
        before = listed(agent)
    ok(run_program([*AGENT, "snapshot", "--config", str(old.config), copy], env=env, cwd=ROOT))
    for each in (new, old, new):
        with Agent.start(each, env=env, cli_command=own_cli[each]) as agent:
            assert listed(agent) == before
            assert ok(agent.cli.run("list")).count("running") >= 2
        restore = [*AGENT, "restore", "--if", "changed", "--config", str(old.config), copy]
        ok(run_program(restore, env=env, cwd=ROOT))


def test_the_previous_agent_writes_into_a_registry_with_checksums(
    old_home: tuple[Home, dict[str, str]], release: Previous, tmp_path: Path
) -> None:
    """What it writes is not taken for damage, though it knows of no checksums."""
    fakes = {True: FakePodman.install(tmp_path / "new").folder / "podman", False: release.fake_podman}
    podman = FakePodman(tmp_path / "bin")
    old, env = old_home
    new = replace(old, command=AGENT)
    for number, (home, cli) in enumerate(((new, CLI), (old, (PYTHON, "-I", str(release.mcp))), (new, CLI))):
        shutil.copy(fakes[home is new], podman.folder / "podman")
        podman.change(containers=[])  # each writes down its own facts of them
        with Agent.start(home, env=env, cli_command=cli) as agent:
            agent.define("web", service("web", component(more=f'user = "{number}"')))
            ok(agent.cli.run("deploy", "-q", "web"))
            assert agent.cli.run("stop", "web").code == 0
            assert agent.cli.run("start", "web").code == 0
            home.new_token(f"user{number}")
            assert listed(agent)[0][:3] == ["web", "api", "running"]
        assert damages(old.database) == []
    assert [row["name"] for row in json.loads(new.token("list", "--json").stdout)] == [
        "kyle",
        "user0",
        "user1",
        "user2",
    ]


def listed(agent: Agent) -> list[list[str]]:
    """The components that `mcp ps` shows, with what every release shows of them."""
    rows = json.loads(ok(agent.cli.run("ps", "--json")))
    return [[row[name] for name in ("service", "component", "state", "version", "started")] for row in rows]


def test_without_the_history_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = tmp_path / "previous_release.txt"
    named.write_text("1" * 40 + "\n")
    monkeypatch.setattr(history, "NAMED_IN", named)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(pytest.fail.Exception, match=r"there is no previous release to test with: .*a full clone has"):
        previous.__wrapped__()
    assert not (tmp_path / "cache").exists()


# --- below the minimum ---


def forge(program: str, folder: Path) -> tuple[str, ...]:
    """The command that runs this tree's program as one that says it is TOO_OLD."""
    stamp = f'VERSION = "{TOO_OLD}"\nCOMMIT = "{"0" * 40}"\n'
    return PYTHON, "-I", str(forged(built(program), folder / program, "0" * 16, **{"mcp/shared/_stamp": stamp}))


@pytest.fixture
def too_old_agent(tmp_path: Path, template: Home) -> Iterator[Agent]:
    """An agent below the minimum."""
    fake = FakePodman.install(tmp_path / "bin")
    home = replace(copy_home(template, tmp_path / "agent"), command=forge("mcp-agent", tmp_path))
    with Agent.start(home, env=agent_env(home.folder, fake.folder)) as agent:
        yield agent


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_an_agent_below_the_minimum_does_nothing_and_is_named(too_old_agent: Agent, call: tuple[str, ...]) -> None:
    refused(too_old_agent, call, TOO_OLD)


def test_an_agent_below_the_minimum_says_what_an_upgrade_asks(too_old_agent: Agent) -> None:
    (row,) = json.loads(ok(too_old_agent.cli.run("agent", "status", "--json")))
    assert (row["version"], row["skew"], row["error"]) == (TOO_OLD, "older", None)
    assert TOO_OLD in ok(too_old_agent.cli.run("node", "list"))


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_a_cli_below_the_minimum_is_refused(new_agent: Agent, tmp_path: Path, call: tuple[str, ...]) -> None:
    cli = replace(new_agent.cli, command=forge("mcp", tmp_path))
    new_agent.define("web", TWO)
    done = cli.run(*call)
    assert (done.code, done.stdout) == (1, "")
    assert done.errors == [
        f"mcp: rift: mcp {TOO_OLD} is too old for this agent ({VERSION}), which needs {OLDEST_CLI} or newer; "
        f"install mcp {VERSION}"
    ]
    assert list(new_agent.home.srv.iterdir()) == []
    (row,) = json.loads(ok(cli.run("agent", "status", "--json")))
    assert (row["version"], row["skew"]) == (VERSION, "newer")


def test_a_client_that_states_no_version_is_served(new_agent: Agent) -> None:
    with connected(new_agent) as wire:
        assert wire.call("ListServices").code is StatusCode.OK
