"""`mcp-agent token`, and `mcp-agent dev` as a newcomer meets it."""

import json
import stat
import time
from pathlib import Path

import pytest

from tests.agents import AGENT, Agent, Home, Outcome, agent_env, run_program, write_cli_config
from tests.component.conftest import Rig, copy_home
from tests.component.definitions import service
from tests.component.fakes import FakePodman


@pytest.fixture
def home(tmp_path: Path, template: Home) -> Home:
    """An agent's files, with no agent that runs."""
    return copy_home(template, tmp_path / "agent")


def check(done: Outcome, code: int, *words: str) -> None:
    """One line that begins `mcp-agent: ` and says `words`."""
    assert (done.code, done.stdout, len(done.errors)) == (code, "", 1), done
    assert done.stderr.startswith("mcp-agent: ")
    for word in words:
        assert word in done.stderr


def test_a_token_is_shown_once(home: Home) -> None:
    done = home.token("add", "anna", "--type", "system", "--role", "reader", "--role", "admin", "--expires", "90d")
    assert done.code == 0
    (token,) = done.stdout.splitlines()
    assert token.startswith("mcp_")
    assert len(token) == 47
    assert done.stderr == "added anna; the token is not shown again: save it in a file with mode 0600\n"
    rows = json.loads(home.token("list", "--json").stdout)
    assert [(row["name"], row["type"], row["roles"]) for row in rows] == [
        ("anna", "system", ["reader", "admin"]),
        ("kyle", "human", []),
    ]
    assert rows[0]["expires"] is not None
    assert rows[1]["expires"] is None
    table = home.token("list").stdout
    assert [line.split()[:3] for line in table.splitlines()] == [
        ["NAME", "TYPE", "ROLE"],
        ["anna", "system", "admin"],
        ["kyle", "human", "admin"],
    ]
    assert token not in table
    assert all(token.encode() not in path.read_bytes() for path in home.folder.rglob("*") if path.is_file())


def test_roles_are_listed_with_their_services(home: Home) -> None:
    home.new_token("bob", "--role", "deployer", "--services", "web,shop")
    home.new_token("eve", "--role", "reader")
    home.new_token("mal", "--role", "guest", "--role", "admin")
    rows = json.loads(home.token("list", "--json").stdout)
    assert [(row["name"], row["role"], row["services"], row["roles"]) for row in rows] == [
        ("bob", "deployer", ["shop", "web"], ["deployer:web", "deployer:shop"]),
        ("eve", "reader", [], ["reader"]),
        ("kyle", "admin", [], []),
        ("mal", "guest", [], ["guest", "admin"]),
    ]
    assert "deployer: shop, web" in home.token("list").stdout


