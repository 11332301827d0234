"""An agent whose backend is MCIAS, and the CLI that logs in there: `mcp login`, `whoami`, `logout`, end to end."""

import json
import os
import pty
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from tests.agents import Agent, Cli, Home, Outcome, agent_env, make_home, run_program
from tests.component.definitions import service
from tests.component.fakes import FakePodman
from tests.component.processes import command_line
from tests.component.wire import METHODS, bearer, connected
from tests.platform import mcias as stand_ins
from tests.platform.conftest import Authority
from tests.platform.mcias import MciasStandIn
from tests.waiting import wait_for

DONE, FAILED, USAGE, AUTH, UNREACHABLE = range(5)
PASSWORD = "correct horse"


@dataclass
class Fleet:
    """An agent, the MCIAS that it asks, and the CLI's files."""

    agent: Agent
    mcias: MciasStandIn
    folder: Path

    @property
    def token_file(self) -> Path:
        """Where the CLI keeps its token."""
        return self.folder / "cli" / "kept" / "token"

    @property
    def cli(self) -> Cli:
        """The CLI, configured for both."""
        return Cli(self.agent.mcp_toml)

    def log_in(self, *args: str, password: str = PASSWORD) -> Outcome:
        """`mcp login --password-stdin`."""
        argv = [*self.cli.command, "login", "--password-stdin", *args]
        return run_program(argv, env=self.cli.environment(), stdin=password, timeout=60)


def settings(mcias: MciasStandIn, authority: Authority, more: str = "") -> str:
    """The section [mcias] of either program."""
    return f'[mcias]\nserver_url = "{mcias.url}"\nca_cert = "{authority.file}"\n{more}'


@pytest.fixture
def home(tmp_path: Path, authority: Authority) -> Home:
    """An agent's files; its registry knows kyle, which is no use where MCIAS is asked."""
    return make_home(tmp_path / "agent", authority.pair)


@pytest.fixture
def fleet(home: Home, stand_in: MciasStandIn, authority: Authority, tmp_path: Path) -> Iterator[Fleet]:
    """An agent that asks the stand-in."""
    stand_in.accounts["ann"] = stand_ins.Account(PASSWORD, roles=("ops",))
    stand_in.accounts["eve"] = stand_ins.Account(PASSWORD, roles=("guest",))
    stand_in.accounts["mcp-agent"] = stand_ins.Account(PASSWORD, account_type="system")
    home.write_config(more=settings(stand_in, authority))
    fake = FakePodman.install(tmp_path / "bin")
    with Agent.start(home, env=agent_env(home.folder, fake.folder)) as agent:
        (home.folder / "cli" / "token").unlink()
        nodes = f'[[nodes]]\nname = "rift"\naddress = "{agent.address}"\n'
        agent.mcp_toml.write_text(settings(stand_in, authority) + '[auth]\ntoken_path = "kept/token"\n' + nodes)
        yield Fleet(agent, stand_in, home.folder)
    assert "Traceback" not in agent.log()


def check(done: Outcome, code: int, *words: str) -> None:
    """The exit code, and one line of error that has these words."""
    assert (done.code, len(done.errors)) == (code, 1), done
    assert done.stdout == ""
    assert done.stderr.startswith("mcp: ")
    for word in words:
        assert word in done.stderr


# --- the agent ---


def test_every_call_is_guarded_by_mcias(fleet: Fleet) -> None:
    tokens = {user: fleet.mcias.token(user) for user in ("ann", "eve", "mcp-agent")}
    refusals = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
    with connected(fleet.agent, "eyJnobody") as wire:
        for method in METHODS:
            assert wire.call(method).code is grpc.StatusCode.UNAUTHENTICATED
            assert wire.call(method, metadata=()).code is grpc.StatusCode.UNAUTHENTICATED
            assert wire.call(method, metadata=bearer(tokens["eve"])).code is grpc.StatusCode.PERMISSION_DENIED
            for user in ("ann", "mcp-agent"):
                assert wire.call(method, metadata=bearer(tokens[user])).code not in refusals
    wait_for(lambda: "user=mcp-agent account=system" in fleet.agent.log())
    assert "user=ann account=human" in fleet.agent.log()
    assert "eyJ" not in fleet.agent.log()
    assert sorted(fleet.mcias.validations()) == sorted([*tokens.values(), "eyJnobody"])  # once each


