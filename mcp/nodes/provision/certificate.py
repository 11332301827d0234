"""Certificate of a node: the node generates the key and keeps it, the fleet's CA signs on this machine.

The CLI contains no cryptography: the agent's zipapp for this machine signs (`mcp-agent cert`).
"""

import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from mcp.config.addresses import parse_address
from mcp.config.configuration import CA_FILE, Config, Node
from mcp.config.node_entries import locked
from mcp.nodes import agent_file
from mcp.nodes.layout import USER
from mcp.nodes.provision.agent import CERTS, AgentSettings, as_mcp, public_file
from mcp.nodes.provision.steps import RemoteFile, Steps
from mcp.shared import proc
from mcp.shared.errors import InvalidInput, McpError, NotReady, shell_word
from mcp.shared.files import Trust, private_folder, read_file, read_secret

NODE_CA = f"{CERTS}/ca.pem"  # for checks on the node; agents do not trust it
SECONDS = 60.0


@dataclass(frozen=True)
class Own:
    """The operator's own certificate (with its chain) and key; both or neither.

    `replace` allows replacing a certificate of another authority by one of the fleet's CA.
    """

    cert: Path | None = None
    key: Path | None = None
    replace: bool = False


class Authority:
    """The CA that verifies agents, and the local agent file that signs with it."""

    def __init__(self, config: Config, folder: Path | None) -> None:
        """Take the `folder` of agent files (--from)."""
        self.cert = config.ca_cert or config.source.parent / CA_FILE
        self.key = self.cert.with_suffix(".key")
        self._folder = folder
        self._keys = config.release_keys
        self._agent: list[str] = []

    async def run(self, *arguments: str, stdin: bytes | None = None) -> bytes:
        """Run `mcp-agent cert ...` on this machine; raises McpError with its error."""
        if not self._agent:
            agent = await agent_file.find(agent_file.own_architecture(), self._folder, self._keys)
            self._agent = [sys.executable, "-I", str(agent.path)]
        done = await proc.run([*self._agent, "cert", *arguments], seconds=SECONDS, stdin=stdin)
        if done.returncode != 0:
            raise McpError(done.last_words().removeprefix("mcp-agent: "))
        return done.stdout

    def check(self) -> None:
        """Raise NotReady if the CA certificate exists without its key."""
        if self.cert.exists() and not self.key.exists():
            raise NotReady(
                f"{self.cert} exists, but its key {self.key} does not",
                "give a certificate of that CA with --cert and --key, or set another file in [auth] ca_cert",
            )

    async def make(self, steps: Steps) -> None:
        """Ensure the fleet's CA; raises NotReady if its key is missing."""
        self.check()
        if self.cert.exists():
            steps.ok(f"certificate authority: {self.cert}, key {self.key}")
            return
        what = f"certificate authority of the fleet: {self.cert}, key {self.key}: keep a copy of both"
        if not steps.dry_run:
            if not self.cert.parent.exists():
                private_folder(self.cert.parent)
            with locked(self.cert):
                if not self.cert.exists():  # else created by a concurrent provisioning of another node
                    await self.run("ca", "--cert", str(self.cert), "--key", str(self.key))
        steps.changed_here(
            what, f"mcp-agent cert ca --cert {shell_word(str(self.cert))} --key {shell_word(str(self.key))}"
        )


def check_own(own: Own) -> None:
    """Raise InvalidInput if one of the two is missing."""
    if (own.cert is None) != (own.key is None):
        raise InvalidInput("--cert and --key must be given together")


async def refuse(steps: Steps, authority: Authority, own: Own) -> None:
    """Raise McpError, before any change, if the node could not get a certificate."""
    if own.cert is not None and own.key is not None:
        await _own_until(steps.ssh.node, authority, own.cert, own.key)
        return
    authority.check()
    if not own.replace:
        await _refuse_foreign(steps, authority)


