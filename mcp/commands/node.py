"""mcp node list"""

import argparse

from mcp import fleet, output
from mcp.commands import arguments
from mcp.session import Session

HEADERS = ("NODE", "ADDRESS", "ARCH", "STATE", "AGENT", "PODMAN", "SERVICES")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its sub-commands."""
    commands = parser.add_subparsers(dest="node_command", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="show the nodes of mcp.toml, and whether their agents answer")
    arguments.add_json(listing)


def run(session: Session, args: argparse.Namespace) -> int:
    """Show every node, and what its agent says of itself."""
    answers = fleet.ask_all(session, session.config.nodes, lambda agent: agent.node_status())
    rows = []
    for answer in answers:
        status = answer.value
        rows.append(
            {
                "node": answer.node.name,
                "address": answer.node.address,
                "arch": answer.node.arch,
                "state": answer.state,
                "agent": status.agent_version if status else "",
                "podman": status.runtime_version if status else "",
                "services": str(status.service_count) if status else "",
            }
        )
        if answer.error is not None:
            output.error(str(answer.error))
    if args.json:
        output.print_json(rows)
    else:
        output.table(HEADERS, [list(row.values()) for row in rows])
    return fleet.exit_code(answers)
