"""Definitions by node, and output of planned changes, for plan, sync, deploy and rollback."""

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mcp.commands.shared import arguments, copies, nodes, undeploy_command
from mcp.commands.shared.copies import Copy
from mcp.shared.command import Differences, flag
from mcp.shared.errors import EXIT_DONE, EXIT_FAILED, InvalidInput, NotFound
from mcp.shared.states import Action
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.agent import AgentClient
    from mcp.client.fleet import NodeAnswer
    from mcp.client.session import Session
    from mcp.config.configuration import Node
    from mcp.definitions.definitions import Definition
    from mcp.shared.spec import ServiceSpec
    from proto.mcp.v1 import mcp_pb2 as pb

EXIT_CHANGES = 2  # with --exit-code, as of `terraform plan -detailed-exitcode`
DIFFERENCES = Differences("--exit-code", "no changes", "there are changes")
EXIT_CODE = flag("--exit-code", help="exit with 2 if there are changes, and with 1 for any error")
PRUNE = flag("--prune", help="remove components that were removed from the definition of their service")
SCOPE = (
    arguments.one_service("only this service (default: all)", "service", optional=True),
    arguments.node("only this node"),
)


class DefinitionsByNode(NamedTuple):
    """The definitions for a node; `partial` if the node has others, which `leave` are services to leave alone."""

    node: "Node"
    services: "tuple[ServiceSpec, ...]"
    partial: bool
    leave: tuple[str, ...]


class Wanted(NamedTuple):
    """The definitions of a command, by node, without those that are `held` since a copy runs on another node.

    `strays` are all copies that are not on the node of their definition.
    """

    parts: list[DefinitionsByNode]
    held: "list[tuple[Definition, Copy]]"
    strays: list[Copy]


def wanted(session: "Session", service: str | None, node: str | None) -> Wanted:
    """Read the definitions of one service, of one node, or all, and look for copies on other nodes.

    Raises InvalidFile if any definition is invalid.
    """
    loaded, selected = _load(session, service, node)
    homes = {definition.service.name: definition.node for definition in loaded}
    names = [target.name for target in selected]
    strays = copies.misplaced(copies.registered(session, names), homes)
    copy_of = {copy.service: copy for copy in strays}
    here = [each for each in loaded if each.node in names]
    held = [(each, copy_of[each.service.name]) for each in here if each.service.active and each.service.name in copy_of]
    out = {copy.service for _, copy in held}
    rest = [each for each in here if each.service.name not in out]
    services = {target.name: tuple(each.service for each in rest if each.node == target.name) for target in selected}
    partial, leave = service is not None, tuple(copy_of)
    parts = [DefinitionsByNode(target, services[target.name], partial, leave) for target in selected]
    return Wanted(parts, held, strays)


def _load(session: "Session", service: str | None, node: str | None) -> "tuple[list[Definition], list[Node]]":
    """Return the definitions to compare with each other, and the nodes to compare with them."""
    from mcp.definitions import definitions, neighbours

    if service is not None:
        definition = definitions.load(session.config, service)
        neighbours.check_ports(session.config, [definition])
        if node not in (None, definition.node):
            raise InvalidInput(f"{service} is defined for {definition.node}, not for {node}", "omit --node")
        return [definition], [session.config.node(definition.node)]
    loaded = [definitions.load(session.config, name) for name in definitions.service_names(session.config)]
    neighbours.check_ports(session.config, loaded)
    for definition in loaded:
        session.config.node(definition.node)
    selected = nodes.select(session, node)
    if not selected:
        raise NotFound(f"{session.config.source} has no [[nodes]] yet", "add one with `mcp node add`")
    return loaded, selected


def plan(session: "Session", args: argparse.Namespace) -> int:
    """Show the plan of every node for the service and node of `args`, with copies on other nodes."""
    asked = wanted(session, args.service, args.node)
    by_node = {part.node.name: part for part in asked.parts}

    def ask(agent: "AgentClient") -> "pb.PlanResponse":
        part = by_node[agent.node.name]
        return agent.plan(part.services, partial=part.partial, prune=args.prune, leave=part.leave)

    answers = nodes.ask(session, [part.node for part in asked.parts], ask)
    strays = [row for copy in asked.strays if copy.node in by_node for row in _stray_rows(copy)]
    return show(answers, args, [*held_rows(asked.held), *strays])


