"""The node's certificate: its key is made on the node and stays there, the fleet's CA signs here.

This program carries no cryptography; the agent's zipapp for this machine does, and does it (`mcp-agent cert`).
"""

import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from mcp.config.configuration import CA_FILE, Config, Node
from mcp.config.node_entries import locked
from mcp.nodes import agent_file
from mcp.nodes.layout import USER
from mcp.nodes.provision.agent import CERTS, AgentSettings, as_mcp, public_file
from mcp.nodes.provision.steps import RemoteFile, Steps
from mcp.shared import proc
from mcp.shared.errors import InvalidInput, McpError, NotReady
from mcp.shared.files import private_folder, read_secret

NODE_CA = f"{CERTS}/ca.pem"  # for checks on the node; agents trust it in nothing
SECONDS = 60.0


@dataclass(frozen=True)
class Own:
    """A certificate (with its chain) and key that the operator has; both or neither.

    `replace`: a certificate of another authority may be replaced by one of the fleet's.
    """

    cert: Path | None = None
    key: Path | None = None
    replace: bool = False


class Authority:
    """The CA that agents are verified against, and the local agent file that signs with it."""

    def __init__(self, config: Config, folder: Path | None) -> None:
        """`folder` is where agent files are (--from)."""
        self.cert = config.ca_cert or config.source.parent / CA_FILE
        self.key = self.cert.with_suffix(".key")
        self._folder = folder
        self._agent: list[str] = []

    async def run(self, *arguments: str, stdin: bytes | None = None) -> bytes:
        """Run `mcp-agent cert ...` here; raises McpError with what it says."""
        if not self._agent:
            found = await agent_file.find(agent_file.own_architecture(), self._folder)
            self._agent = [sys.executable, "-I", str(found.path)]
        done = await proc.run([*self._agent, "cert", *arguments], seconds=SECONDS, stdin=stdin)
        if done.returncode != 0:
            raise McpError(done.last_words().removeprefix("mcp-agent: "))
        return done.stdout

    def check(self) -> None:
        """Raise NotReady where its certificate is here, but not its key."""
        if self.cert.exists() and not self.key.exists():
            raise NotReady(
                f"{self.cert} is there, but not its key {self.key}",
                "give a certificate of that CA with --cert and --key, or name another file in [auth] ca_cert",
            )

    async def make(self, steps: Steps) -> None:
        """Have it, where the fleet's certificates come from it; raises NotReady where its key is not here."""
        self.check()
        if self.cert.exists():
            steps.ok(f"certificate authority: {self.cert}, key {self.key}")
            return
        what = f"certificate authority of the fleet: {self.cert}, key {self.key}: keep a copy of both"
        if not steps.dry_run:
            if not self.cert.parent.exists():
                private_folder(self.cert.parent)
            with locked(self.cert):
                if not self.cert.exists():  # made meanwhile, by the first provisioning of another node
                    await self.run("ca", "--cert", str(self.cert), "--key", str(self.key))
        steps.changed_here(what, f"mcp-agent cert ca --cert {self.cert} --key {self.key}")


def check_own(own: Own) -> None:
    """Raise InvalidInput where one of the two is missing."""
    if (own.cert is None) != (own.key is None):
        raise InvalidInput("--cert and --key belong together")


async def refuse(steps: Steps, authority: Authority, own: Own) -> None:
    """Raise McpError where the node could have no certificate in the end; changes nothing."""
    if own.cert is not None and own.key is not None:
        await _own_until(steps.ssh.node, authority, own.cert, own.key)
        return
    authority.check()
    if not own.replace:
        await _refuse_foreign(steps, authority)


async def have(steps: Steps, authority: Authority, settings: AgentSettings, own: Own, uid: int) -> None:
    """Have a certificate that is good for the node's address for a month at least; refuse() comes first."""
    if own.cert is not None and own.key is not None:
        await _install_own(steps, authority, settings, own.cert, own.key)
        return
    await authority.make(steps)
    if authority.cert.exists():  # not so in a first dry run
        await public_file(steps, NODE_CA, authority.cert.read_bytes())
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
        raise McpError(f"the new certificate is not good: {why}", node=node.name)


async def _refuse_foreign(steps: Steps, authority: Authority) -> None:
    """Raise NotReady where the node's certificate is another authority's: whoever trusts that would be locked out."""
    there = await steps.sha256(NODE_CA)
    ours = sha256(authority.cert.read_bytes()).hexdigest() if authority.cert.exists() else ""
    if there not in ("", ours):
        raise NotReady(
            f"its certificate is of another authority than {authority.cert}",
            "take over ca.pem and ca.key of whoever set the node up, or give --replace-certificate",
            node=steps.ssh.node.name,
        )


async def _judged(steps: Steps, settings: AgentSettings, host: str, uid: int) -> tuple[str, bool]:
    """What the node's own agent says of the certificate, and whether it is good."""
    if not await steps.holds(["test", "-s", settings.cert]):
        return "there is none yet", False
    check = ("cert", "check", "--cert", settings.cert, "--key", settings.key, "--ca", NODE_CA, host)
    done = await steps.ssh.run(as_mcp(uid, *check), root=True)
    if done.returncode == 0:
        return done.stdout.decode(errors="replace").strip(), True
    return done.last_words().removeprefix("mcp-agent: "), False


async def _install_own(steps: Steps, authority: Authority, settings: AgentSettings, cert: Path, key: Path) -> None:
    """Take over a certificate of the operator's, if it is good for the node's address."""
    until = await _own_until(steps.ssh.node, authority, cert, key)
    host = _host(steps.ssh.node)
    chain, secret = _files(cert, key)
    there = (await steps.sha256(settings.cert), await steps.sha256(settings.key))
    if there == (sha256(chain).hexdigest(), sha256(secret).hexdigest()):
        steps.ok(f"certificate for {host}: {cert}, {until}")
        return
    await steps.change(
        f"certificate for {host}: {cert}, {until}",
        RemoteFile(settings.key, secret, USER, 0o600),
        RemoteFile(settings.cert, chain, USER, 0o644),
    )


async def _own_until(node: Node, authority: Authority, cert: Path, key: Path) -> str:
    """Until when a certificate of the operator's is valid, in words; raises McpError where it is not good for us."""
    ca = ("--ca", str(authority.cert)) if authority.cert.exists() else ()
    check = ("check", "--cert", str(cert), "--key", str(key), *ca, "--days", "1", _host(node))
    return (await authority.run(*check)).decode().strip()


def _host(node: Node) -> str:
    return node.address.rpartition(":")[0].strip("[]")


def _files(cert: Path, key: Path) -> tuple[bytes, bytes]:
    return cert.read_bytes(), read_secret(key).encode() + b"\n"
