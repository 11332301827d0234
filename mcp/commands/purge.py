"""mcp purge [SERVICE[/COMPONENT]]"""

import argparse
from typing import TYPE_CHECKING

from mcp.commands.shared import Group, arguments, nodes, undeploy_command
from mcp.shared.command import Command, Kind, argument, flag
from mcp.shared.errors import NotFound, NotReady

if TYPE_CHECKING:
    from mcp.client.agent import AgentClient
    from mcp.client.session import Session
    from proto.mcp.v1 import mcp_pb2 as pb


def run(session: "Session", args: argparse.Namespace) -> int:
    """Remove registry entries that have no definition and no running container."""
    defined = _defined(session, named=bool(args.target[0]))

    def ask(agent: "AgentClient") -> "list[pb.PurgeResult]":
        try:
            return list(agent.purge(*args.target, dry_run=args.dry_run, defined=defined[agent.node.name]).results)
        except NotFound:
            return []  # it may be registered on other nodes

    answers = nodes.ask(session, nodes.select(session, args.node), ask, changes=True)
    results = [(answer.node.name, result) for answer in answers for result in answer.value or []]
    _show(results, args)
    if args.target[0] and not results and all(answer.error is None for answer in answers):
        raise NotFound(f"{'/'.join(filter(None, args.target))} is not registered on any selected node")
    refused = args.target[0] and not all(result.purged for _, result in results)
    return nodes.finish(answers, failed=bool(refused))


def _defined(session: "Session", *, named: bool) -> dict[str, list[str]]:
    """Return SERVICE/COMPONENT of all definitions by node; all must be valid, as an invalid one may be for any node."""
    from mcp.definitions import definitions

    names = definitions.service_names(session.config)
    if not names and not named:
        raise NotReady(
            f"no definitions in {session.config.services_dir}, so every stopped component would be purged",
            "name the service, or check [services] dir in mcp.toml",
        )
    found: dict[str, list[str]] = {node.name: [] for node in session.config.nodes}
    for name in names:
        definition = definitions.load(session.config, name)
        components = [f"{name}/{component}" for component in definition.service.component_names()]
        found.setdefault(definition.node, []).extend(components)
    return found


def _show(results: "list[tuple[str, pb.PurgeResult]]", args: argparse.Namespace) -> None:
    rows = [
        {
            "service": result.service,
            "component": result.component,
            "node": node,
            "purged": result.purged and not args.dry_run,
            "eligible": result.purged,
            "reason": _reason(node, result),
        }
        for node, result in results
    ]
    done = "would be purged" if args.dry_run else "purged"
    columns = ("service", "component", "node", "result", "reason")
    if rows or args.json:
        nodes.show(rows, columns, args.json, {"result": lambda row: done if row["eligible"] else "kept"})


def _reason(node: str, result: "pb.PurgeResult") -> str:
    if not result.undeploy:
        return result.reason
    return f"{result.reason}; remove it with {undeploy_command(node, result.service, result.component)}"


COMMAND = Command(
    "purge",
    "remove registry entries that have no definition and no running container",
    run,
    group=Group.NODES,
    changes=True,
    arguments=(
        argument(
            "target",
            type=arguments.target,
            nargs="?",
            default=("", ""),
            metavar=Kind.TARGET,
            help="the entry to remove (default: all such entries)",
        ),
        arguments.node("only on this node (default: all)"),
        flag("--dry-run", help="only show the entries"),
        arguments.JSON,
    ),
)