def held_rows(held: "Sequence[tuple[Definition, Copy]]") -> Iterator[nodes.Row]:
    """Yield the rows of components that are not deployed since a copy of their service is on another node."""
    for definition, copy in held:
        for name in definition.service.component_names():
            yield _row(copy.service, name, definition.node, Action.BLOCKED, [copy.text], [copy.remedy])


def _stray_rows(copy: Copy) -> Iterator[nodes.Row]:
    for name in copy.components:
        yield _row(
            copy.service, name, copy.node, Action.KEEP, [copy.text, "is defined for another node"], [copy.remedy]
        )


def moved_rows(moved: Sequence[Copy], node: str) -> Iterator[nodes.Row]:
    """Yield the rows of components that are undeployed to run on another `node`."""
    for copy in moved:
        for name in copy.components:
            yield _row(copy.service, name, copy.node, Action.REMOVE, [f"moves to {node}"], [], ["undeploy it"])


def _row(
    service: str,
    component: str,
    node: str,
    action: str,
    reasons: list[str],
    notes: list[str],
    steps: Sequence[str] = (),
) -> nodes.Row:
    return {
        "service": service,
        "component": component,
        "node": node,
        "action": action,
        "reasons": reasons,
        "notes": notes,
        "steps": list(steps),
    }


def rows(answers: "Sequence[NodeAnswer[pb.PlanResponse]]") -> list[nodes.Row]:
    """Return the changes of all nodes that answered, for a table or JSON."""
    return [
        _row(
            change.service,
            change.component,
            answer.node.name,
            change.action,
            list(change.reasons),
            [*change.notes, *_remedy(answer.node.name, change)],
            change.steps,
        )
        for answer in answers
        if answer.value is not None
        for change in answer.value.changes
    ]


def _remedy(node: str, change: "pb.PlannedChange") -> Iterator[str]:
    if change.action == Action.KEEP:
        remove = undeploy_command(node, change.service, change.component)
        yield f"remove it with `mcp sync --prune {change.service}` or {remove}"
    if change.action == Action.IGNORE:
        yield f"remove it with {undeploy_command(node, change.service)}"


def show(
    answers: "Sequence[NodeAnswer[pb.PlanResponse]]",
    args: argparse.Namespace,
    more: Sequence[nodes.Row] = (),
    *,
    steps: bool = False,
) -> int:
    """Print `more` rows, and planned changes; return 0, or with --exit-code 2 for changes and 1 for an error."""
    changes = [*more, *rows(answers)]
    if args.json:
        output.print_json(changes)
    else:
        for row in changes:
            tail = "; ".join([*row["reasons"], *row["notes"]])
            about = f" ({tail})" if tail else ""
            output.line(f"{row['action']:<8} {row['service']}/{row['component']} on {row['node']}{about}")
            for number, title in enumerate(row["steps"] if steps else (), 1):
                output.line(f"  {number}. {title}")
        if not changes and all(answer.error is None for answer in answers):
            output.line("nothing to do: nodes match the definitions")
    status = nodes.finish(answers)
    if not args.exit_code:
        return status
    return EXIT_FAILED if status else EXIT_CHANGES if any(map(_is_pending, changes)) else EXIT_DONE


def _is_pending(row: nodes.Row) -> bool:
    """Return True for a change that is to be made, or that cannot be made."""
    return row["action"] == Action.BLOCKED or bool(row["action"] != Action.IGNORE and row["steps"])


def check_exit_code(args: argparse.Namespace) -> None:
    """Raise InvalidInput for --exit-code without --dry-run."""
    if args.exit_code and not args.dry_run:
        raise InvalidInput("--exit-code is only for --dry-run", "add --dry-run")
