"""mcp deploy SERVICE[/COMPONENT]"""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mcp.commands.shared import NODE_CONTINUES, Group, arguments, changes, copies, results, steps, undeploy_command
from mcp.commands.shared.copies import Copy
from mcp.shared.command import Command, flag
from mcp.shared.errors import EXIT_DONE, EXIT_FAILED, InvalidInput, NotReady
from mcp.shared.states import Action
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.agent import AgentClient
    from mcp.client.session import Session, Target
    from mcp.definitions.definitions import Definition
    from proto.mcp.v1 import mcp_pb2 as pb


def run(session: "Session", args: argparse.Namespace) -> int:
    """Deploy a service, or one component, to the node of its definition."""
    from mcp.definitions import neighbours

    _check(args)
    target = session.target(args.target, None)
    assert target.definition is not None, "present unless --node is given"
    if not target.definition.service.active:
        raise NotReady(f"{target.service} is not active", "set active = true in its definition to deploy it")
    neighbours.check_ports(session.config, [target.definition])
    elsewhere = copies.of_other_nodes(session, target.service, target.node.name)
    if args.dry_run:
        return _dry_run(session, target, target.definition, elsewhere, args)
    if not args.move:
        copies.refuse(elsewhere)
    with session.agent(target.node) as agent:
        _undeploy(session, agent, target.definition, elsewhere, quiet=args.quiet or args.json)
        return _deploy(agent, target, target.definition, elsewhere, args)


def _check(args: argparse.Namespace) -> None:
    """Raise InvalidInput for options that exclude each other."""
    changes.check_exit_code(args)
    if args.target[1] and (args.prune or args.move):
        option = "--prune" if args.prune else "--move"
        raise InvalidInput(f"{option} is for whole services", f"name {args.target[0]} without a component")


def _dry_run(
    session: "Session",
    target: "Target",
    definition: "Definition",
    elsewhere: Sequence[Copy],
    args: argparse.Namespace,
) -> int:
    from mcp.client.fleet import NodeAnswer

    if elsewhere and not args.move:
        return changes.show([], args, list(changes.held_rows([(definition, elsewhere[0])])))
    with session.agent(target.node) as agent:
        plan = agent.plan(
            [definition.service], partial=True, component=target.component, force=args.force, prune=args.prune
        )
    more = list(changes.moved_rows(elsewhere, target.node.name))
    return changes.show([NodeAnswer(target.node, plan, None)], args, more, steps=True)


def _undeploy(
    session: "Session", agent: "AgentClient", definition: "Definition", moved: Sequence[Copy], *, quiet: bool
) -> None:
    """Undeploy a service on the nodes that it moves from, if it can be deployed where `agent` is."""
    service = definition.service.name
    for change in agent.plan([definition.service], partial=True).changes if moved else ():
        if change.action == Action.BLOCKED:
            what = f"{service}/{change.component} cannot be deployed: {'; '.join(change.reasons)}"
            raise NotReady(what, node=agent.node.name)
    for copy in moved:
        with session.agent(session.config.node(copy.node)) as other:
            events = other.lifecycle("undeploy", service)
            removed = steps.results(other, events, service, quiet=quiet)
        for result in removed:
            if not result.success:
                raise NotReady(f"{service}/{result.name} cannot be undeployed: {result.error}", node=copy.node)
            for text in (f"undeployed on {copy.node}", *result.notes):
                output.note(f"{service}/{result.name}: {text}")


def _deploy(
    agent: "AgentClient",
    target: "Target",
    definition: "Definition",
    moved: Sequence[Copy],
    args: argparse.Namespace,
) -> int:
    status, done = EXIT_FAILED, list["pb.ComponentResult"]()
    try:
        quiet = args.quiet or args.json
        done += steps.deploy(
            agent, definition.service, target.component, force=args.force, prune=args.prune, quiet=quiet
        )
        status = results.show(target.service, target.node.name, "deployed", done, args.json)
    finally:
        for copy in moved:
            if status == EXIT_DONE:
                output.note(f"the data in /srv/{copy.service} on {copy.node} was not moved; see mcp pull and mcp push")
            else:
                output.note(_way_back(copy, target.node.name if any(result.success for result in done) else ""))
    return status


def _way_back(copy: Copy, partly_on: str) -> str:
    """Tell how to undo a move that failed, but for some components if the service is `partly_on` another node."""
    first = f"{undeploy_command(partly_on, copy.service)} and " if partly_on else ""
    back = f"{first}`mcp rollback --node {copy.node} {copy.service}`"
    return f"{copy.service} no longer runs on {copy.node}; {back} {'deploy' if first else 'deploys'} it there again"


COMMAND = Command(
    "deploy",
    "deploy a service or one of its components",
    run,
    group=Group.SERVICES,
    changes=True,
    interrupted=NODE_CONTINUES,
    differences=changes.DIFFERENCES,
    description="A service that is still deployed on another node is refused, unless --move is given.",
    arguments=(
        arguments.TARGET,
        flag("--force", help="replace also containers that are up to date"),
        changes.PRUNE,
        flag("--move", help="first undeploy the service on other nodes; its data is not moved"),
        flag("--dry-run", help="only print the steps"),
        changes.EXIT_CODE,
        steps.QUIET,
        arguments.JSON,
    ),
)
