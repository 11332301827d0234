"""`mcp-agent dev`: an agent without configuration, for evaluation and development.

Creates a state folder with a CA and a certificate for loopback, a token, the registry, the agent's configuration, and
the configuration of `mcp` in `cli/`; later starts reuse it.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from agent.admin.tokens import issue
from agent.config import AgentConfig, load
from agent.store.registry import Registry
from mcp.shared import proc
from mcp.shared.files import Trust, private_folder, read_file, write_atomic, xdg_folder

NODE = "dev"
DEFAULT_PORT = 9444
CERTIFICATE_DAYS = 800


@dataclass(frozen=True)
class DevState:
    """The paths in the state folder."""

    folder: Path

    @property
    def agent_toml(self) -> Path:
        """The agent's configuration file."""
        return self.folder / "mcp-agent.toml"

    @property
    def cli_folder(self) -> Path:
        """The CLI's configuration folder."""
        return self.folder / "cli"

    @property
    def mcp_toml(self) -> Path:
        """The CLI's configuration file."""
        return self.cli_folder / "mcp.toml"


def default_folder() -> Path:
    """Return the default state folder."""
    return xdg_folder("XDG_STATE_HOME", ".local/state") / "mcp" / "dev"


def prepare(folder: Path, port: int) -> tuple[DevState, AgentConfig]:
    """Create missing parts of the state folder, and return the agent's configuration; raises McpError."""
    state = DevState(Path(os.path.abspath(folder)))  # noqa: PTH100 - resolve() would follow links
    for part in (state.folder, state.folder / "srv", state.cli_folder, state.cli_folder / "services"):
        private_folder(part)
    _certificates(state.folder)
    write_atomic(state.agent_toml, _agent_toml(state.folder, port).encode())
    _token(state)
    write_cli_config(state, port)
    return state, load(state.agent_toml)


def write_cli_config(state: DevState, port: int) -> None:
    """Write the CLI's configuration, again when port 0 is resolved."""
    write_atomic(state.mcp_toml, _mcp_toml(state, port).encode())


def greeting(state: DevState, address: str) -> str:
    """Return the instructions for a first use."""
    return (
        f"mcp-agent dev: serving on {address} as node {NODE}; Ctrl-C ends it, containers stay\n"
        f"\n"
        f"  services go into   {state.cli_folder}/services/NAME.toml\n"
        f"  to use it          export MCP_CONFIG={state.mcp_toml}\n"
        f"                     mcp ps\n"
        f"\n"
    )


def _certificates(folder: Path) -> None:
    """Create CA and server certificate if missing or old, in a child to keep cryptography out of memory."""
    files = [folder / name for name in ("ca.pem", "ca.key", "cert.pem", "key.pem")]
    if not all(file.exists() for file in files) or _old(folder / "cert.pem"):
        proc.in_child(lambda: _make_certificates(*files))


def _make_certificates(ca_file: Path, ca_key: Path, cert: Path, key: Path) -> None:
    from agent.admin.pki import KeyPair, make_ca, make_server_certificate

    cert.unlink(missing_ok=True)  # written last: if killed before, the next start creates the pair again
    if not (ca_file.exists() and ca_key.exists()):
        ca = make_ca("MCP dev CA")
        write_atomic(ca_key, ca.key)
        write_atomic(ca_file, ca.certificate, 0o644)
    ca = KeyPair(read_file(ca_file, Trust.OWN), read_file(ca_key, Trust.SECRET))
    pair = make_server_certificate(ca, ["localhost", "127.0.0.1", "::1"], CERTIFICATE_DAYS)
    write_atomic(key, pair.key)
    write_atomic(cert, pair.certificate, 0o644)


def _old(certificate: Path) -> bool:
    return time.time() - certificate.stat().st_mtime > CERTIFICATE_DAYS * 86400 / 2


def _token(state: DevState) -> None:
    """Write a token file with a valid token if it is missing."""
    path = state.cli_folder / "token"
    if path.exists():
        return
    registry = Registry(state.folder / "mcp.db")
    try:
        if any(token.name == NODE for token in registry.tokens.select()):
            registry.tokens.revoke(NODE)
        write_atomic(path, f"{issue(registry, NODE)}\n".encode())
    finally:
        registry.close()


def _agent_toml(folder: Path, port: int) -> str:
    return f"""\
# Written by `mcp-agent dev` at each start; do not edit.
[server]
grpc_addr = "127.0.0.1:{port}"
tls_cert = {_toml(folder / "cert.pem")}
tls_key = {_toml(folder / "key.pem")}

[database]
path = {_toml(folder / "mcp.db")}

[agent]
node_name = "{NODE}"
settle = "2s"
services_root = {_toml(folder / "srv")}

[auth]
backend = "local"
"""


def _mcp_toml(state: DevState, port: int) -> str:
    return f"""\
# Written by `mcp-agent dev` at each start; do not edit.
[services]
dir = {_toml(state.cli_folder / "services")}

[auth]
token_path = {_toml(state.cli_folder / "token")}
ca_cert = {_toml(state.folder / "ca.pem")}

[[nodes]]
name = "{NODE}"
address = "127.0.0.1:{port}"
"""


def _toml(path: Path) -> str:
    """Return a path as a TOML basic string."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
