"""mcp status [SERVICE]"""

import argparse
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mcp.client import fleet
from mcp.client.events import NodeEvent, merged
from mcp.client.session import Session
from mcp.commands import arguments
from mcp.shared.times import ago
from mcp.terminal import output

if TYPE_CHECKING:
    from proto.mcp.v1 import mcp_pb2 as pb

HEADERS = ("SERVICE", "COMPONENT", "NODE", "DESIRED", "OBSERVED", "VERSION", "RESTARTS", "FOR", "")

Row = dict[str, object]
KEYS = (  # of every row of --json
    *("service", "component", "node", "desired", "observed", "drift", "version", "image"),
    *("digest", "ports", "restarts", "health", "exit_code", "started", "since"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "service", nargs="?", type=arguments.service, metavar="SERVICE", help="show everything about this service"
    )
    parser.add_argument("--node", metavar="NODE", help="ask only this node (default: the service's, or all)")
    arguments.add_json(parser)


def run(session: Session, args: argparse.Namespace) -> int:
    """Show what should be, what is, and what happened; a node that does not answer is a row that says so."""
    service = args.service or ""
    nodes = fleet.nodes_for(session, service, args.node)
    answers = fleet.where_known(fleet.ask_all(session, nodes, lambda agent: agent.status(service)))
    rows: list[Row] = []
    events: list[NodeEvent] = []
    for answer in answers:
        if answer.value is None:
            rows.append({**dict.fromkeys(KEYS), "node": answer.node.name, "observed": answer.state})
            output.error(str(answer.error))
            continue
        recent = [NodeEvent(answer.node.name, event) for event in answer.value.recent_events]
        events += recent
        drifting = {(drift.service, drift.component) for drift in answer.value.drift}
        rows += [
            _row(answer.node.name, each.name, component, (each.name, component.name) in drifting, recent)
            for each in answer.value.services
            for component in each.components
        ]
    if args.json:
        output.print_json({"components": rows, "events": [event.as_json() for event in merged(events)]})
    elif service:
        for text in _page(service, [row for row in rows if row["service"]], merged(events)):
            output.line(text)
    else:
        output.table(HEADERS, [_cells(row) for row in rows])
    return fleet.exit_code(answers)


def _row(node: str, service: str, component: "pb.ComponentInfo", drifts: bool, events: Sequence[NodeEvent]) -> Row:
    started = component.started.ToDatetime(UTC) if component.HasField("started") else None
    since = started or _last_change(service, component, events)
    return {
        "service": service,
        "component": component.name,
        "node": node,
        "desired": component.desired_state,
        "observed": component.observed_state,
        "drift": drifts,
        "version": component.version,
        "image": component.image,
        "digest": component.digest or None,
        "ports": list(component.ports),
        "restarts": component.restarts,
        "health": component.health or None,
        "exit_code": component.exit_code if component.observed_state in ("exited", "stopped") else None,
        "started": started.isoformat() if started else None,
        "since": since.isoformat() if since else None,
    }


def _last_change(service: str, component: "pb.ComponentInfo", events: Sequence[NodeEvent]) -> datetime | None:
    """When a component that does not run came into its present state, as far as the last events tell."""
    for one in reversed(events):
        event = one.event
        if (event.service, event.component) == (service, component.name) and event.prev_state != event.new_state:
            same = event.new_state == component.observed_state
            return event.timestamp.ToDatetime(UTC).replace(microsecond=0) if same else None
    return None


def _cells(row: Row) -> list[str]:
    cells = [str(row.get(key) or "") for key in ("service", "component", "node", "desired", "observed", "version")]
    restarts = "" if row["restarts"] is None else str(row["restarts"])
    return [*cells, restarts, _ago(row.get("since")), "drift" if row.get("drift") else " "]


def _page(service: str, rows: Sequence[Row], events: Sequence[NodeEvent]) -> Iterator[str]:
    if not rows:
        return
    drifting = sum(1 for row in rows if row["drift"])
    running = sum(1 for row in rows if row["observed"] == "running")
    where = ", ".join(sorted({str(row["node"]) for row in rows}))
    verdict = f"drift in {drifting} of {len(rows)}" if drifting else "as it should be"
    yield f"{service} on {where}: {running} of {len(rows)} running, {verdict}"
    several = len({row["node"] for row in rows}) > 1
    for row in rows:
        yield ""
        yield from _component(row, with_node=several)
    yield ""
    yield "  events:" if events else "  no events yet"
    for event in events:
        yield f"    {event.as_text(with_node=several)}"


def _component(row: Row, *, with_node: bool) -> Iterator[str]:
    state = str(row["observed"])
    if row["drift"]:
        state += f", should be {row['desired']}"
    elif row["desired"] == "ignore":
        state += " (not registered: MCP leaves it alone)"
    where = f" on {row['node']}" if with_node else ""
    yield f"  {row['component']}{where}: {state}"
    ports = row["ports"]
    facts = {
        "since": _since(row["since"]),
        "exit code": "" if row["exit_code"] is None else str(row["exit_code"]),
        "health": str(row["health"] or ""),
        "restarts": str(row["restarts"]),
        "image": str(row["image"]),
        "digest": str(row["digest"] or ""),
        "ports": ", ".join(ports) if isinstance(ports, list) else "",
    }
    for name, value in facts.items():
        if value:
            yield f"    {name + ':':<11}{value}"


def _since(moment: object) -> str:
    if not isinstance(moment, str):
        return ""
    return f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M:%SZ}, {_ago(moment)} ago"


def _ago(moment: object) -> str:
    if not isinstance(moment, str):
        return ""
    return ago((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())
