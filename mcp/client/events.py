"""Events of several nodes, merged and printed as text or JSON."""

import json
import queue
import threading
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

from mcp.client.session import Session
from mcp.config.configuration import Node
from mcp.shared.errors import McpError
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.agent import AgentClient
    from proto.mcp.v1 import mcp_pb2 as pb

NONE_OF_THE_PAST = -1  # value of `tail` in the request


@dataclass(frozen=True)
class NodeEvent:
    """An event and its node."""

    node: str
    event: "pb.EventInfo"

    def as_json(self) -> dict[str, object]:
        """Return the JSON object; `from` is null for a component seen for the first time, `time` is RFC 3339 in UTC."""
        event = self.event
        return {
            "time": event.timestamp.ToDatetime(UTC).isoformat(),
            "node": self.node,
            "service": event.service,
            "component": event.component,
            "from": event.prev_state or None,
            "to": event.new_state,
            "detail": event.detail,
            "number": event.number,
        }

    def as_text(self, *, with_node: bool = True) -> str:
        """Return one line of text, in UTC."""
        event = self.event
        where = f"{self.node}  " if with_node else ""
        change = event.new_state
        if event.prev_state not in ("", event.new_state):
            change = f"{event.prev_state} -> {event.new_state}"
        detail = f"  ({event.detail})" if event.detail else ""
        moment = event.timestamp.ToDatetime(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        return f"{moment}  {where}{event.service}/{event.component}: {change}{detail}"


def merged(events: Iterable[NodeEvent]) -> list[NodeEvent]:
    """Sort events of several nodes by time, keeping the order of each node even if its clock was set back."""
    return sorted(events, key=lambda event: (event.event.timestamp.ToNanoseconds(), event.node, event.event.number))


def show(events: Iterable[NodeEvent], *, as_json: bool) -> None:
    """Print events, one per line."""
    for event in events:
        output.line(json.dumps(event.as_json()) if as_json else event.as_text())


def follow(session: Session, seen: Mapping[Node, int], service: str, *, as_json: bool) -> int:
    """Print new events of nodes as they arrive; `seen` is the number of each node's last event (negative: none).

    Returns when all connections have ended, with the exit code of the first failure.
    """
    news: queue.SimpleQueue[NodeEvent | McpError | None] = queue.SimpleQueue()
    code = 0
    with ExitStack() as stack:
        for node, last in seen.items():
            agent = stack.enter_context(session.agent(node))
            threading.Thread(target=_pump, args=(agent, node, last, service, news), daemon=True).start()
        left = len(seen)
        while left:
            item = news.get()
            if isinstance(item, NodeEvent):
                show([item], as_json=as_json)
                continue
            left -= 1
            if item is not None:
                output.error(str(item))
                code = code or item.exit_code
    return code


def _pump(
    agent: "AgentClient",
    node: Node,
    last: int,
    service: str,
    news: "queue.SimpleQueue[NodeEvent | McpError | None]",
) -> None:
    """Put the events of a node into the queue, then the error that ended the stream, or None."""
    after, tail = max(0, last), NONE_OF_THE_PAST if last < 0 else 0
    try:
        for event in agent.events(service, after=after, tail=tail, follow=True):
            news.put(NodeEvent(node.name, event))
    except McpError as error:
        news.put(error)
    except Exception as error:  # noqa: BLE001 - closing the channel at the end of the command can raise anything
        news.put(McpError(str(error), node=node.name))
    else:
        news.put(None)
