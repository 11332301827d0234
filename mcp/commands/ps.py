"""mcp ps"""

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mcp.client import fleet
from mcp.client.session import Session
from mcp.commands import arguments, components
from mcp.shared.times import ago
from mcp.terminal import output

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
    rows = components.rows(answers, _KEYS, "state", _row)
    if args.json:
        output.print_json(rows)
    else:
        _print(rows)
    return fleet.exit_code(answers)


def _row(component: "pb.ComponentInfo") -> components.Row:
    started = component.started.ToDatetime(UTC).isoformat() if component.HasField("started") else None
    return {
        "component": component.name,
        "state": component.observed_state,
        "desired": component.desired_state,
        "image": component.image,
        "version": component.version,
        "started": started,
    }


def _print(rows: list[components.Row]) -> None:
    output.table(HEADERS, [[*(row.get(key) or "" for key in _COLUMNS), _uptime(row.get("started"))] for row in rows])


_KEYS = ("service", "component", "node", "state", "desired", "image", "version", "started")  # of every row
_COLUMNS = ("service", "component", "node", "state", "version")


def _uptime(started: str | None) -> str:
    return ago((datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds()) if started else ""