def test_roles_of_mcias_limit_an_account_also_in_streams(fleet: Fleet) -> None:
    """An account that loses the role of a deployer loses the streams of its changes; what only reads goes on."""
    account = fleet.mcias.accounts["ann"] = stand_ins.Account(PASSWORD, roles=("ops", "deployer:web"))
    fake = FakePodman(fleet.agent.home.folder.parent / "bin")
    cli = replace(fleet.cli, env={**fleet.cli.env, "MCP_TOKEN": fleet.mcias.token("ann")})
    fleet.agent.define("web", service("web"))
    fleet.agent.define("shop", service("shop"))
    assert cli.run("deploy", "-q", "web").code == DONE
    needed = "rift: ann may only deploy web (role deployer): deploy needs the role deployer for shop"
    check(cli.run("deploy", "-q", "shop"), AUTH, needed)
    fake.misbehave("hold", ["stop"])
    ended, kept = cli.popen("restart", "web"), cli.popen("logs", "web", "--follow")
    assert ended.stderr is not None
    assert kept.stdout is not None
    assert ended.stderr.readline()
    assert kept.stdout.readline()
    account.roles = ("reader",)
    said = ended.communicate(timeout=60)[1]
    needed = "mcp: rift: ann may only read (role reader): restart needs the role deployer for web"
    assert (ended.returncode, needed in said) == (AUTH, True), said
    assert kept.poll() is None
    kept.kill()
    kept.communicate(timeout=60)
    fake.behave()


def test_tokens_of_the_registry_count_for_nothing(fleet: Fleet, home: Home) -> None:
    done = home.token("add", "anna")
    assert done.code == 1
    assert done.errors == [
        f"mcp-agent: {home.config}: the backend is MCIAS, which manages all accounts; "
        "create the account in MCIAS; users get tokens with `mcp login`"
    ]
    home.write_config()
    local = home.new_token("anna")
    check(fleet.cli.run("whoami", env={"MCP_TOKEN": local}), AUTH, "rift: invalid token: rejected by MCIAS")


def test_mcias_is_away(fleet: Fleet) -> None:
    """Fails closed, says so, and mends itself."""
    token = fleet.mcias.token("ann")
    fleet.mcias.misbehaviour = stand_ins.replies(500, {})
    with connected(fleet.agent, token) as wire:
        answer = wire.call("NodeStatus")
        assert answer.code is grpc.StatusCode.UNAVAILABLE
        assert answer.details == (
            f"cannot verify the token: MCIAS at {fleet.mcias.address} sent an invalid response: HTTP status 500"
        )
        assert answer.hint == "check server_url"
        done = fleet.cli.run("whoami", "--json", env={"MCP_TOKEN": token})
        assert (done.code, done.errors) == (FAILED, [f"mcp: rift: {answer.details}; {answer.hint}"])
        fleet.mcias.misbehaviour = None
        assert wire.call("NodeStatus").code is grpc.StatusCode.OK


def test_many_calls_at_once_are_one_question(fleet: Fleet) -> None:
    token = fleet.mcias.token("ann")
    fleet.mcias.misbehaviour = stand_ins.late(0.5, fleet.mcias.validate({"token": token})[1])
    codes: list[grpc.StatusCode] = []
    with connected(fleet.agent, token) as wire:
        calls = [threading.Thread(target=lambda: codes.append(wire.call("WhoAmI").code)) for _ in range(20)]
        for call in calls:
            call.start()
        for call in calls:
            call.join()
    assert codes == [grpc.StatusCode.OK] * 20
    assert fleet.mcias.validations() == [token]


def test_a_silent_mcias_holds_up_nobody_else_and_not_the_end(fleet: Fleet) -> None:
    known, unknown = fleet.mcias.token("ann"), fleet.mcias.token("ann")
    with connected(fleet.agent, known) as wire:
        assert wire.call("WhoAmI").code is grpc.StatusCode.OK
        fleet.mcias.misbehaviour = stand_ins.hangs(8)
        waiting = threading.Thread(target=lambda: wire.call("WhoAmI", metadata=bearer(unknown)))
        waiting.start()
        wait_for(lambda: unknown in fleet.mcias.validations())
        assert wire.call("WhoAmI").code is grpc.StatusCode.OK
        assert waiting.is_alive(), "it was not waited for"
        fleet.agent.stop()
        waiting.join()


def test_an_agent_does_not_start_with_a_ca_that_it_cannot_use(home: Home, stand_in: MciasStandIn) -> None:
    home.write_config(more=f'[mcias]\nserver_url = "{stand_in.url}"\nca_cert = "{home.config}"\n')
    argv = [*home.command, "server", "--config", str(home.config)]
    done = run_program(argv, env=agent_env(home.folder), timeout=60)
    assert done.code == USAGE
    assert done.errors == [f"mcp-agent: {home.config}: mcias.ca_cert: {home.config} contains no PEM certificate"]


