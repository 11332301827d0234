"""Live output of steps, for every command that changes the components of one service."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from mcp.shared.command import flag
from mcp.shared.errors import McpError, Unavailable
from mcp.terminal.output import LiveLines, live_lines, waiting_soon

if TYPE_CHECKING:
    from mcp.client.agent import AgentClient
    from mcp.shared.spec import ServiceSpec
    from proto.mcp.v1 import mcp_pb2 as pb

QUIET = flag("-q", "--quiet", help="do not show the steps in progress")


def deploy(
    agent: "AgentClient",
    service: "ServiceSpec",
    component: str = "",
    *,
    force: bool = False,
    prune: bool = False,
    quiet: bool,
) -> "Iterable[pb.ComponentResult]":
    """Deploy a service or one component, with each step on stderr unless `quiet`; raises McpError."""
    if quiet:
        return agent.deploy(service, component, force=force, prune=prune).results
    events = agent.deploy_stream(service, component, force=force, prune=prune)
    return results(agent, events, service.name, quiet=False)


def results(
    agent: "AgentClient", events: "Iterator[pb.DeployEvent]", service: str, *, quiet: bool
) -> "Iterable[pb.ComponentResult]":
    """Return the results that end `events`, with each step on stderr unless `quiet`; raises McpError."""
    with live_lines() as lines:
        with waiting_soon(f"waiting for {agent.node.name}…"):
            event = next(events, None)
        while event is not None:
            if event.HasField("response"):
                with suppress(McpError):
                    next(events, None)  # the end of the call, without which the agent logs it as cancelled
                return event.response.results
            if not quiet:
                _show(lines, service, event.step)
            event = next(events, None)
    raise Unavailable("the agent ended the operation without a result", f"see mcp status {service}")


def _show(lines: LiveLines, service: str, step: "pb.StepEvent") -> None:
    if step.state == "done" and step.number == step.count:
        lines.show(f"{service}/{step.component}", "done", last=True)
    text = {"started": step.title, "failed": f"failed: {step.title}", "undone": f"undone: {step.title}"}.get(step.state)
    if text is not None:
        lines.show(f"{service}/{step.component}", f"{step.number}/{step.count} {text}")
