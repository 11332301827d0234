"""Nodes by name: the certificate must have the name, and one dead address of several does not matter."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.admin.pki import KeyPair
from mcp.client.patience import DEFAULT
from tests.agents import Cli, make_home, write_cli_config
from tests.component.conftest import Rig
from tests.terminals import on_terminal
from tests.unit.test_dial import black_hole

REAL = socket.getaddrinfo
SOON = "3"  # seconds that a silent node gets


@pytest.fixture
def cli(tmp_path: Path, ca: KeyPair, shared: Rig) -> Cli:
    """The CLI with the agent's node at localhost, a name that its certificate has."""
    home = make_home(tmp_path, ca)
    home.token_file.write_text(shared.agent.token)
    return Cli(write_cli_config(home, f"localhost:{shared.agent.port}"))


def resolve_to(monkeypatch: pytest.MonkeyPatch, *ends: tuple[str, int]) -> None:
    """Let the system resolve every name to these ends."""

    def getaddrinfo(host: str, port: int, *, flags: int = 0, **more: Any) -> list[object]:
        if flags & socket.AI_NUMERICHOST:
            return list(REAL(host, port, flags=flags, **more))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", end) for end in ends]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_a_dead_and_a_live_address(monkeypatch: pytest.MonkeyPatch, cli: Cli, shared: Rig) -> None:
    live = ("127.0.0.1", shared.agent.port)
    resolve_to(monkeypatch, ("127.0.0.2", shared.agent.port), live)
    assert (cli.run("ps").code, cli.run("ps").stderr) == (0, "")
    with black_hole() as silent:
        resolve_to(monkeypatch, (silent.sockaddr[0], silent.sockaddr[1]), live)
        done = cli.run("node", "list")
    assert (done.code, done.stderr) == (0, "")
    assert "ready" in done.stdout


def test_only_dead_addresses(monkeypatch: pytest.MonkeyPatch, cli: Cli, shared: Rig) -> None:
    port = shared.agent.port
    resolve_to(monkeypatch, ("127.0.0.2", port), ("127.0.0.3", port))
    done = cli.run("ps")
    assert done.code == 4
    assert done.stderr == (
        f"mcp: rift: no address of localhost answers: 127.0.0.2:{port} refuses the connection, "
        f"127.0.0.3:{port} refuses the connection; check that the node is up and its address in mcp.toml\n"
    )
    resolve_to(monkeypatch, ("127.0.0.2", port))
    done = cli.run("ps")
    assert done.errors == [
        f"mcp: rift: localhost:{port} (127.0.0.2) refuses the connection; check that mcp-agent runs there "
        "(systemctl status mcp-agent)"
    ]


def test_the_certificate_is_checked_for_the_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ca: KeyPair, shared: Rig
) -> None:
    home = make_home(tmp_path, ca)
    home.token_file.write_text(shared.agent.token)
    for ends in ([("127.0.0.1", shared.agent.port)], [("127.0.0.2", 1), ("127.0.0.1", shared.agent.port)]):
        resolve_to(monkeypatch, *ends)
        done = Cli(write_cli_config(home, f"rift.test:{shared.agent.port}")).run("ps")
        assert done.code == 4
        (line,) = done.errors
        assert f"rift.test:{shared.agent.port} (127.0.0.1) presented an untrusted certificate: " in line
        assert "rift.test" in line
        assert line.endswith("; the address in mcp.toml must be one of the certificate's names")


def test_an_unknown_name(tmp_path: Path, ca: KeyPair) -> None:
    home = make_home(tmp_path, ca)
    done = Cli(write_cli_config(home, "rift.invalid:9444")).run("ps")
    assert done.code == 4
    (line,) = done.errors
    assert line.startswith("mcp: rift: rift.invalid: ")
    assert line.endswith("; check the node's address in mcp.toml") or line.endswith("; check DNS here")


@pytest.fixture
def with_silent(tmp_path: Path, ca: KeyPair, shared: Rig) -> Iterator[Cli]:
    """The CLI with two nodes: rift, which accepts connections and never says anything, and the agent, rift2."""
    home = make_home(tmp_path, ca)
    home.token_file.write_text(shared.agent.token)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield Cli(write_cli_config(home, f"127.0.0.1:{silent.getsockname()[1]}", shared.agent.address))


@pytest.mark.parametrize("command", ["ps", "list", "status", "node list", "agent status", "whoami"])
def test_a_silent_node_gets_only_the_time_of_the_option(with_silent: Cli, command: str) -> None:
    began = time.monotonic()
    done = with_silent.run("--timeout", SOON, *command.split())
    assert time.monotonic() - began < DEFAULT.connect
    assert done.code == 4
    assert len(done.errors) == 1
    assert "does not respond" in done.stderr
    assert done.stdout.splitlines()[-1].split().count("rift") == 1, "its row is the last one"


def test_the_other_nodes_are_shown_while_it_is_waited_for(with_silent: Cli) -> None:
    argv = [*with_silent.command, "--timeout", SOON, "node", "list"]
    shown = on_terminal(argv, with_silent.environment(), columns=120)
    assert shown.code == 4
    before, waiting, after = shown.text.partition(f"\r\x1b[Kwaiting for rift (up to {SOON} s)…\r\x1b[K")
    assert waiting
    assert [row.split()[0] for row in before.splitlines()] == ["NODE", "rift2"]
    row, error = after.splitlines()
    assert row.split()[0] == "rift"
    assert error.startswith("mcp: rift: ")


def test_a_change_says_what_it_waits_for(with_silent: Cli) -> None:
    argv = [*with_silent.command, "--timeout", SOON, "stop", "web", "--node", "rift"]
    shown = on_terminal(argv, with_silent.environment())
    assert shown.code == 4
    assert "waiting for rift…" in shown.text
    assert shown.lines[-1].rpartition("\x1b[K")[2].startswith("mcp: rift: ")
