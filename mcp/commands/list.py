"""mcp list"""

import argparse
from typing import TYPE_CHECKING

from mcp.client import fleet
from mcp.client.session import Session
from mcp.commands import arguments, components
from mcp.terminal import output

if TYPE_CHECKING:
    from proto.mcp.v1 import mcp_pb2 as pb

HEADERS = ("SERVICE", "COMPONENT", "NODE", "DESIRED", "VERSION", "IMAGE")
COLUMNS = ("service", "component", "node", "desired", "version", "image")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("--node", metavar="NODE", help="ask only this node")
    arguments.add_json(parser)


def run(session: Session, args: argparse.Namespace) -> int:
    """Show what is registered on every node; a node that does not answer is a row that says so."""
    nodes = [session.config.node(args.node)] if args.node else session.config.nodes
    answers = fleet.ask_all(session, nodes, lambda agent: agent.list_services())
    rows = components.rows(answers, COLUMNS, "desired", _row)
    if args.json:
        output.print_json(rows)
    else:
        output.table(HEADERS, [[row[column] or "" for column in COLUMNS] for row in rows])
    return fleet.exit_code(answers)


def _row(component: "pb.ComponentInfo") -> components.Row:
    return {
        "component": component.name,
        "desired": component.desired_state,
        "version": component.version,
        "image": component.image,
    }
