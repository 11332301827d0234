"""mcp ps"""

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mcp import fleet, output
from mcp.commands import arguments
from mcp.session import Session
from mcp.shared.times import ago

if TYPE_CHECKING:
    from proto.mcp.v1 import mcp_pb2 as pb

HEADERS = ("SERVICE", "COMPONENT", "NODE", "STATE", "VERSION", "UPTIME")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("--node", metavar="NODE", help="ask only this node")
    arguments.add_json(parser)


def run(session: Session, args: argparse.Namespace) -> int:
    """Ask podman on every node what runs; a node that does not answer is a row that says so."""
    nodes = [session.config.node(args.node)] if args.node else session.config.nodes
    answers = fleet.ask_all(session, nodes, lambda agent: agent.live_check())
    rows: list[dict[str, str | None]] = []
    for answer in answers:
        if answer.value is None:
            rows.append({**dict.fromkeys(_KEYS), "node": answer.node.name, "state": answer.state})
            output.error(str(answer.error))
            continue
        for service in answer.value.services:
            rows += [_row(service.name, answer.node.name, component) for component in service.components]
    if args.json:
        output.print_json(rows)
    else:
        _print(rows)
    return fleet.exit_code(answers)


def _row(service: str, node: str, component: "pb.ComponentInfo") -> dict[str, str | None]:
    started = component.started.ToDatetime(UTC).isoformat() if component.HasField("started") else None
    return {
        "service": service,
        "component": component.name,
        "node": node,
        "state": component.observed_state,
        "desired": component.desired_state,
        "image": component.image,
        "version": component.version,
        "started": started,
    }


def _print(rows: list[dict[str, str | None]]) -> None:
    output.table(HEADERS, [[*(row.get(key) or "" for key in _COLUMNS), _uptime(row.get("started"))] for row in rows])


_KEYS = ("service", "component", "node", "state", "desired", "image", "version", "started")  # of every row
_COLUMNS = ("service", "component", "node", "state", "version")


def _uptime(started: str | None) -> str:
    return ago((datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds()) if started else ""
