"""mcp sync [SERVICE]"""

import argparse
from typing import TYPE_CHECKING

from mcp.commands.shared import NODE_CONTINUES, Group, arguments, changes, nodes
from mcp.shared.command import Command, flag
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.agent import AgentClient
    from mcp.client.session import Session
    from proto.mcp.v1 import mcp_pb2 as pb


def run(session: "Session", args: argparse.Namespace) -> int:
    """Reconcile nodes with the definitions."""
    if args.dry_run:
        return changes.show(changes.ask(session, args.service, args.node), args.json)
    by_node = {part.node.name: part for part in changes.wanted(session, args.service, args.node)}

    def sync(agent: "AgentClient") -> "pb.SyncDesiredStateResponse":
        wanted = by_node[agent.node.name]
        return agent.sync(wanted.services, partial=wanted.partial)

    answers = nodes.ask(session, [part.node for part in by_node.values()], sync)
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
            output.line("nothing to do: no definitions, and no registered services")
    return nodes.finish(answers, failed=any(row["error"] for row in rows))


COMMAND = Command(
    "sync",
    "reconcile nodes with the definitions",
    run,
    group=Group.SERVICES,
    changes=True,
    interrupted=NODE_CONTINUES,
    differences=True,
    arguments=(*changes.SCOPE, flag("--dry-run", help="only show the changes, like mcp plan"), arguments.JSON),
)
