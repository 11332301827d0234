"""mcp rollback SERVICE"""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mcp.commands.shared import NODE_CONTINUES, Group, arguments, changes, results, steps
from mcp.shared.command import Command, argument, flag
from mcp.shared.errors import NotFound, NotReady
from mcp.shared.states import DeployResult
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.session import Session, Target
    from proto.mcp.v1 import mcp_pb2 as pb


def run(session: "Session", args: argparse.Namespace) -> int:
    """Deploy the definition of an earlier deploy again."""
    from mcp.client.fleet import NodeAnswer
    from mcp.shared.wire import service_from_wire

    target = session.target((args.target, ""), args.node)
    with session.agent(target.node) as agent:
        entry = choose(target.service, agent.history(target.service, 0).entries, args.to)
        service = service_from_wire(entry.definition)
        if args.dry_run:
            plan = NodeAnswer(target.node, agent.plan([service], partial=True), None)
            status = changes.show([plan], args.json)
            _remind(target, entry)
            return status
        done = steps.deploy(agent, service, quiet=args.quiet or args.json)
    status = results.show(target.service, target.node.name, f"rolled back to deploy {entry.number}", done, args.json)
    _remind(target, entry)
    return status


def choose(service: str, entries: "Sequence[pb.HistoryEntry]", number: int | None) -> "pb.HistoryEntry":
    """Choose the deploy to return to from `entries`, newest first; raises NotFound or NotReady."""
    if number is not None:
        matching = [entry for entry in entries if entry.number == number]
        if not matching:
            raise NotFound(f"{service} has no deploy {number}", f"see mcp history {service}")
        if matching[0].result != DeployResult.DONE:
            raise NotReady(f"deploy {number} of {service} is {matching[0].result}", "choose a deploy with result done")
        return matching[0]
    done = [entry for entry in entries if entry.result == DeployResult.DONE]
    for entry in done[1:]:
        if entry.definition != done[0].definition:
            return entry
    raise NotFound(f"{service} has no earlier successful deploy that differs from the current one")


def _remind(target: "Target", entry: "pb.HistoryEntry") -> None:
    from mcp.shared.wire import service_from_wire

    if target.definition is not None and target.definition.service != service_from_wire(entry.definition):
        output.note(f"{target.service}.toml differs: `mcp sync` undoes the rollback unless you change it")


COMMAND = Command(
    "rollback",
    "return to an earlier deploy of a service",
    run,
    group=Group.SERVICES,
    changes=True,
    interrupted=NODE_CONTINUES,
    differences=True,
    description="The default is the last successful deploy whose definition differs from the current one.",
    arguments=(
        arguments.one_service("the service"),
        argument(
            "--to", type=arguments.count, metavar="N", help="the deploy to return to, by its number in mcp history"
        ),
        flag("--dry-run", help="only show the changes"),
        steps.QUIET,
        arguments.NODE,
        arguments.JSON,
    ),
)
