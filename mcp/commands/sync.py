"""mcp sync [SERVICE]"""

import argparse
from typing import TYPE_CHECKING

from mcp.client import fleet
from mcp.client.session import Session
from mcp.commands import arguments, changes
from mcp.shared.errors import EXIT_DONE, EXIT_FAILED
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.agent import AgentClient
    from proto.mcp.v1 import mcp_pb2 as pb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    changes.add_scope(parser)
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done, as mcp plan does")
    arguments.add_json(parser)


def run(session: Session, args: argparse.Namespace) -> int:
    """Make every node run what the definitions say."""
    if args.dry_run:
        return changes.show(changes.ask(session, args.service, args.node), args.json)
    by_node = {each.node.name: each for each in changes.wanted(session, args.service, args.node)}

    def sync(agent: "AgentClient") -> "pb.SyncDesiredStateResponse":
        wanted = by_node[agent.node.name]
        return agent.sync(wanted.services, partial=wanted.partial)

    answers = fleet.ask_all(session, [each.node for each in by_node.values()], sync)
    rows = [
        {
            "service": result.name,
            "node": answer.node.name,
            "changed": result.changed,
            "summary": result.summary,
            "error": result.error,
        }
        for answer in answers
        if answer.value is not None
        for result in answer.value.results
    ]
    if args.json:
        output.print_json(rows)
    else:
        for row in rows:
            if row["summary"]:
                output.line(f"{row['service']} on {row['node']}: {row['summary']}")
            if row["error"]:
                output.error(f"{row['service']} on {row['node']}: {row['error']}")
        if not rows and all(answer.error is None for answer in answers):
            output.line("nothing to do: there are no definitions, and nothing else is registered")
    for answer in answers:
        if answer.error is not None:
            output.error(str(answer.error))
    return fleet.exit_code(answers) or (EXIT_FAILED if any(row["error"] for row in rows) else EXIT_DONE)
