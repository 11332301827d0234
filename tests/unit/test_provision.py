"""The parts of provisioning that need no node: addresses, the configuration it writes, and what it will not touch."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from agent.auth.backends import is_token
from agent.config import load
from mcp.client.session import Session
from mcp.config import configuration
from mcp.config.configuration import Node
from mcp.nodes.provision import agent, certificate, check, system
from mcp.nodes.provision.agent import config_text, listen_address, settings_of, unit_text
from mcp.nodes.provision.steps import Steps
from mcp.nodes.ssh import Ssh
from mcp.shared.errors import InvalidInput, McpError, NotReady
from mcp.shared.proc import Completed
from mcp.shared.url import Endpoint, MciasConfig

RIFT = Node("rift", "10.0.0.5:9444")


@pytest.mark.parametrize(
    ("address", "listen", "found"),
    [
        ("10.0.0.5:9444", "", "10.0.0.5:9444"),
        ("[fd00::5]:9444", "", "[fd00::5]:9444"),
        ("10.0.0.5:9444", "0.0.0.0", "0.0.0.0:9444"),
        ("nat.example.net:9444", "fd00::5", "[fd00::5]:9444"),
        ("localhost:9444", "127.0.0.1", "127.0.0.1:9444"),
    ],
)
def test_where_the_agent_listens(address: str, listen: str, found: str) -> None:
    assert listen_address(Node("rift", address), listen, ["10.0.0.5", "fd00::5"]) == found


def test_an_address_that_is_not_the_node_s_is_refused() -> None:
    with pytest.raises(NotReady, match=r"rift has no address 10.0.0.5; its addresses: 10.0.0.6; .* --listen IP"):
        listen_address(RIFT, "", ["10.0.0.6"])
    with pytest.raises(InvalidInput, match="--listen: rift is not an IP address"):
        listen_address(RIFT, "rift", [])
    with pytest.raises(NotReady, match=r"nowhere.invalid: unknown host name"):
        listen_address(Node("rift", "nowhere.invalid:1"), "", [])


@pytest.mark.parametrize("ca", [None, Path("/etc/mcias.pem")])
def test_the_agent_takes_the_configuration_that_is_written(tmp_path: Path, ca: Path | None) -> None:
    path = tmp_path / "mcp-agent.toml"
    path.write_text(config_text(RIFT, "10.0.0.5:9444", None))
    local = load(path)
    assert (local.grpc_addr, local.node_name, local.mcias) == ("10.0.0.5:9444", "rift", None)
    assert settings_of(RIFT, f"\ufeff{path.read_text()}") == agent.AgentSettings(
        str(local.tls_cert), str(local.tls_key)
    )
    path.write_text(config_text(RIFT, "10.0.0.5:9444", MciasConfig(Endpoint("mcias.example.net", 8443), ca, "mcp")))
    mcias = load(path).mcias
    assert mcias is not None
    assert (mcias.endpoint.host, mcias.endpoint.port) == ("mcias.example.net", 8443)
    assert str(mcias.ca_cert) == ("None" if ca is None else agent.MCIAS_CA)


@pytest.mark.parametrize(
    ("node", "text", "said"),
    [
        (
            Node("orion", "10.0.0.5:9444"),
            config_text(RIFT, "10.0.0.5:9444", None),
            "node_name = rift; check that this is the right",
        ),
        (
            Node("rift", "10.0.0.5:1"),
            config_text(RIFT, "10.0.0.5:9444", None),
            "listens on 10.0.0.5:9444, but mcp.toml",
        ),
        (RIFT, "= nonsense", "is invalid"),
        (RIFT, "[server]\n", "is invalid"),
    ],
)
def test_a_configuration_for_something_else_is_refused(node: Node, text: str, said: str) -> None:
    with pytest.raises(NotReady, match=said):
        settings_of(node, text)


def test_the_unit_has_the_uid_everywhere() -> None:
    text = unit_text(4321)
    assert "@UID@" not in text
    assert "Environment=XDG_RUNTIME_DIR=/run/user/4321\n" in text
    assert "After=network-online.target user@4321.service" in text
    assert f"ExecStart=/usr/bin/python3 -I {agent.AGENT} server --config {agent.CONFIG}\n" in text


@pytest.mark.parametrize("line", ["mcp:x:\x1b[31mNaN", "mcp", "mcp:x:850", "other:x:850:850::/srv/mcp:/bin/sh"])
def test_an_account_that_is_none_is_one_line(line: str) -> None:
    with pytest.raises(McpError, match=r"^rift: invalid passwd entry of user mcp: \"[ -~]+\"$"):
        system._account(RIFT, {"account": line})


def test_an_account_is_taken_as_it_is() -> None:
    for line in ("mcp:x:850:850:MCP agent:/srv/mcp:/bin/bash", ""):
        assert system._account(RIFT, {"account": line}) == line


class Accounts:
    """A connection to a node of which only getent(1) is asked."""

    node = RIFT

    def __init__(self, **entries: str) -> None:
        self.entries = entries

    async def run(self, argv: Sequence[str]) -> Completed:
        """Look the entry up by database and key."""
        line = self.entries.get(f"{argv[1]}_{argv[2]}", "")
        return Completed(tuple(argv), 0 if line else 2, line.encode(), b"")


def choose(account: str = "", uid: int | None = None, **entries: str) -> int:
    facts = system.SystemFacts("12", "amd64", (), account)
    return asyncio.run(system.choose_uid(cast("Ssh", Accounts(**entries)), facts, uid))


def test_user_and_group_have_one_number() -> None:
    user, group = "mcp:x:850:850:MCP agent:/srv/mcp:/bin/bash", "mcp:x:850:\n"
    assert choose() == 850
    assert choose(group_mcp=group, group_850=group) == 850
    assert choose(uid=9000, group_mcp="mcp:x:9000:\n", group_9000="mcp:x:9000:\n") == 9000
    assert choose(user, group_mcp=group) == 850
    what = "a group mcp with the GID 9000 exists, but mcp is to have the UID and GID 850; rename or remove that group"
    with pytest.raises(NotReady, match=rf"^rift: {what}, or give --uid 9000$"):
        choose(group_mcp="mcp:x:9000:\n")
    with pytest.raises(NotReady, match=r"^rift: user mcp has the primary GID 850, group mcp has 9000; make mcp"):
        choose(user, group_mcp="mcp:x:9000:\n")
    with pytest.raises(NotReady, match="group mcp has none"):
        choose(user)


def test_tokens_made_here_are_those_of_agents() -> None:
    assert is_token(check.TOKEN_PREFIX + "a" * 43)


def test_the_fleet_s_own_ca_is_taken_where_no_other_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mcp.toml"
    path.write_text("")
    assert configuration.load(path).ca_cert is None
    (tmp_path / "ca.pem").write_text("")
    assert configuration.load(path).ca_cert == tmp_path / "ca.pem"
    path.write_text('[auth]\nca_cert = "/etc/other.pem"\n')
    assert configuration.load(path).ca_cert == Path("/etc/other.pem")


def meanwhile(monkeypatch: pytest.MonkeyPatch, module: object, other: Callable[[], object]) -> None:
    """Have another provisioning do its part just before we get the lock."""

    @contextmanager
    def locked(_path: Path) -> Iterator[None]:
        other()
        yield

    monkeypatch.setattr(module, "locked", locked)


def test_two_first_provisionings_at_once_make_one_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MCP_TOKEN", raising=False)
    path = tmp_path / "mcp.toml"
    path.write_text("")
    meanwhile(monkeypatch, check, lambda: Session(path).store_token("mcp_theirs"))
    assert check._token(Session(path), keep=True) == ("mcp_theirs", False)
    assert check._token(Session(path), keep=True) == ("mcp_theirs", False)


def test_a_dry_run_keeps_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MCP_TOKEN", raising=False)
    path = tmp_path / "mcp.toml"
    path.write_text("")
    token, is_new = check._token(Session(path), keep=False)
    assert (is_token(token), is_new, [each.name for each in tmp_path.iterdir()]) == (True, True, ["mcp.toml"])


def test_two_first_provisionings_at_once_make_one_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mcp.toml"
    path.write_text("")
    authority = certificate.Authority(configuration.load(path), None)
    meanwhile(monkeypatch, certificate, lambda: authority.cert.write_text("theirs"))
    steps = Steps(cast("Ssh", None), lambda _state, _what, _details: None, dry_run=False)
    asyncio.run(authority.make(steps))
    assert authority.cert.read_text() == "theirs"
