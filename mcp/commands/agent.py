"""mcp agent recover NODE"""

import argparse
from typing import TYPE_CHECKING

from mcp import output
from mcp.commands import arguments
from mcp.session import Session
from mcp.shared.errors import EXIT_DONE, EXIT_FAILED

if TYPE_CHECKING:
    from proto.mcp.v1 import mcp_pb2 as pb

HEADERS = ("SERVICE", "COMPONENT", "ACTION", "RESULT")
RECOVER = "bring up what should run on a node and does not: start containers, make again those that are gone"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its sub-commands."""
    commands = parser.add_subparsers(dest="agent_command", required=True, metavar="COMMAND")
    recover = commands.add_parser("recover", help=RECOVER, description=RECOVER[0].upper() + RECOVER[1:] + ".")
    recover.add_argument("node", metavar="NODE", help="a node of mcp.toml")
    recover.add_argument("--dry-run", action="store_true", help="only show what would be done")
    arguments.add_json(recover)


def run(session: Session, args: argparse.Namespace) -> int:
    """Bring up, from the node's registry alone, every component that should run; what runs is not touched."""
    node = session.config.node(args.node)
    with session.agent(node) as agent:
        results = agent.recover(dry_run=args.dry_run).results
    if args.json:
        output.print_json([_row(result, dry_run=args.dry_run) for result in results])
    elif results:
        output.table(HEADERS, [_cells(result, dry_run=args.dry_run) for result in results])
    else:
        output.note(f"nothing should run on {node.name}: no component that is registered there is to be running")
    failed = [result for result in results if not result.success]
    if not args.json:
        for result in failed:
            output.error(f"{result.service}/{result.component}: {result.error}")
    return EXIT_FAILED if failed else EXIT_DONE


def _row(result: "pb.RecoverResult", *, dry_run: bool) -> dict[str, object]:
    return {
        "service": result.service,
        "component": result.component,
        "action": result.action,
        "done": result.success and not dry_run,
        "error": result.error,
    }


def _cells(result: "pb.RecoverResult", *, dry_run: bool) -> list[str]:
    if not result.success:
        outcome = "failed"
    elif result.action == "none":
        outcome = "nothing to do"
    else:
        outcome = "would be done" if dry_run else "done"
    return [result.service, result.component, "" if result.action == "none" else result.action, outcome]
