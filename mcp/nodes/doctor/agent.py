"""Checks through the agent: reachability, account, version, certificate, clock."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from mcp.client.probe import certificate_end
from mcp.config.addresses import parse_address
from mcp.config.configuration import Node
from mcp.nodes.doctor.model import Finding, error, ok, warning
from mcp.nodes.doctor.system import clock, room, skew
from mcp.shared.errors import Forbidden, McpError, Unauthenticated, Unreachable, shell_word
from mcp.shared.states import DesiredState, ObservedState
from mcp.shared.version import VERSION, VersionSkew
from mcp.shared.version import skew as version_skew

if TYPE_CHECKING:
    from mcp.client.agent import AgentClient
    from proto.mcp.v1 import mcp_pb2 as pb

TOKEN_WARNING = timedelta(days=1)
CERTIFICATE_WARNING, CERTIFICATE_ERROR = timedelta(days=30), timedelta(days=3)
PAUSE_WARNING = 5.0  # seconds
SHOWN = 5  # names in a finding
CLOCK_REMEDY = "compare `timedatectl` there and here, and enable time synchronisation: `timedatectl set-ntp true`"


def check(agent: "AgentClient", ca: bytes, homes: Mapping[str, str]) -> tuple[bool, list[Finding]]:
    """Return True if the agent responds, and the findings; `homes` are the nodes of defined services."""
    try:
        account = agent.who_am_i()
    except (Unauthenticated, Forbidden) as refused:
        return True, [failure("token", refused), *certificate(agent.node, ca)]
    except McpError as failed:
        return not isinstance(failed, Unreachable), [failure("agent", failed)]
    findings = [ok("agent", f"responds on {agent.node.address}"), token(account), *certificate(agent.node, ca)]
    try:
        findings += status(agent)
        findings += services(agent.node.name, agent.list_services().services, homes)
    except McpError as failed:
        findings.append(failure("agent", failed))
    return True, findings


def failure(check: str, failed: McpError) -> Finding:
    """Convert an error to a finding."""
    return error(check, failed.what, failed.hint)


def token(account: "pb.WhoAmIResponse") -> Finding:
    """Check the expiry of the token."""
    if not account.HasField("expires"):
        return ok("token", f"you are {account.user}, permanently")
    end = account.expires.ToDatetime(UTC)
    text = f"you are {account.user}, until {end:%Y-%m-%d %H:%M} UTC"
    if end - datetime.now(UTC) < TOKEN_WARNING:
        return warning("token", text, "log in again with `mcp login`")
    return ok("token", text)


def certificate(node: Node, ca: bytes) -> Iterator[Finding]:
    """Check the expiry of the certificate, which the connection has verified."""
    end = certificate_end(parse_address(node.address), ca)
    if end is None:
        return
    text = f"the certificate is valid until {end:%Y-%m-%d}"
    left = end - datetime.now(UTC)
    do = f"renew it with `mcp node provision {node.name}`; with a CA of your own, on the node"
    if left < CERTIFICATE_ERROR:
        yield error("certificate", text, do)
    elif left < CERTIFICATE_WARNING:
        yield warning("certificate", text, do)
    else:
        yield ok("certificate", text)


def status(agent: "AgentClient") -> Iterator[Finding]:
    """Check version, clock, disk and podman as the agent reports them."""
    before = time.time()
    node_status = agent.node_status(images=True)
    after = time.time()
    yield version(agent.node, node_status.agent_version)
    yield clock(skew(before, node_status.now.ToNanoseconds() / 1e9, after), CLOCK_REMEDY)
    yield pauses(node_status.longest_pause)
    yield registry(agent.node, node_status.registry_problems)
    if node_status.disk_total_bytes:
        disk = room("the services' disk", node_status.disk_free_bytes, node_status.disk_total_bytes)
        yield disk
        yield images(node_status.unused_images, short=not disk.is_fine)
        yield volumes(node_status.unused_volumes, short=not disk.is_fine)
    yield from _podman(agent, node_status.runtime_version)


def pauses(longest: float) -> Finding:
    """Check how long the agent answered nobody; agents before 0.3 do not tell."""
    if longest < PAUSE_WARNING:
        return ok("pauses", f"the agent's longest pause since its start was {longest * 1000:.0f} ms")
    what = f"the agent answered nobody for {longest:.1f} s at a time"
    return warning("pauses", what, "the node was short of processor time or memory: see the agent's log for when")


def registry(node: Node, problems: Sequence[str]) -> Finding:
    """Report a registry that is damaged, or whose file is gone; agents before 0.3 do not tell."""
    if not problems:
        return ok("registry", "the registry is in its place, and no damage was found")
    do = f"put a copy back on {node.name} with `mcp-agent restore`, or deploy what is damaged: see its log"
    return error("registry", "; ".join(problems), do)


def services(node: str, registered: "Iterable[pb.ServiceInfo]", homes: Mapping[str, str]) -> Iterator[Finding]:
    """Look for services that are defined for another node, as after a change of `node`."""
    moved = [service for service in registered if homes.get(service.name, node) != node]
    for service in moved:
        stopped = all(component.desired_state == DesiredState.STOPPED for component in service.components)
        text = f"is still deployed on {node}, stopped" if stopped else f"still runs on {node}"
        yield warning(
            "services",
            f"{service.name} {text}, but is defined for {homes[service.name]}",
            f"`mcp undeploy --node {node} {service.name}`, or `mcp deploy --move {service.name}`",
        )
    if not moved:
        yield ok("services", "no service is defined for another node")


def images(unused: "Sequence[pb.UnusedImage]", *, short: bool) -> Finding:
    """List the images that nothing refers to; they are a problem only where the disk is `short` of room."""
    if not unused:
        return ok("images", "every image is in use or needed for a rollback")
    names = " ".join(shell_word(name) for image in unused for name in image.names or [image.identifier[:12]])
    size = sum(image.bytes for image in unused) / 1e9
    what = f"{len(unused)} unused images, up to {size:.1f} GB: in no container, no component, no recent deploy: {names}"
    return warning("images", what, f"`podman rmi {names}` as mcp") if short else ok("images", what)


def volumes(unused: Sequence[str], *, short: bool) -> Finding:
    """List the anonymous volumes that nothing refers to; they are a problem only where the disk is `short` of room."""
    if not unused:
        return ok("volumes", "every anonymous volume is in use or kept for a later deploy")
    names = " ".join(map(shell_word, unused))
    what = f"{len(unused)} unused anonymous volumes, in no container, which no deploy would mount again: {names}"
    if not short:
        return ok("volumes", what)
    return warning("volumes", what, f"look into them, then `podman volume rm {names}` as mcp")


def version(node: Node, theirs: str) -> Finding:
    """Compare the version of the agent with ours."""
    how = version_skew(theirs)
    if how is VersionSkew.OLDER:
        return warning(
            "version", f"the agent is {theirs}, older than this mcp ({VERSION})", f"`mcp agent upgrade {node.name}`"
        )
    if how is VersionSkew.NEWER:
        return warning("version", f"the agent is {theirs}, newer than this mcp ({VERSION})", "use the newer mcp")
    if how is VersionSkew.DIFFERENT:
        return warning("version", f"the agent is {theirs}, this mcp is {VERSION}", f"`mcp agent upgrade {node.name}`")
    return ok("version", f"the agent is {theirs}, like this mcp")


def _podman(agent: "AgentClient", version: str) -> Iterator[Finding]:
    see = "run `podman ps` there as the user mcp"
    try:
        services = agent.live_check().services
    except McpError as failed:
        yield error("agent-podman", failed.what, failed.hint or see)
        return
    yield ok("agent-podman", f"podman {version} responds to the agent")
    yield _containers(agent.node, services)
    yield pending(services)


def pending(services: "Iterable[pb.ServiceInfo]") -> Finding:
    """List what failed changes have left, which the agent goes on to undo or to complete."""
    found = [
        f"{service.name}/{component.name}: {component.pending}"
        for service in services
        for component in service.components
        if component.pending
    ]
    if not found:
        return ok("changes", "no change is left to be undone or completed")
    shown = "; ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
    return warning("changes", shown, "the agent tries again; another command for the service takes its place")


def _containers(node: Node, services: "Iterable[pb.ServiceInfo]") -> Finding:
    """Compare what should run with podman's containers, which may have been reset behind the agent's back."""
    running = [
        (f"{service.name}/{component.name}", component.observed_state)
        for service in services
        for component in service.components
        if component.desired_state == DesiredState.RUNNING
    ]
    missing = [name for name, state in running if state == ObservedState.REMOVED]
    if not missing:
        return ok("containers", f"podman has a container of each of the {len(running)} components that should run")
    shown = ", ".join(missing[:SHOWN]) + (f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else "")
    what = f"podman has no container of {shown}, which should run"
    if len(missing) == len(running) > 1:
        what = f"podman has none of the {len(running)} containers that should run ({shown}): was it reset?"
    return error("containers", what, f"`mcp agent recover {node.name}` creates them")