# --- login, whoami, logout ---


def test_login_whoami_logout(fleet: Fleet) -> None:
    check(fleet.cli.run("ps"), AUTH, f"no token in {fleet.token_file}; log in with `mcp login`")
    done = fleet.log_in("--username", "ann")
    assert (done.code, done.stderr) == (DONE, "")
    (token,) = fleet.mcias.tokens
    end = fleet.mcias.tokens[token][1]
    assert done.stdout == f"logged in as ann until {end:%Y-%m-%d %H:%M} UTC\n"
    assert fleet.token_file.read_text() == f"{token}\n"
    assert stat.S_IMODE(fleet.token_file.stat().st_mode) == 0o600
    assert [path.name for path in fleet.token_file.parent.iterdir()] == ["token"]
    assert fleet.mcias.requests[0][1] == {
        "username": "ann",
        "password": PASSWORD,
        "service_name": "mcp",
        "tags": [],
    }
    done = fleet.cli.run("whoami")
    assert (done.code, done.stderr) == (DONE, "")
    header, row = done.stdout.splitlines()
    assert header.split() == ["NODE", "STATE", "USER", "TYPE", "ROLE", "EXPIRES"]
    assert row.split() == ["rift", "ready", "ann", "human", "admin", end.isoformat(timespec="seconds")]
    done = fleet.cli.run("whoami", "--json", "--node", "rift")
    assert json.loads(done.stdout) == [
        {
            "node": "rift",
            "state": "ready",
            "user": "ann",
            "type": "human",
            "role": "admin",
            "services": [],
            "roles": ["ops"],
            "expires": end.isoformat(timespec="seconds"),
        }
    ]
    done = fleet.cli.run("logout")
    assert (done.code, done.stdout) == (DONE, f"logged out: removed {fleet.token_file}\n")
    assert not fleet.token_file.exists()
    done = fleet.cli.run("logout")
    assert (done.code, done.stdout) == (DONE, f"not logged in: {fleet.token_file} does not exist\n")


def test_a_second_login_replaces_the_first(fleet: Fleet) -> None:
    assert fleet.log_in("-u", "ann").code == DONE
    first = fleet.token_file.read_text()
    assert fleet.log_in("-u", "mcp-agent", password=f"{PASSWORD}\r\n").code == DONE
    assert fleet.token_file.read_text() != first
    assert '"user": "mcp-agent"' in fleet.cli.run("whoami", "--json").stdout


def test_a_login_that_is_refused_changes_nothing(fleet: Fleet) -> None:
    assert fleet.log_in("-u", "ann").code == DONE
    before = fleet.token_file.read_text()
    fleet.mcias.accounts["zoe"] = stand_ins.Account(PASSWORD, policy=False)
    fleet.mcias.accounts["tom"] = stand_ins.Account(PASSWORD, totp="123456")
    check(fleet.log_in("-u", "ann", password="wrong one"), AUTH, "rejected the user name and password")
    check(
        fleet.log_in("-u", "zoe"),
        AUTH,
        "does not allow zoe to log in to mcp; the password is correct",
    )
    check(fleet.log_in("-u", "tom"), AUTH, "an account with a second factor also needs --totp CODE")
    check(fleet.log_in("-u", "tom", "--totp", "000000"), AUTH, "with a new code")
    fleet.mcias.misbehaviour = stand_ins.half_an_answer
    check(fleet.log_in("-u", "ann"), UNREACHABLE, "closed the connection before the response was complete")
    fleet.mcias.misbehaviour = stand_ins.replies(302, b"", more={"Location": "https://127.0.0.1:1/"})
    check(fleet.log_in("-u", "ann"), FAILED, "a redirect (302), which is never followed")
    assert fleet.token_file.read_text() == before
    fleet.mcias.misbehaviour = None
    assert fleet.log_in("-u", "tom", "--totp", "123456").code == DONE


