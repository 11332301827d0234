"""mcp rollback SERVICE"""

import argparse
from typing import TYPE_CHECKING

from mcp.commands.shared import NODE_CONTINUES, Group, arguments, changes, copies, nodes, results, steps
from mcp.shared.command import Command, argument, flag
from mcp.shared.errors import NotFound, Unavailable
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.session import Session, Target
    from proto.mcp.v1 import mcp_pb2 as pb


def run(session: "Session", args: argparse.Namespace) -> int:
    """Deploy the definition of an earlier deploy again, which the agent has in its history."""
    changes.check_exit_code(args)
    if args.to == 0:
        raise NotFound(f"{args.target} has no deploy 0", f"see mcp history {args.target}")
    target = nodes.deployed(session, (args.target, ""), args.node)
    copies.refuse(copies.of_other_nodes(session, target.service, target.node.name))
    defined = target.definition.service if target.definition is not None else None
    with session.agent(target.node) as agent:
        events = agent.rollback(target.service, args.to or 0, defined, prune=args.prune, dry_run=args.dry_run)
        first = next(events, None)
        if first is None or not first.HasField("choice"):
            raise Unavailable("the agent ended the operation without a result", f"see mcp status {target.service}")
        choice = first.choice
        if args.dry_run:
            return _finish(target, choice, _show_plan(target, choice, args))
        done = steps.results(agent, events, target.service, quiet=args.quiet or args.json)
    text = f"rolled back to deploy {choice.number}"
    return _finish(target, choice, results.show(target.service, target.node.name, text, done, args.json))


def _show_plan(target: "Target", choice: "pb.RollbackChoice", args: argparse.Namespace) -> int:
    from mcp.client.fleet import NodeAnswer
    from proto.mcp.v1 import mcp_pb2 as pb

    return changes.show([NodeAnswer(target.node, pb.PlanResponse(changes=choice.changes), None)], args)


def _finish(target: "Target", choice: "pb.RollbackChoice", status: int) -> int:
    if choice.differs:
        output.note(f"{target.service}.toml differs: `mcp sync` undoes the rollback unless you change it")
    return status


COMMAND = Command(
    "rollback",
    "return to an earlier deploy of a service",
    run,
    group=Group.SERVICES,
    changes=True,
    interrupted=NODE_CONTINUES,
    differences=changes.DIFFERENCES,
    description="The default is the last successful deploy, or if that is what is deployed, the last one that differs.",
    arguments=(
        arguments.one_service("the service"),
        argument(
            "--to", type=arguments.count, metavar="N", help="the deploy to return to, by its number in mcp history"
        ),
        flag("--prune", help="remove components that the earlier deploy did not have"),
        flag("--dry-run", help="only show the changes"),
        changes.EXIT_CODE,
        steps.QUIET,
        arguments.NODE,
        arguments.JSON,
    ),
)
