"""Provisioning of the agent: file, configuration, unit, start."""

import asyncio
import ipaddress
import socket
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass

from mcp.config.addresses import parse_address
from mcp.config.configuration import Node
from mcp.nodes.agent_file import AgentFile
from mcp.nodes.layout import HOME, USER
from mcp.nodes.provision.steps import RemoteCommand, RemoteFile, Steps
from mcp.nodes.ssh import as_user
from mcp.shared import resources
from mcp.shared.errors import InvalidInput, McpError, NotReady
from mcp.shared.files import Trust, read_file
from mcp.shared.toml import BOM, quoted
from mcp.shared.url import MciasConfig

AGENT = f"{HOME}/mcp-agent"
CONFIG = f"{HOME}/mcp-agent.toml"
CERTS = f"{HOME}/certs"
MCIAS_CA = f"{CERTS}/mcias-ca.pem"
SERVICE = "mcp-agent.service"
UNIT = f"/etc/systemd/system/{SERVICE}"
COMMAND, COMMAND_FILE = "/usr/local/bin/mcp-agent", "mcp-agent-command.sh"
START_SECONDS = 120.0

# Prints the files that are newer than the running agent: an earlier run may have been interrupted before its restart.
_NEWER = """\
unit=$1; shift
since=$(systemctl show --timestamp=us+utc --property=ExecMainStartTimestamp --value "$unit")
find "$@" -maxdepth 0 -newermt "$since"
"""


@dataclass(frozen=True)
class AgentSettings:
    """Settings in the agent's configuration: listen address, certificate and key."""

    cert: str
    key: str


def as_mcp(uid: int, *arguments: str, agent: str = AGENT) -> list[str]:
    """Build the argv of an agent command that root runs as the user mcp."""
    env = [f"HOME={HOME}", f"XDG_RUNTIME_DIR=/run/user/{uid}", "PYTHONDONTWRITEBYTECODE="]
    return [*as_user(USER), "env", f"--chdir={HOME}", *env, "/usr/bin/python3", "-I", agent, *arguments]


def unit_text(uid: int) -> str:
    """Return deploy/mcp-agent.service for a UID."""
    return resources.deploy_file(SERVICE).replace("@UID@", str(uid))


def listen_address(node: Node, listen: str, addresses: Sequence[str]) -> str:
    """Return IP:PORT to listen on: `listen` (an IP), else the node's; raises McpError if the node lacks the address."""
    host, port, _zone = parse_address(node.address)
    try:
        ip = ipaddress.ip_address(listen or host)
    except ValueError:
        if listen:
            raise InvalidInput(f"--listen: {listen} is not an IP address") from None
        ip = ipaddress.ip_address(_resolved(node, host))
    if ip.version == 6 and ip.is_link_local:
        what = f"{ip} is a link-local address, whose interface on {node.name} is not known"
        raise NotReady(what, "listen on all addresses with --listen ::")
    if not ip.is_unspecified and not ip.is_loopback and str(ip) not in addresses:
        raise NotReady(
            f"{node.name} has no address {ip}; its addresses: {', '.join(addresses) or 'none'}",
            "choose one with --listen IP (0.0.0.0 for all)",
        )
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


def _resolved(node: Node, host: str) -> str:
    """Resolve a name here, like clients do: a node's /etc/hosts often maps its own name to a loopback address."""
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except socket.gaierror as error:
        what = f"{host}: unknown host name ({error.strerror})"
        raise NotReady(what, "check its address in mcp.toml", node=node.name) from None


def config_text(node: Node, address: str, mcias: MciasConfig | None) -> str:
    """Return a configuration for the agent; deploy/mcp-agent.toml documents every key."""
    pairs = {
        "server": {"grpc_addr": address, "tls_cert": f"{CERTS}/cert.pem", "tls_key": f"{CERTS}/key.pem"},
        "database": {"path": f"{HOME}/mcp.db"},
        "agent": {"node_name": node.name},
    }
    if mcias is None:
        pairs["auth"] = {"backend": "local"}
    else:
        pairs["mcias"] = {"server_url": f"https://{mcias.endpoint}", "service_name": mcias.service_name}
        if mcias.ca_cert is not None:
            pairs["mcias"]["ca_cert"] = MCIAS_CA
    blocks = [
        "\n".join([f"[{section}]", *(f"{key} = {quoted(value)}" for key, value in table.items()), ""])
        for section, table in pairs.items()
    ]
    return "# Written by `mcp node provision`, which does not change it any more.\n\n" + "\n".join(blocks)


def settings_of(node: Node, text: str) -> AgentSettings:
    """Read an existing configuration; raises NotReady if it is for another node or port."""
    try:
        table = tomllib.loads(text.removeprefix(BOM))
        address, name = table["server"]["grpc_addr"], table["agent"]["node_name"]
        settings = AgentSettings(str(table["server"]["tls_cert"]), str(table["server"]["tls_key"]))
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        what = f"existing {CONFIG} is invalid: {error}"
        raise NotReady(what, "fix or remove it", node=node.name) from None
    if not (settings.cert.startswith("/") and settings.key.startswith("/")):
        what = f"existing {CONFIG}: tls_cert and tls_key are not absolute paths"
        raise NotReady(what, "fix or remove it", node=node.name)
    if name != node.name:
        raise NotReady(f"existing {CONFIG} has node_name = {name}", "check that this is the right node", node=node.name)
    port, wanted = str(address).rpartition(":")[2], str(parse_address(node.address).port)
    if port != wanted:
        raise NotReady(
            f"the agent listens on {address}, but mcp.toml has {node.address}",
            f"correct mcp.toml, or grpc_addr in {CONFIG} there",
            node=node.name,
        )
    return settings