def test_a_token_goes_into_a_file(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "token"
    done = home.token("add", "anna", "--output", str(path))
    assert (done.code, done.stdout, done.stderr) == (0, "", f"added anna; its token is in {path}\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith("mcp_")


def test_secrets_in_the_folder_of_a_service_are_warned_of(home: Home) -> None:
    (home.srv / "backup").mkdir(parents=True)
    path = home.srv / "backup" / "token"
    warning = f"mcp-agent: warning: `mcp pull` reads {path}, in the folder of the service backup; write it below "
    assert warning in home.token("add", "anna", "--output", str(path)).stderr


def test_a_token_of_another_node_is_taken_over(home: Home, tmp_path: Path, template: Home) -> None:
    token = home.new_token("anna")
    other = copy_home(template, tmp_path / "other")

    def take_over(name: str, stdin: str) -> Outcome:
        argv = [*other.command, "token", "--config", str(other.config), "add", name, "--token-stdin"]
        return run_program(argv, env=agent_env(other.folder), cwd=other.cwd, stdin=stdin)

    done = take_over("anna", f"{token}\n")
    assert (done.code, done.stdout, done.stderr) == (0, "", "added anna with the given token\n")
    check(take_over("bob", token), 1, "or this token under another name")
    for wrong in ("", "secret", token[:-1], token + "x"):
        check(take_over("bob", wrong), 2, "no valid token on stdin")
    with Agent.start(other, env=agent_env(other.folder)) as agent:
        assert agent.cli.run("whoami", "--json", env={"MCP_TOKEN": token}).code == 0


def test_a_token_that_cannot_be_written_is_not_added(home: Home, tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "token", Path("/proc/token"), tmp_path):
        check(home.token("add", "anna", "--output", str(path)), 1, f"{path}: cannot be written: ")
    assert [row["name"] for row in json.loads(home.token("list", "--json").stdout)] == ["kyle"]


def test_what_is_refused(home: Home) -> None:
    check(home.token("add", "kyle"), 1, "a token named kyle exists already, or this token under another name")
    check(home.token("revoke", "zoe"), 1, "no token named zoe; tokens: kyle")
    check(home.token("revoke", "a\nb"), 1, "no token named a\\nb")
    check(home.token("add", "a b"), 2, 'name: "a b" is not a valid name')
    check(home.token("add", "--", "-x"), 2, 'name: "-x" is not a valid name')
    check(home.token("add", "anna", "--role", "raeder"), 2, "invalid choice: 'raeder'")
    check(home.token("add", "anna", "--role", "deployer"), 2, "--role deployer: no services; add --services, as in")
    check(home.token("add", "anna", "--services", "shop"), 2, "--services: is for --role deployer")
    check(home.token("add", "anna", "--role", "deployer", "--services", "shop,"), 2, "--services: is missing")
    check(home.token("add", "anna", "--type", "robot"), 2, "invalid choice: 'robot'")
    for expires in ("soon", "-1h", "", "1", "1e9d", "999999999999d"):
        check(home.token("add", "anna", f"--expires={expires}"), 2, "--expires: ")
    check(home.token(), 2, "the following arguments are required")
    assert [row["name"] for row in json.loads(home.token("list", "--json").stdout)] == ["kyle"]


def test_the_first_token_makes_the_registry(tmp_path: Path, template: Home) -> None:
    home = copy_home(template, tmp_path / "agent")
    home.database.unlink()
    assert home.token("add", "anna").code == 0
    assert stat.S_IMODE(home.database.stat().st_mode) == 0o600


def test_tokens_are_managed_while_the_agent_runs(rig: Rig) -> None:
    home = rig.agent.home
    token = home.new_token("anna")
    for _ in range(3):
        assert rig.agent.cli.run("ps", env={"MCP_TOKEN": token}).code == 0
    assert home.token("revoke", "anna").stderr == "revoked anna\n"
    done = rig.agent.cli.run("ps", env={"MCP_TOKEN": token})
    assert (done.code, len(done.errors)) == (3, 1)
    assert home.new_token("anna") != token
    assert rig.agent.cli.run("ps", env={"MCP_TOKEN": token}).code == 3


def test_a_token_ends_when_it_says(rig: Rig) -> None:
    for number, seconds in enumerate((2, 8, 32)):  # a slow machine needs longer for its first command
        token = rig.agent.home.new_token(f"anna{number}", "--expires", f"{seconds}s")
        if rig.agent.cli.run("ps", env={"MCP_TOKEN": token}).code == 0:
            break
    else:
        pytest.fail(f"no token works:\n{rig.agent.log()}")
    time.sleep(seconds)
    done = rig.agent.cli.run("ps", env={"MCP_TOKEN": token})
    assert done.code == 3
    (line,) = done.errors
    assert line.startswith(f"mcp: rift: the token of anna{number} expired at 20")


# --- dev ---


def test_dev_needs_no_configuration_and_finds_its_state_again(tmp_path: Path) -> None:
    fake = FakePodman.install(tmp_path / "bin")
    state, env = tmp_path / "state", agent_env(tmp_path, fake.folder)
    with Agent.start_dev(state, env=env) as agent:
        out = agent.log_file.with_suffix(".out").read_text()
        assert f"mcp-agent dev: serving on {agent.address} as node dev; Ctrl-C ends it, containers stay" in out
        assert f"export MCP_CONFIG={agent.mcp_toml}" in out
        agent.define("web", service(node="dev"))
        assert agent.cli.run("deploy", "-q", "web").code == 0
        token, authority = agent.token, agent.ca
        agent.stop(2)  # Ctrl-C
    with Agent.start_dev(state, env=env) as agent:
        assert (agent.token, agent.ca) == (token, authority)
        rows = json.loads(agent.cli.run("ps", "--json").stdout)
        assert [(row["service"], row["node"], row["state"]) for row in rows] == [("web", "dev", "running")]
        assert agent.cli.run("undeploy", "web").code == 0
    (state / "cli" / "token").unlink()
    (state / "cert.pem").unlink()
    with Agent.start_dev(state, env=env) as agent:
        assert agent.token != token
        assert agent.cli.run("ps").code == 0
        assert agent.cli.run("ps", env={"MCP_TOKEN": token}).code == 3


def test_dev_goes_below_the_xdg_state_folder(tmp_path: Path) -> None:
    env = {**agent_env(tmp_path), "XDG_STATE_HOME": str(tmp_path / "xdg")}
    (tmp_path / "xdg").write_text("in the way")
    done = run_program([*AGENT, "dev", "--port", "0"], env=env, timeout=60)
    check(done, 1, f"{tmp_path}/xdg/mcp/dev: cannot be created: Not a directory")


def test_dev_says_what_is_in_the_way(tmp_path: Path) -> None:
    fake = FakePodman.install(tmp_path / "bin")
    env = agent_env(tmp_path, fake.folder)
    with Agent.start_dev(tmp_path / "state", env=env) as agent:
        taken = ["dev", "--state", str(tmp_path / "other"), "--port", str(agent.port)]
        done = run_program([*AGENT, *taken], env=env, timeout=60)
        assert done.code == 1
        (line,) = [line for line in done.errors if line.startswith("mcp-agent: ")]
        assert line.startswith(f"mcp-agent: cannot listen on {agent.address}; ")
        again = run_program([*AGENT, "dev", "--state", str(tmp_path / "state"), "--port", "0"], env=env, timeout=60)
        check(again, 1, f"{tmp_path}/state/mcp.db is in use by another mcp-agent; stop it first")
        assert agent.cli.run("ps").code == 0  # the second start has not changed the first one's configuration
    for port in ("x", "-1", "65536", "1e3", "\N{ARABIC-INDIC DIGIT ONE}"):
        check(run_program([*AGENT, "dev", f"--port={port}"], env=env), 2, "is not a port from 0 to 65535")


def test_a_token_that_one_node_of_two_rejects(rig: Rig, tmp_path: Path, template: Home) -> None:
    other = copy_home(template, tmp_path / "other")
    old = rig.agent.token
    with Agent.start(other, env=agent_env(other.folder)) as second:
        write_cli_config(rig.agent.home, rig.agent.address, second.address)
        cli = rig.agent.cli
        assert cli.run("whoami").code == 0
        assert other.token("revoke", "kyle").code == 0
        for arguments in (("whoami",), ("history", "web", "--node", "rift2"), ("logs", "web", "--node", "rift2")):
            done = cli.run(*arguments)
            assert done.code != 0, done
            words = "rift2: invalid token; other nodes accept it: register it there with `mcp node provision rift2`"
            assert words in done.stderr, done
            assert "mcp login" not in done.stderr
        refused = other_add(other, "kyle", old)
        assert (refused.code, len(refused.errors)) == (3, 1)
        assert "mcp-agent: this token, of kyle, was revoked on 20" in refused.stderr

        new = other.new_token("kyle2")
        done = cli.run("login", "--token-stdin", "--node", "rift2", stdin=new)
        assert (done.code, len(done.errors)) == (1, 1)
        assert "rift2 accepts the token, but rift does not know it: token not stored; register it" in done.stderr
        assert rig.agent.token == old
        assert cli.run("login", "--token-stdin", "--node", "rift2", "--force", stdin=new).code == 0
        assert rig.agent.token == new
        assert other_add(rig.agent.home, "kyle2", new).code == 0
        assert cli.run("login", "--token-stdin", stdin=new).code == 0

        for home in (rig.agent.home, other):
            assert home.token("revoke", "kyle2").code == 0
        done = cli.run("whoami")
        assert (done.code, len(done.errors)) == (3, 1)
        assert "invalid token; create a token with `mcp-agent token add` on the node" in done.stderr


def other_add(home: Home, name: str, token: str) -> Outcome:
    """Register a token of another node."""
    argv = [*home.command, "token", "--config", str(home.config), "add", name, "--token-stdin"]
    return run_program(argv, env=agent_env(home.folder), cwd=home.cwd, stdin=token)
