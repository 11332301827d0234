"""A fleet to upgrade: nodes with an agent each, two services that a client watches, and files of several agents."""

import hashlib
import urllib.request
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from agent.admin.pki import make_ca
from tests.agents import SYSTEM_PATH, Cli, Outcome
from tests.fleet.client import asking
from tests.fleet.install import PORT, install
from tests.fleet.operator import WRAPPER
from tests.waiting import wait_for
from tests.zipapps import OWN_ARCH, PYTHON, built, forged
from tools.nodelib.fleet import Fleet
from tools.nodelib.node import Node

OLD, NEW, CRASHING = "0.0.9", "0.2.0", "0.3.0"  # the first is below the minimum: it has to be upgraded
MIGRATING, MIGRATING_CRASHING, MIGRATING_MUTE = "0.4.0", "0.5.0", "0.6.0"
AGENT = "/srv/mcp/mcp-agent"
STATE = "/var/lib/mcp-agent-switch"
WEB = """\
name = "web-{node}"
node = "{node}"
[[components]]
name = "web"
image = "localhost/mcp-web:1.0.0"
ports = ["8080:8080"]
"""


def agent_file(folder: Path, version: str, arch: str = OWN_ARCH, **modules: str) -> Path:
    """A folder with an agent that says it is that version; `modules` replace its own."""
    folder.mkdir()
    stamp = f'VERSION = "{version}"\nCOMMIT = "{"0" * 40}"\n'
    ident = hashlib.sha256(version.encode()).hexdigest()[:16]
    forged(built("mcp-agent", arch), folder / "mcp-agent.pyz", ident, **{"mcp/shared/_stamp": stamp, **modules})
    return folder


def page(node: Node) -> bytes:
    body: bytes = urllib.request.urlopen(f"http://{node.address}:8080/", timeout=5).read()
    return body


@dataclass
class Upgrades:
    """The nodes, and the operator's side."""

    fleet: Fleet
    folder: Path
    cli: Cli
    agents: dict[str, Path] = field(default_factory=dict)  # version -> folder for --from

    def node(self, name: str) -> Node:
        """One of the nodes."""
        return self.fleet[name]

    def mcp(self, *arguments: str, timeout: float = 120) -> Outcome:
        """Run the CLI."""
        return self.cli.run(*arguments, timeout=timeout)

    def upgrade(self, version: str, *arguments: str) -> Outcome:
        """Upgrade to that version, with a short deadline."""
        return self.mcp("agent", "upgrade", "--from", str(self.agents[version]), "--deadline", "10s", *arguments)

    def versions(self) -> dict[str, str]:
        """What each agent says that it is, where it answers."""
        done = self.mcp("agent", "status")
        rows = [line.split() for line in done.stdout.splitlines()[1:]]
        return {row[0]: row[1] for row in rows}

    def reset(self, *names: str) -> None:
        """The old agent, and no trace of any upgrade."""
        old = (self.agents[OLD] / "mcp-agent.pyz").read_bytes()
        for name in names:
            node = self.node(name)
            wait_for(lambda node=node: not is_busy(node))  # type: ignore[misc]
            node.run(["sh", "-c", f"systemctl stop mcp-agent; rm -rf {AGENT}.prev* {AGENT}.new {STATE}"])
            node.write(AGENT, old, owner="mcp", mode=0o755)
            node.run(["sh", "-c", "systemctl reset-failed mcp-agent; systemctl start mcp-agent"])

    def watched(self, *names: str) -> AbstractContextManager[None]:
        """A client asks these nodes' containers all the time; each request must be answered."""
        return asking({name: partial(page, self.node(name)) for name in names})


def is_busy(node: Node) -> bool:
    """Whether a switch is under way there."""
    argv = ["systemctl", "is-active", "mcp-agent-switch.service", "mcp-agent-switch-resume.service"]
    return "activ" in node.run(argv, check=False).stdout.replace("inactive", "")


def left_behind(node: Node) -> set[str]:
    """What is there of upgrades but the kept agent and the last result."""
    script = f"ls -d {AGENT}* {STATE}/* /etc/systemd/system/mcp-agent-switch* /srv/mcp/.cache/mcp/mcp-agent/*.tmp; true"
    found = set(node.run(["sh", "-c", f"{{ {script}; }} 2>/dev/null"]).stdout.split())
    return found - {AGENT, f"{AGENT}.toml", f"{AGENT}.prev", f"{AGENT}.prev.db", f"{STATE}/result"}


def make(fleet: Fleet, folder: Path) -> Upgrades:
    """Install the old agent on every node of the fleet, and make the operator's side; nothing is deployed yet."""
    ca = make_ca("MCP test CA")
    (folder / "bin").mkdir()
    (folder / "services").mkdir()
    (folder / "bin/ssh").write_text(WRAPPER.format(config=fleet.ssh_config))
    (folder / "bin/ssh").chmod(0o755)
    token = ""
    for name, node in fleet.nodes.items():
        made = install(node, folder / f"own-{name}", ca=ca)
        if token:
            argv = ["/usr/bin/python3", "-I", AGENT, "token", "add", "operator", "--token-stdin"]
            node.run(argv, user="mcp", stdin=token.encode())
        else:
            token = (made.cli.config.parent / "token").read_text()
    (folder / "ca.pem").write_bytes(ca.certificate)
    (folder / "token").write_text(token)
    (folder / "token").chmod(0o600)
    tables = [f'[[nodes]]\nname = "{name}"\naddress = "{node.address}:{PORT}"\n' for name, node in fleet.nodes.items()]
    config = folder / "mcp.toml"
    config.write_text(f'[auth]\nca_cert = "{folder}/ca.pem"\ntoken_path = "{folder}/token"\n' + "".join(tables))
    env = {"PATH": f"{folder}/bin:{SYSTEM_PATH}"}
    return Upgrades(fleet, folder, Cli(config, (PYTHON, "-I", str(built("mcp"))), folder, env))
