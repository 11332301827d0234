"""`mcp-agent dev`'s state folder: what it writes, both programs can read."""

import stat
from pathlib import Path

import pytest

from agent.admin import dev
from agent.store.registry import Registry
from mcp.config import configuration as cli_configuration
from mcp.shared.errors import McpError


@pytest.mark.parametrize(
    "name", ["dev", "with space", 'quo"te', "back\\slash", "new\nline", "größe", "emoji-🙂", "$HOME"]
)
def test_any_folder_will_do(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    state, config = dev.prepare(folder, 9555)
    assert (config.grpc_addr, config.node_name, config.database) == ("127.0.0.1:9555", "dev", folder / "mcp.db")
    cli = cli_configuration.load(state.mcp_toml)
    assert (cli.node("dev").address, cli.services_dir) == ("127.0.0.1:9555", folder / "cli/services")
    assert cli.token_path.read_text().startswith("mcp_")
    assert cli_configuration.read_ca(cli) == (folder / "ca.pem").read_bytes()


def test_only_its_owner_can_read_what_is_in_it(tmp_path: Path) -> None:
    dev.prepare(tmp_path / "dev", 0)
    assert stat.S_IMODE((tmp_path / "dev").stat().st_mode) == 0o700
    public = {"ca.pem", "cert.pem"}  # certificates
    for path in (tmp_path / "dev").rglob("*"):
        wanted = 0o700 if path.is_dir() else 0o644 if path.name in public else 0o600
        assert (path.name, oct(stat.S_IMODE(path.stat().st_mode))) == (path.name, oct(wanted))


def test_started_again_it_finds_its_state(tmp_path: Path) -> None:
    state, _ = dev.prepare(tmp_path / "dev", 1111)
    kept = ["ca.pem", "ca.key", "cert.pem", "key.pem", "cli/token"]
    before = [(state.folder / name).read_bytes() for name in kept]
    dev.prepare(tmp_path / "dev", 2222)
    assert [(state.folder / name).read_bytes() for name in kept] == before
    assert cli_configuration.load(state.mcp_toml).nodes[0].address == "127.0.0.1:2222"


def test_a_lost_token_is_replaced(tmp_path: Path) -> None:
    state, config = dev.prepare(tmp_path / "dev", 0)
    token = state.cli_folder / "token"
    before = token.read_text()
    token.unlink()
    dev.prepare(tmp_path / "dev", 0)
    assert token.read_text() != before
    registry = Registry(config.database)
    assert [row.name for row in registry.tokens.select()] == ["dev"]
    registry.close()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(McpError, match="cannot be created: "):
        dev.prepare(tmp_path / "file" / "dev", 0)


def test_the_greeting_names_what_to_do(tmp_path: Path) -> None:
    text = dev.greeting(dev.DevState(tmp_path), "127.0.0.1:9444")
    assert f"export MCP_CONFIG={tmp_path}/cli/mcp.toml" in text
    assert "127.0.0.1:9444" in text