async def folders(steps: Steps) -> None:
    """Ensure the folder of certificates."""
    if await steps.holds(["sh", "-c", f'test "$(stat -c %U:%a {CERTS})" = {USER}:750']):
        steps.ok(f"folder {CERTS}")
    else:
        await steps.change(f"folder {CERTS}", RemoteCommand([*as_user(USER), "install", "-d", "-m", "0750", CERTS]))


async def file(steps: Steps, agent: AgentFile, uid: int) -> str:
    """Ensure the agent's file; return its version.

    A running agent is not replaced: `mcp agent upgrade` does that, and rolls back on failure.
    """
    name = steps.ssh.node.name
    installed = await steps.sha256(AGENT)
    if installed == agent.sha256:
        steps.ok(f"agent: {agent.version} for {agent.arch} in {AGENT}, sha256 {agent.sha256[:12]}…")
        return agent.version
    if installed and await _active(steps):
        version = (await steps.ssh.check(as_mcp(uid, "version"), root=True)).split()[-1]
        steps.ok(f"agent: {version} is running; replace it with {agent.version} by `mcp agent upgrade {name}`")
        return version
    content, new = await asyncio.to_thread(lambda: agent.content), f"{AGENT}.new"
    try:
        await steps.change(
            f"agent: {agent.version} for {agent.arch} to {AGENT}, sha256 {agent.sha256[:12]}…",
            RemoteFile(new, content, USER, 0o755),
            RemoteCommand(as_mcp(uid, "version", agent=new), name="the agent does not start there"),
            RemoteCommand(["mv", "-fT", new, AGENT]),
        )
    except McpError:
        await steps.ssh.run(["rm", "-f", new], root=True)
        raise
    return agent.version


async def command(steps: Steps) -> None:
    """Ensure the command mcp-agent for root and mcp; one that is not ours is not changed."""
    text, wanted = await steps.text(COMMAND), resources.deploy_file(COMMAND_FILE)
    if text == wanted:
        steps.ok(f"command {COMMAND}")
    elif text is not None and wanted.splitlines()[1].partition(":")[0] not in text:
        steps.ok(f"command {COMMAND} exists, not managed by provisioning")
    else:
        await steps.change(f"command {COMMAND}", RemoteFile(COMMAND, wanted.encode(), "root", 0o755))


async def configuration(steps: Steps, address: str, mcias: MciasConfig | None) -> AgentSettings:
    """Ensure the configuration; an existing one is not changed."""
    node = steps.ssh.node
    text = await steps.text(CONFIG)
    if mcias is not None and mcias.ca_cert is not None:
        await public_file(steps, MCIAS_CA, read_file(mcias.ca_cert, Trust.OWN))
    if text is not None:
        settings = settings_of(node, text)
        steps.ok(f"configuration: {CONFIG} exists")
        return settings
    new = config_text(node, address, mcias)
    await steps.change(
        f"configuration: {CONFIG}, to listen on {address}", RemoteFile(CONFIG, new.encode(), USER, 0o600)
    )
    return settings_of(node, new)


async def public_file(steps: Steps, path: str, content: bytes) -> None:
    """Ensure a world-readable file owned by mcp."""
    if await steps.text(path) == content.decode():
        steps.ok(f"file {path}")
    else:
        await steps.change(f"file {path}", RemoteFile(path, content, USER, 0o644))


async def unit(steps: Steps, uid: int) -> None:
    """Ensure the unit, loaded by systemd and enabled at boot."""
    text = unit_text(uid)
    if await steps.text(UNIT) == text:
        steps.ok(f"unit {UNIT}")
    else:
        await steps.change(f"unit {UNIT}", RemoteFile(UNIT, text.encode(), "root", 0o644))
    show = ["systemctl", "show", "--property=NeedDaemonReload", "--property=LoadState", "--value", SERVICE]
    properties = (await steps.ssh.run(show)).stdout.split()
    if UNIT in steps.written or b"yes" in properties or b"not-found" in properties:
        await steps.change("reload systemd", RemoteCommand(["systemctl", "daemon-reload"]))
    if await steps.holds(["systemctl", "is-enabled", "--quiet", SERVICE]):
        steps.ok("the agent is started at boot")
    else:
        await steps.change("the agent is started at boot", RemoteCommand(["systemctl", "enable", "--quiet", SERVICE]))


async def start(steps: Steps, settings: AgentSettings) -> None:
    """Ensure that the agent runs with its current files; raises McpError with its last log line if it fails."""
    if not await _active(steps):
        verb, what = "start", "the agent is started"
    elif await _is_stale(steps, settings):
        verb, what = "restart", "the agent is restarted; containers keep running"
    else:
        steps.ok("the agent runs")
        return
    try:
        await steps.change(what, RemoteCommand(["systemctl", verb, SERVICE], seconds=START_SECONDS))
    except McpError as error:
        what, hint = await _last_words(steps) or error.what, f"see `journalctl -u {SERVICE}` there"
        raise McpError(what, hint, node=steps.ssh.node.name) from None


async def _active(steps: Steps) -> bool:
    return await steps.holds(["systemctl", "is-active", "--quiet", SERVICE])


async def _is_stale(steps: Steps, settings: AgentSettings) -> bool:
    files = [AGENT, CONFIG, UNIT, settings.cert, settings.key]
    if steps.written & set(files):
        return True
    done = await steps.ssh.run(["sh", "-euc", _NEWER, "sh", SERVICE, *files], root=True)
    return done.stdout.strip() != b""


async def _last_words(steps: Steps) -> str:
    journal = ["journalctl", "--quiet", "--output=cat", f"--unit={SERVICE}", "_COMM=python3", "--lines=1"]
    last = (await steps.ssh.run(journal, root=True)).stdout.decode(errors="replace").strip()
    return f"the agent does not start: {last[:300]}" if last else ""