async def have(steps: Steps, authority: Authority, settings: AgentSettings, own: Own, uid: int) -> None:
    """Ensure a certificate that is valid for the node's address for at least a month; call refuse() first."""
    if own.cert is not None and own.key is not None:
        await _install_own(steps, authority, settings, own.cert, own.key)
        return
    await authority.make(steps)
    if authority.cert.exists():
        await public_file(steps, NODE_CA, read_file(authority.cert, Trust.OWN))
    else:  # in a first dry run
        steps.changed_here(f"file {NODE_CA}")
    node = steps.ssh.node
    host = _host(node)
    why, good = await _judged(steps, settings, host, uid)
    if good:
        steps.ok(f"certificate for {host}: {why}")
        return
    what = f"certificate for {host}: {why}"
    names = list(dict.fromkeys([host, node.name]))
    if steps.dry_run:
        request = f"mcp-agent cert request --key {settings.key} {' '.join(names)}"
        steps.written.add(settings.cert)
        steps.changed_here(what, f"{request}, on {node.name}; signed here")
        return
    request = await steps.ssh.check(as_mcp(uid, "cert", "request", "--key", settings.key, *names), root=True)
    ca = ("--ca", str(authority.cert), "--ca-key", str(authority.key))
    made = await authority.run("sign", *ca, *names, stdin=request.encode())
    await steps.change(what, RemoteFile(settings.cert, made, USER, 0o644))
    why, good = await _judged(steps, settings, host, uid)
    if not good:
        raise McpError(f"the new certificate is invalid: {why}", node=node.name)


async def _refuse_foreign(steps: Steps, authority: Authority) -> None:
    """Raise NotReady if another authority signed the node's certificate: its users would be locked out."""
    installed = await steps.sha256(NODE_CA)
    ours = sha256(read_file(authority.cert, Trust.OWN)).hexdigest() if authority.cert.exists() else ""
    if installed not in ("", ours):
        raise NotReady(
            f"another authority than {authority.cert} signed its certificate",
            "copy ca.pem and ca.key from the machine that set up the node, or give --replace-certificate",
            node=steps.ssh.node.name,
        )


async def _judged(steps: Steps, settings: AgentSettings, host: str, uid: int) -> tuple[str, bool]:
    """Return the verdict of the node's agent on the certificate, and True if it is valid."""
    if not await steps.holds(["test", "-s", settings.cert]):
        return "does not exist yet", False
    check = ("cert", "check", "--cert", settings.cert, "--key", settings.key, "--ca", NODE_CA, host)
    done = await steps.ssh.run(as_mcp(uid, *check), root=True)
    if done.returncode == 0:
        return done.stdout.decode(errors="replace").strip(), True
    return done.last_words().removeprefix("mcp-agent: "), False


async def _install_own(steps: Steps, authority: Authority, settings: AgentSettings, cert: Path, key: Path) -> None:
    """Install the operator's certificate if it is valid for the node's address."""
    until = await _own_until(steps.ssh.node, authority, cert, key)
    host = _host(steps.ssh.node)
    chain, secret = _files(cert, key)
    installed = (await steps.sha256(settings.cert), await steps.sha256(settings.key))
    if installed == (sha256(chain).hexdigest(), sha256(secret).hexdigest()):
        steps.ok(f"certificate for {host}: {cert}, {until}")
        return
    await steps.change(
        f"certificate for {host}: {cert}, {until}",
        RemoteFile(settings.key, secret, USER, 0o600),
        RemoteFile(settings.cert, chain, USER, 0o644),
    )


async def _own_until(node: Node, authority: Authority, cert: Path, key: Path) -> str:
    """Return the validity of the operator's certificate as text; raises McpError if it is unsuitable."""
    ca = ("--ca", str(authority.cert)) if authority.cert.exists() else ()
    check = ("check", "--cert", str(cert), "--key", str(key), *ca, "--days", "1", _host(node))
    return (await authority.run(*check)).decode().strip()


def _host(node: Node) -> str:
    return parse_address(node.address).host


def _files(cert: Path, key: Path) -> tuple[bytes, bytes]:
    return read_file(cert), read_secret(key).encode() + b"\n"