MISTAKES: list[tuple[list[str], str, str]] = [
    (["--password-stdin"], PASSWORD, "--password-stdin: no user name given; add --username USER"),
    (["--password-stdin", "-u", "ann"], "", "the password is empty"),
    (["--password-stdin", "-u", "ann"], "a\nb\n", "--password-stdin: expected one line on stdin"),
    (["--password-stdin", "-u", ""], PASSWORD, "--username: expected a name"),
    (["--password-stdin", "-u", "a\nb"], PASSWORD, "--username: expected a name"),
    (["--password-stdin", "-u", "ann", "--totp", "12345"], PASSWORD, "--totp: expected a code of 6 to 8 digits"),
    (["--password-stdin", "-u", "ann", "--node", "rift"], PASSWORD, "--node: only valid with --token-stdin"),
    (["--password-stdin", "--token-stdin"], PASSWORD, "not allowed with argument"),
    (["--token-stdin", "-u", "ann"], "x", "cannot be combined with --username and --totp"),
    (["--token-stdin", "--node", "orion"], "x", "no node named orion"),
    (["-u", "ann"], "", "no terminal to ask for the password; pipe it in with --password-stdin"),
    ([], "", "no terminal to ask for the user name; add --username USER --password-stdin"),
]


def test_mistakes(fleet: Fleet) -> None:
    for args, stdin, words in MISTAKES:
        argv = ["setsid", "-w", *fleet.cli.command, "login", *args]  # away from any terminal
        done = run_program(argv, env=fleet.cli.environment(), stdin=stdin)
        check(done, FAILED if "orion" in words else USAGE, words)
    assert fleet.mcias.requests == []


