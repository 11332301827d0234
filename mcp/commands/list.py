"""mcp list"""

import argparse
from typing import TYPE_CHECKING

from mcp.commands.shared import Group, arguments, nodes
from mcp.shared.command import Command

if TYPE_CHECKING:
    from mcp.client.session import Session
    from proto.mcp.v1 import mcp_pb2 as pb

COLUMNS = ("service", "component", "node", "desired", "version", "image")


def run(session: "Session", args: argparse.Namespace) -> int:
    """Show the registered components of every node; an unreachable node is a row with its state."""
    listing = nodes.Listing(COLUMNS, nodes.rows_of(COLUMNS, "desired", _rows))
    selected = nodes.select(session, args.node)
    return nodes.finish(
        nodes.show_all(session, selected, lambda agent: agent.list_services(), listing, as_json=args.json)
    )


def _rows(response: "pb.ListServicesResponse") -> list[nodes.Row]:
    return [
        {
            "service": service.name,
            "component": component.name,
            "desired": component.desired_state,
            "version": component.version,
            "image": component.image,
        }
        for service in response.services
        for component in service.components
    ]


COMMAND = Command(
    "list",
    "list the services and components registered on nodes",
    run,
    group=Group.STATE,
    arguments=(arguments.node("only this node"), arguments.JSON),
)
