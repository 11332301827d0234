"""The agent on a node: the built zipapp, its files and the unit, put there by hand; and the CLI of an operator."""

import json
from dataclasses import dataclass
from pathlib import Path

from agent.admin.pki import KeyPair, make_ca, make_server_certificate
from mcp.nodes.layout import UID
from mcp.shared.resources import ROOT
from tests.agents import Cli, Outcome
from tests.zipapps import PYTHON, built
from tools.nodelib.node import Node

PORT = 9444
AGENT = ["/usr/bin/python3", "-I", "/srv/mcp/mcp-agent"]
UNIT = "/etc/systemd/system/mcp-agent.service"

CONFIG = """\
[server]
grpc_addr = "{address}:{port}"
tls_cert = "/srv/mcp/certs/cert.pem"
tls_key = "/srv/mcp/certs/key.pem"
[database]
path = "/srv/mcp/mcp.db"
[agent]
node_name = "{name}"
settle = "300ms"
{more}
"""


@dataclass(frozen=True)
class Installed:
    """A node with an agent, and the CLI that is configured for it."""

    node: Node
    cli: Cli

    def show(self, name: str, unit: str = "mcp-agent.service") -> str:
        """A property of a unit, as `systemctl show` has it."""
        return self.node.run(["systemctl", "show", f"--property={name}", "--value", unit]).stdout.strip()

    @property
    def pid(self) -> int:
        """The agent's process, as the node counts; 0 where there is none."""
        return int(self.show("MainPID"))

    def systemctl(self, *arguments: str) -> None:
        """Run it to its end; HostError where it fails."""
        self.node.run(["systemctl", *arguments])

    def log(self) -> str:
        """What the unit has logged, with what systemd says about it."""
        return self.node.run(["journalctl", "--output=cat", "--unit=mcp-agent.service"]).stdout

    def define(self, name: str, components: str) -> None:
        """Write a service definition; `components` is all but name and node."""
        head = f'name = "{name}"\nnode = "{self.node.name}"\n'
        (self.cli.config.parent / "services" / f"{name}.toml").write_text(head + components)

    def mcp(self, *arguments: str) -> Outcome:
        """Run the CLI; it must succeed."""
        done = self.cli.run(*arguments)
        assert done.code == 0, f"{done.stdout}{done.stderr}\n{self.log()}"
        return done

    def states(self) -> dict[str, str]:
        """State by SERVICE/COMPONENT."""
        rows = json.loads(self.mcp("ps", "--json").stdout)
        return {f"{row['service']}/{row['component']}": row["state"] for row in rows}


def install(node: Node, folder: Path, *, more: str = "", ca: KeyPair | None = None) -> Installed:
    """Install the agent, enabled but not started; `folder` is for the CLI, `more` for the end of mcp-agent.toml.

    `ca` is for fleets whose nodes have one in common.
    """
    ca = ca or make_ca("MCP test CA")
    pair = make_server_certificate(ca, [node.address])
    node.run(["install", "-d", "-m", "0700", "-o", "mcp", "-g", "mcp", "/srv/mcp/certs"])
    config = CONFIG.format(address=node.address, port=PORT, name=node.name, more=more)
    for path, content, mode in (
        ("/srv/mcp/certs/cert.pem", pair.certificate, 0o644),
        ("/srv/mcp/certs/key.pem", pair.key, 0o600),
        ("/srv/mcp/mcp-agent.toml", config, 0o600),
        ("/srv/mcp/mcp-agent", built("mcp-agent").read_bytes(), 0o755),
    ):
        node.write(path, content, owner="mcp", mode=mode)
    node.write(UNIT, (ROOT / "deploy/mcp-agent.service").read_text().replace("@UID@", str(UID)))
    node.run(["systemctl", "daemon-reload"])
    node.run(["systemctl", "enable", "mcp-agent.service"])
    token = node.run([*AGENT, "token", "add", "kyle"], user="mcp").stdout.strip()
    return Installed(node, _cli(folder, node, ca.certificate, token))


def _cli(folder: Path, node: Node, ca: bytes, token: str) -> Cli:
    (folder / "services").mkdir(parents=True)
    (folder / "ca.pem").write_bytes(ca)
    (folder / "token").write_text(token)
    (folder / "token").chmod(0o600)
    config = folder / "mcp.toml"
    config.write_text(
        f'[auth]\nca_cert = "{folder}/ca.pem"\ntoken_path = "{folder}/token"\n'
        f'[[nodes]]\nname = "{node.name}"\naddress = "{node.address}:{PORT}"\n'
    )
    return Cli(config, (PYTHON, "-I", str(built("mcp"))), folder)
