"""Definitions by node, and output of planned changes, for plan, sync and rollback."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from mcp.commands.shared import arguments, nodes
from mcp.shared.errors import EXIT_DONE, EXIT_FAILED, InvalidInput, NotFound
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.agent import AgentClient
    from mcp.client.fleet import NodeAnswer
    from mcp.client.session import Session
    from mcp.config.configuration import Node
    from mcp.shared.spec import ServiceSpec
    from proto.mcp.v1 import mcp_pb2 as pb

EXIT_CHANGES = 2  # of plan, as in terraform
SCOPE = (
    arguments.one_service("only this service (default: all)", "service", optional=True),
    arguments.node("only this node"),
)


class DefinitionsByNode(NamedTuple):
    """The definitions for a node; `partial` if the node has others."""

    node: "Node"
    services: "tuple[ServiceSpec, ...]"
    partial: bool


def wanted(session: "Session", service: str | None, node: str | None) -> list[DefinitionsByNode]:
    """Read the definitions of one service, of one node, or all, by node; raises InvalidFile if any is invalid."""
    from mcp.definitions import definitions, neighbours

    if service is not None:
        definition = definitions.load(session.config, service)
        neighbours.check_ports(session.config, [definition])
        if node not in (None, definition.node):
            raise InvalidInput(f"{service} is defined for {definition.node}, not for {node}", "omit --node")
        return [DefinitionsByNode(session.config.node(definition.node), (definition.service,), True)]
    names = definitions.service_names(session.config)
    loaded = [definitions.load(session.config, name) for name in names]
    neighbours.check_ports(session.config, loaded)
    for definition in loaded:
        session.config.node(definition.node)
    selected = nodes.select(session, node)
    if not selected:
        raise NotFound(f"{session.config.source} has no [[nodes]] yet", "add one with `mcp node add`")
    return [
        DefinitionsByNode(target, tuple(found.service for found in loaded if found.node == target.name), False)
        for target in selected
    ]


def ask(session: "Session", service: str | None, node: str | None) -> "list[NodeAnswer[pb.PlanResponse]]":
    """Request the plan of every node."""
    by_node = {definitions.node.name: definitions for definitions in wanted(session, service, node)}

    def plan(agent: "AgentClient") -> "pb.PlanResponse":
        asked = by_node[agent.node.name]
        return agent.plan(asked.services, partial=asked.partial)

    return nodes.ask(session, [definitions.node for definitions in by_node.values()], plan)


def rows(answers: "Sequence[NodeAnswer[pb.PlanResponse]]") -> list[nodes.Row]:
    """Return the changes of all nodes that answered, for a table or JSON."""
    return [
        {
            "service": change.service,
            "component": change.component,
            "node": answer.node.name,
            "action": change.action,
            "reasons": list(change.reasons),
            "steps": list(change.steps),
        }
        for answer in answers
        if answer.value is not None
        for change in answer.value.changes
    ]


def show(answers: "Sequence[NodeAnswer[pb.PlanResponse]]", as_json: bool, *, steps: bool = False) -> int:
    """Print planned changes; return 0 if there are none, else EXIT_CHANGES; 1 if a node did not answer."""
    changes = rows(answers)
    if as_json:
        output.print_json(changes)
    else:
        for row in changes:
            tail = f" ({'; '.join(row['reasons'])})" if row["reasons"] else ""
            output.line(f"{row['action']:<8} {row['service']}/{row['component']} on {row['node']}{tail}")
            for number, title in enumerate(row["steps"] if steps else (), 1):
                output.line(f"  {number}. {title}")
        if not changes and all(answer.error is None for answer in answers):
            output.line("nothing to do: nodes match the definitions")
    if nodes.finish(answers):
        return EXIT_FAILED  # an error must not have the exit status for changes
    return EXIT_CHANGES if changes else EXIT_DONE
