"""mcp purge [SERVICE[/COMPONENT]]"""

import argparse
from typing import TYPE_CHECKING

from mcp.client import fleet
from mcp.client.session import Session
from mcp.commands import arguments
from mcp.definitions import definitions
from mcp.shared.errors import EXIT_DONE, EXIT_FAILED, NotFound, NotReady
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.agent import AgentClient
    from proto.mcp.v1 import mcp_pb2 as pb

HEADERS = ("SERVICE", "COMPONENT", "NODE", "RESULT", "REASON")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "target",
        type=arguments.target,
        nargs="?",
        default=("", ""),
        metavar="SERVICE[/COMPONENT]",
        help="what to purge (default: all that may go)",
    )
    parser.add_argument("--node", metavar="NODE", help="only on this node (default: all)")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be purged")
    arguments.add_json(parser)


def run(session: Session, args: argparse.Namespace) -> int:
    """Make nodes forget components that no definition has and whose container is gone or stopped."""
    nodes = [session.config.node(args.node)] if args.node else session.config.nodes
    defined = _defined(session, named=bool(args.target[0]))

    def ask(agent: "AgentClient") -> "list[pb.PurgeResult]":
        try:
            return list(agent.purge(*args.target, dry_run=args.dry_run, defined=defined[agent.node.name]).results)
        except NotFound:
            return []  # other nodes may have it

    answers = fleet.ask_all(session, nodes, ask)
    found = [(answer.node.name, result) for answer in answers for result in answer.value or []]
    _show(found, args)
    for answer in answers:
        if answer.error is not None:
            output.error(str(answer.error))
    if args.target[0] and not found and not fleet.exit_code(answers):
        raise NotFound(f"{'/'.join(filter(None, args.target))} is registered on no node that was asked")
    refused = args.target[0] and not all(result.purged for _, result in found)
    return fleet.exit_code(answers) or (EXIT_FAILED if refused else EXIT_DONE)


def _defined(session: Session, *, named: bool) -> dict[str, list[str]]:
    """SERVICE/COMPONENT of every definition, by node; all must be sound, since one that is not might be of any node."""
    names = definitions.service_names(session.config)
    if not names and not named:
        raise NotReady(
            f"there are no definitions in {session.config.services_dir}, so all that is stopped would be purged",
            "name the service, or check [services] dir in mcp.toml",
        )
    found: dict[str, list[str]] = {node.name: [] for node in session.config.nodes}
    for name in names:
        definition = definitions.load(session.config, name)
        components = [f"{name}/{component}" for component in definition.service.component_names()]
        found.setdefault(definition.node, []).extend(components)
    return found


def _show(found: "list[tuple[str, pb.PurgeResult]]", args: argparse.Namespace) -> None:
    if args.json:
        output.print_json(
            [
                {
                    "service": result.service,
                    "component": result.component,
                    "node": node,
                    "purged": result.purged and not args.dry_run,
                    "eligible": result.purged,
                    "reason": result.reason,
                }
                for node, result in found
            ]
        )
        return
    done = "would be purged" if args.dry_run else "purged"
    rows = [
        [result.service, result.component, node, done if result.purged else "kept", result.reason]
        for node, result in found
    ]
    if rows:
        output.table(HEADERS, rows)
