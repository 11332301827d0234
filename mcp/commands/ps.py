"""mcp ps"""

import argparse
from typing import TYPE_CHECKING

from mcp.commands.shared import Group, arguments, nodes
from mcp.shared.command import Command

if TYPE_CHECKING:
    from mcp.client.session import Session
    from proto.mcp.v1 import mcp_pb2 as pb

COLUMNS = ("service", "component", "node", "state", "version", "uptime", "")
KEYS = (  # of each --json row
    *("service", "component", "node", "state", "desired", "image", "version", "started", "pending"),
    *("registered_image", "differences"),
)


def run(session: "Session", args: argparse.Namespace) -> int:
    """Show the containers of every node as podman reports them; an unreachable node is a row with its state."""
    listing = nodes.Listing(
        COLUMNS,
        nodes.rows_of(KEYS, "state", _rows),
        {"uptime": lambda row: _uptime(row["started"]), "": _remark},
    )
    selected = nodes.select(session, args.node)
    return nodes.finish(nodes.show_all(session, selected, lambda agent: agent.live_check(), listing, as_json=args.json))


def _rows(response: "pb.LiveCheckResponse") -> list[nodes.Row]:
    return [_row(service.name, component) for service in response.services for component in service.components]


def _row(service: str, component: "pb.ComponentInfo") -> nodes.Row:
    from datetime import UTC

    started = component.started.ToDatetime(UTC).isoformat() if component.HasField("started") else None
    return {
        "pending": component.pending or None,
        "registered_image": component.registered_image or None,
        "differences": list(component.differences),
        "service": service,
        "component": component.name,
        "state": component.observed_state,
        "desired": component.desired_state,
        "image": component.image,
        "version": component.version,
        "started": started,
    }


def _remark(row: nodes.Row) -> str:
    differences = row["differences"]
    remarks = [*(differences if isinstance(differences, list) else ()), *([row["pending"]] if row["pending"] else [])]
    return "; ".join(map(str, remarks)) or " "


def _uptime(started: str | None) -> str:
    from mcp.shared.times import age

    return age(started) if started else ""


COMMAND = Command(
    "ps",
    "list containers on nodes",
    run,
    group=Group.STATE,
    arguments=(arguments.node("only this node"), arguments.JSON),
)
