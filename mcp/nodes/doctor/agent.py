"""What the agent itself answers: that it does, whom it takes us for, its version, its certificate, its clock."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from mcp.client.probe import certificate_end
from mcp.config.configuration import Node
from mcp.nodes.doctor.model import Finding, error, ok, warning
from mcp.nodes.doctor.system import clock, room, skew
from mcp.shared.errors import Forbidden, McpError, Unauthenticated, Unreachable
from mcp.shared.version import VERSION, VersionSkew
from mcp.shared.version import skew as version_skew

if TYPE_CHECKING:
    from mcp.client.agent import AgentClient
    from proto.mcp.v1 import mcp_pb2 as pb

TOKEN_WARNING = timedelta(days=1)
CERTIFICATE_WARNING, CERTIFICATE_ERROR = timedelta(days=30), timedelta(days=3)
MEND_CLOCK = "compare `timedatectl` there and here, and switch time synchronisation on: `timedatectl set-ntp true`"


def check(agent: "AgentClient", ca: bytes) -> tuple[bool, list[Finding]]:
    """Whether there is an agent that answers, and what is to be said of it."""
    try:
        account = agent.who_am_i()
    except (Unauthenticated, Forbidden) as refused:
        return True, [failure("token", refused), *certificate(agent.node, ca)]
    except McpError as failed:
        return not isinstance(failed, Unreachable), [failure("agent", failed)]
    found = [ok("agent", f"answers on {agent.node.address}"), token(account), *certificate(agent.node, ca)]
    try:
        found += status(agent)
    except McpError as failed:
        found.append(failure("agent", failed))
    return True, found


def failure(check: str, failed: McpError) -> Finding:
    """Return the finding for an error."""
    return error(check, failed.what, failed.hint)


def token(account: "pb.WhoAmIResponse") -> Finding:
    """Until when we may ask."""
    if not account.HasField("expires"):
        return ok("token", f"you are {account.user}, for ever")
    end = account.expires.ToDatetime(UTC)
    text = f"you are {account.user}, until {end:%Y-%m-%d %H:%M} UTC"
    if end - datetime.now(UTC) < TOKEN_WARNING:
        return warning("token", text, "log in again with `mcp login`")
    return ok("token", text)


def certificate(node: Node, ca: bytes) -> Iterator[Finding]:
    """When the certificate ends, which is trusted and is for the address, or we would not have got so far."""
    end = certificate_end(node.address, ca)
    if end is None:
        return
    text = f"the certificate is valid until {end:%Y-%m-%d}"
    left = end - datetime.now(UTC)
    do = f"renew it: `mcp node provision {node.name}`, or with a CA of your own on the node"
    if left < CERTIFICATE_ERROR:
        yield error("certificate", text, do)
    elif left < CERTIFICATE_WARNING:
        yield warning("certificate", text, do)
    else:
        yield ok("certificate", text)


def status(agent: "AgentClient") -> Iterator[Finding]:
    """Version, clock, disk and podman, as the agent sees them."""
    before = time.time()
    said = agent.node_status()
    after = time.time()
    yield version(agent.node, said.agent_version)
    yield clock(skew(before, said.now.ToNanoseconds() / 1e9, after), MEND_CLOCK)
    if said.disk_total_bytes:
        yield room("the services' disk", said.disk_free_bytes, said.disk_total_bytes)
    yield _podman(agent, said.runtime_version)


def version(node: Node, theirs: str) -> Finding:
    """Whether it is of our own version."""
    how = version_skew(theirs)
    if how is VersionSkew.OLDER:
        return warning(
            "version", f"the agent is {theirs}, older than this mcp ({VERSION})", f"`mcp agent upgrade {node.name}`"
        )
    if how is VersionSkew.NEWER:
        return warning("version", f"the agent is {theirs}, newer than this mcp ({VERSION})", "use the newer mcp")
    if how is VersionSkew.DIFFERENT:
        return warning(
            "version", f"the agent is {theirs}, and this is mcp {VERSION}", f"`mcp agent upgrade {node.name}`"
        )
    return ok("version", f"the agent is {theirs}, as this mcp")


def _podman(agent: "AgentClient", version: str) -> Finding:
    see = "see what `podman ps` says there as the user mcp"
    try:
        agent.live_check()
    except McpError as failed:
        return error("agent-podman", failed.what, failed.hint or see)
    return ok("agent-podman", f"podman {version} answers the agent")
