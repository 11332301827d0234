"""Nodes by name: the certificate must have the name, and one dead address of several does not matter."""

import socket
from pathlib import Path
from typing import Any

import pytest

from agent.admin.pki import KeyPair
from tests.agents import Cli, make_home, write_cli_config
from tests.component.conftest import Rig
from tests.unit.test_dial import black_hole

REAL = socket.getaddrinfo


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


def test_an_unknown_name(tmp_path: Path, ca: KeyPair) -> None:
    home = make_home(tmp_path, ca)
    done = Cli(write_cli_config(home, "rift.invalid:9444")).run("ps")
    assert done.code == 4
    (line,) = done.errors
    assert line.startswith("mcp: rift: rift.invalid: ")
    assert line.endswith("; check the node's address in mcp.toml") or line.endswith("; check DNS here")
