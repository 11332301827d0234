"""mcp rollback SERVICE"""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mcp.client.fleet import NodeAnswer
from mcp.client.session import Session, Target
from mcp.commands import arguments, changes, results, steps
from mcp.shared.errors import NotFound, NotReady
from mcp.terminal import output

if TYPE_CHECKING:
    from proto.mcp.v1 import mcp_pb2 as pb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("target", type=arguments.service, metavar="SERVICE", help="what to roll back")
    parser.add_argument(
        "--to", type=arguments.count, metavar="N", help="the deploy to go back to, a number that mcp history shows"
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what would change")
    parser.add_argument("-q", "--quiet", action="store_true", help="do not show steps as they happen")
    arguments.add_node(parser)
    arguments.add_json(parser)


def run(session: Session, args: argparse.Namespace) -> int:
    """Deploy an earlier definition again: the last one that worked and is not the present one, or the one named."""
    from mcp.shared.wire import service_from_wire  # slow to import, and completion imports this module

    target = session.target((args.target, ""), args.node)
    with session.agent(target.node) as agent:
        entry = choose(target.service, agent.history(target.service, 0).entries, args.to)
        service = service_from_wire(entry.definition)
        if args.dry_run:
            plan = NodeAnswer(target.node, agent.plan([service], partial=True), None)
            return changes.show([plan], args.json)
        done = steps.deploy(agent, service, quiet=args.quiet or args.json)
    status = results.show(target.service, target.node.name, f"rolled back to deploy {entry.number}", done, args.json)
    _remind(target, entry)
    return status


def choose(service: str, entries: "Sequence[pb.HistoryEntry]", number: int | None) -> "pb.HistoryEntry":
    """The deploy to go back to (`entries`: newest first); raises NotFound or NotReady where there is none."""
    if number is not None:
        found = [entry for entry in entries if entry.number == number]
        if not found:
            raise NotFound(f"{service} has no deploy {number}", f"see mcp history {service}")
        if found[0].result != "done":
            raise NotReady(f"deploy {number} of {service} is {found[0].result}", "choose one that is done")
        return found[0]
    done = [entry for entry in entries if entry.result == "done"]
    for entry in done[1:]:
        if entry.definition != done[0].definition:
            return entry
    raise NotFound(f"{service} has no earlier deploy that worked and differs from the present one")


def _remind(target: Target, entry: "pb.HistoryEntry") -> None:
    from mcp.shared.wire import service_from_wire

    if target.definition is not None and target.definition.service != service_from_wire(entry.definition):
        output.note(
            f"{target.service}.toml says something else: until it is changed, `mcp sync` would undo the rollback"
        )
