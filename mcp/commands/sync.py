"""mcp sync [SERVICE]"""

import argparse
from typing import TYPE_CHECKING

from mcp.commands.shared import NODE_CONTINUES, Group, arguments, changes, nodes, undeploy_command
from mcp.shared.command import Command, flag
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.agent import AgentClient
    from mcp.client.session import Session
    from proto.mcp.v1 import mcp_pb2 as pb


def run(session: "Session", args: argparse.Namespace) -> int:
    """Reconcile nodes with the definitions; a service that still runs on another node is not started."""
    changes.check_exit_code(args)
    if args.dry_run:
        return changes.plan(session, args)
    wanted = changes.wanted(session, args.service, args.node)
    by_node = {part.node.name: part for part in wanted.parts if part.services or not part.partial}

    def sync(agent: "AgentClient") -> "pb.SyncDesiredStateResponse":
        part = by_node[agent.node.name]
        return agent.sync(part.services, partial=part.partial, prune=args.prune, leave=part.leave)

    answers = nodes.ask(session, [part.node for part in by_node.values()], sync, changes=True)
    rows = [
        _row(answer.node.name, result)
        for answer in answers
        if answer.value is not None
        for result in answer.value.results
    ]
    rows += [
        {**_row(definition.node, None), "service": copy.service, "error": f"{copy.text}; {copy.remedy}"}
        for definition, copy in wanted.held
    ]
    if args.json:
        output.print_json(rows)
    else:
        defined = {(name, service.name) for name, part in by_node.items() for service in part.services}
        for row in rows:
            _print(row, is_defined=(row["node"], row["service"]) in defined)
        if not rows and all(answer.error is None for answer in answers):
            output.line("nothing to do: no definitions, and no registered services")
    return nodes.finish(answers, failed=any(row["error"] for row in rows))


def _row(node: str, result: "pb.ServiceSyncResult | None") -> nodes.Row:
    return {
        "service": result.name if result else "",
        "node": node,
        "changed": bool(result and result.changed),
        "summary": result.summary if result else "",
        "error": result.error if result else "",
        "kept": list(result.kept) if result else [],
    }


def _print(row: nodes.Row, *, is_defined: bool) -> None:
    about = f"{row['service']} on {row['node']}"
    if row["summary"]:
        remedy = "" if is_defined else f"; remove it with {undeploy_command(row['node'], row['service'])}"
        output.line(f"{about}: {row['summary']}{remedy}")
    for name in row["kept"]:
        remove = undeploy_command(row["node"], row["service"], name)
        output.line(
            f"{about}: {name} is kept, although it was removed from the definition; "
            f"remove it with `mcp sync --prune {row['service']}` or {remove}"
        )
    if row["error"]:
        output.error(f"{about}: {row['error']}")


COMMAND = Command(
    "sync",
    "reconcile nodes with the definitions",
    run,
    group=Group.SERVICES,
    changes=True,
    interrupted=NODE_CONTINUES,
    differences=changes.DIFFERENCES,
    arguments=(
        *changes.SCOPE,
        changes.PRUNE,
        flag("--dry-run", help="only show the changes, like mcp plan"),
        changes.EXIT_CODE,
        arguments.JSON,
    ),
)
