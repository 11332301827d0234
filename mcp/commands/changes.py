"""What the definitions ask of the nodes, and showing what would change: for plan, sync and rollback."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mcp.client import fleet
from mcp.client.fleet import NodeAnswer
from mcp.client.session import Session
from mcp.commands import arguments
from mcp.config.configuration import Node
from mcp.definitions import definitions
from mcp.shared.errors import EXIT_DONE, InvalidInput, NotFound
from mcp.shared.spec import ServiceSpec
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.agent import AgentClient
    from proto.mcp.v1 import mcp_pb2 as pb

EXIT_CHANGES = 2  # of plan, as terraform and diff have it: there is something to do


@dataclass(frozen=True)
class DefinitionsByNode:
    """What should run on one node; `partial` where these are not all of its definitions."""

    node: Node
    services: tuple[ServiceSpec, ...]
    partial: bool


def wanted(session: Session, service: str | None, node: str | None) -> list[DefinitionsByNode]:
    """The definitions by node: of one service, of one node, or all. Raises InvalidFile for any that is wrong."""
    if service is not None:
        definition = definitions.load(session.config, service)
        if node not in (None, definition.node):
            raise InvalidInput(f"{service} is defined for {definition.node}, not for {node}", "leave out --node")
        return [DefinitionsByNode(session.config.node(definition.node), (definition.service,), True)]
    names = definitions.service_names(session.config)
    loaded = [definitions.load(session.config, name) for name in names]
    for definition in loaded:
        session.config.node(definition.node)
    nodes = [session.config.node(node)] if node is not None else list(session.config.nodes)
    if not nodes:
        raise NotFound(f"{session.config.source} has no [[nodes]] yet", "add one with mcp node add")
    return [
        DefinitionsByNode(each, tuple(one.service for one in loaded if one.node == each.name), False) for each in nodes
    ]


def add_scope(parser: argparse.ArgumentParser) -> None:
    """[SERVICE] or --node: what is compared."""
    parser.add_argument(
        "service", type=arguments.service, nargs="?", metavar="SERVICE", help="only this service (default: all)"
    )
    parser.add_argument("--node", metavar="NODE", help="only this node")


def ask(session: Session, service: str | None, node: str | None) -> "list[NodeAnswer[pb.PlanResponse]]":
    """What every node would do."""
    by_node = {each.node.name: each for each in wanted(session, service, node)}

    def plan(agent: "AgentClient") -> "pb.PlanResponse":
        asked = by_node[agent.node.name]
        return agent.plan(asked.services, partial=asked.partial)

    return fleet.ask_all(session, [each.node for each in by_node.values()], plan)


def rows(answers: "Sequence[NodeAnswer[pb.PlanResponse]]") -> list[dict[str, object]]:
    """Every change of every node that answered, for a table or JSON."""
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
    """Print what would be done; returns 0 for nothing, EXIT_CHANGES for changes, 1 where a node did not answer."""
    found = rows(answers)
    if as_json:
        output.print_json(found)
    else:
        for row in found:
            reasons = row["reasons"]
            assert isinstance(reasons, list)
            tail = f" ({'; '.join(reasons)})" if reasons else ""
            output.line(f"{row['action']:<8} {row['service']}/{row['component']} on {row['node']}{tail}")
            titles = row["steps"]
            assert isinstance(titles, list)
            for number, title in enumerate(titles if steps else (), 1):
                output.line(f"  {number}. {title}")
        if not found and all(answer.error is None for answer in answers):
            output.line("nothing to do: what runs is what the definitions say")
    failed = [answer for answer in answers if answer.error is not None]
    for answer in failed:
        output.error(str(answer.error))
    return 1 if failed else EXIT_CHANGES if found else EXIT_DONE