def test_stdin_that_is_no_text(fleet: Fleet) -> None:
    argv = [*fleet.cli.command, "login", "-u", "ann", "--password-stdin"]
    done = subprocess.run(argv, input=b"\xff", env=fleet.cli.environment(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (USAGE, b"mcp: --password-stdin: stdin is not UTF-8 text\n")
    done = subprocess.run(argv, input=b"a" * 20_000, env=fleet.cli.environment(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (USAGE, b"mcp: --password-stdin: expected one line on stdin\n")


def test_a_token_that_cannot_be_stored(fleet: Fleet) -> None:
    fleet.token_file.parent.write_text("in the way")
    check(fleet.log_in("-u", "ann"), FAILED, str(fleet.token_file))


def test_an_expired_token_says_to_log_in_again(fleet: Fleet) -> None:
    for seconds in (2, 8, 32):  # a slow machine needs longer for its first command
        fleet.mcias.lifetime = timedelta(seconds=seconds)
        assert fleet.log_in("-u", "ann").code == DONE
        if (first := fleet.cli.run("whoami")).code == DONE:
            break
    assert first.code == DONE, first
    end = max(end for _, end in fleet.mcias.tokens.values())
    wait_for(lambda: datetime.now(UTC) > end)
    fleet.agent.define("web", 'name = "web"\nnode = "rift"\n[[components]]\nname = "web"\nimage = "a.example/b:v1"\n')
    again = fleet.agent.mcp_toml.read_text().partition("[[nodes]]")[2].replace("rift", "orion")
    with fleet.agent.mcp_toml.open("a") as file:  # a second node, which refuses it just the same
        file.write(f"[[nodes]]{again}")
    for argv in (["whoami"], ["whoami", "--json"], ["ps"], ["node", "list"], ["deploy", "web"]):
        done = fleet.cli.run(*argv)
        check(done, AUTH, f"rift: the token of ann expired at {end:%Y-%m-%d %H:%M} UTC; log in with `mcp login`")


def test_mcp_token_wins_and_login_says_so(fleet: Fleet) -> None:
    own = {"MCP_TOKEN": "eyJmine"}
    argv = [*fleet.cli.command, "login", "-u", "ann", "--password-stdin"]
    done = run_program(argv, env=fleet.cli.environment(own), stdin=PASSWORD)
    assert (done.code, done.stderr) == (
        DONE,
        "mcp: note: MCP_TOKEN is set and overrides the stored token\n",
    )
    words = "put a valid token into MCP_TOKEN, or unset it and run `mcp login`"
    check(fleet.cli.run("whoami", env=own), AUTH, words)
    done = fleet.cli.run("logout", env=own)
    assert (done.code, done.stderr) == (DONE, "mcp: note: MCP_TOKEN is still set and is used until you unset it\n")


def test_a_node_that_is_away_is_a_row(fleet: Fleet) -> None:
    assert fleet.log_in("-u", "ann").code == DONE
    more = '[[nodes]]\nname = "orion"\naddress = "127.0.0.1:1"\n'
    fleet.agent.mcp_toml.write_text(fleet.agent.mcp_toml.read_text() + more)
    done = fleet.cli.run("whoami")
    assert (done.code, len(done.errors)) == (UNREACHABLE, 1)
    assert [row.split()[:3] for row in done.stdout.splitlines()[1:]] == [
        ["rift", "ready", "ann"],
        ["orion", "unreachable", "-"],
    ]


# --- tokens of the local backend ---


@contextmanager
def local_fleet(home: Home, folder: Path) -> Iterator[Agent]:
    """An agent with the local backend."""
    fake = FakePodman.install(folder / "bin")
    with Agent.start(home, env=agent_env(home.folder, fake.folder)) as agent:
        home.token_file.unlink()
        yield agent


def test_a_token_made_on_the_node(home: Home, tmp_path: Path) -> None:
    with local_fleet(home, tmp_path) as agent:
        local = "create a token with `mcp-agent token add` on the node and pass it to `mcp login --token-stdin`"
        check(agent.cli.run("ps"), AUTH, local)
        check(agent.cli.run("login"), USAGE, "has no MCIAS to log in to", "`mcp login --token-stdin`")
        argv = [*agent.cli.command, "login", "--token-stdin"]
        token = home.new_token("ann", "--expires", "90d")
        guest = home.new_token("eve", "--role", "guest")
        for wrong, words in (
            (token + "x", local),
            ("a b", "invalid token: empty"),
            ("", "invalid token: empty"),
            (guest, "guest"),
        ):
            check(run_program(argv, env=agent.cli.environment(), stdin=wrong), AUTH, words)
            assert not home.token_file.exists()
        done = run_program(argv, env=agent.cli.environment(), stdin=f"{token}\n")
        assert (done.code, done.stderr) == (DONE, "")
        assert done.stdout.startswith("logged in on rift as ann until ")
        assert done.stdout.endswith(f" UTC; token stored in {home.token_file}\n")
        assert stat.S_IMODE(home.token_file.stat().st_mode) == 0o600
        assert agent.cli.run("ps").code == DONE
        endless = home.new_token("bob")
        assert run_program(argv, env=agent.cli.environment(), stdin=endless).code == DONE
        assert agent.cli.run("whoami").stdout.splitlines()[1].split() == [
            *("rift", "ready", "bob", "human", "admin", "never"),
        ]


# --- the terminal ---


class Terminal:
    """The CLI on a terminal of its own; what it writes there is `screen`."""

    def __init__(self, fleet: Fleet, *args: str) -> None:
        """Start `mcp ARGS`."""
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            ["setsid", "-c", *fleet.cli.command, *args],
            env=fleet.cli.environment(), stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        os.close(slave)
        self.screen = ""

    def expect(self, text: str) -> None:
        """Wait until it has written this."""
        while text not in self.screen:
            self.screen += os.read(self._master, 4096).decode()

    def type(self, text: str) -> None:
        """As a person would."""
        os.write(self._master, text.encode())

    def end(self) -> tuple[int, str, str]:
        """Wait for its end; exit code, stdout, stderr."""
        out, err = self.process.communicate(timeout=60)
        with suppress(OSError):  # nothing was left on it
            self.screen += os.read(self._master, 4096).decode()
        os.close(self._master)
        return self.process.returncode, out, err


def test_the_password_is_asked_for_and_not_shown(fleet: Fleet) -> None:
    terminal = Terminal(fleet, "login")
    terminal.expect("User name: ")
    terminal.type("ann\n")
    terminal.expect("Password: ")
    assert PASSWORD not in " ".join(command_line(terminal.process.pid))
    terminal.type(f"{PASSWORD}\n")
    code, out, err = terminal.end()
    assert (code, err) == (DONE, "")
    assert out.startswith("logged in as ann until ")
    assert PASSWORD not in terminal.screen
    assert "ann" in terminal.screen  # so what is typed would show
    (token,) = fleet.mcias.tokens
    for text in (terminal.screen, out, fleet.agent.log()):
        assert token not in text


def test_ctrl_c_and_ctrl_d_at_the_prompt(fleet: Fleet) -> None:
    for key, code, words in (("\x03", 130, ""), ("\x04", USAGE, "mcp: Password: not given\n")):
        terminal = Terminal(fleet, "login", "-u", "ann")
        terminal.expect("Password: ")
        terminal.type(key)
        assert terminal.end() == (code, "", words)
    assert fleet.mcias.requests == []


def test_a_password_is_not_taken_from_a_terminal_that_shows_it(fleet: Fleet) -> None:
    terminal = Terminal(fleet, "login", "-u", "ann", "--password-stdin")
    code, _, err = terminal.end()
    assert (code, err.count("\n")) == (USAGE, 1)
    assert "--password-stdin: stdin is a terminal, which would echo the input" in err
