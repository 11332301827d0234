"""mcp adopt SERVICE | --all"""

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mcp.commands.shared import Group, arguments, nodes
from mcp.shared.command import Command, flag
from mcp.shared.errors import InvalidInput, NotFound
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.session import Session
    from mcp.config.configuration import Node
    from proto.mcp.v1 import mcp_pb2 as pb


def run(session: "Session", args: argparse.Namespace) -> int:
    """Register unmanaged containers without a restart; print a line per container, or the definitions."""
    if bool(args.target) == args.all:
        raise InvalidInput("adopt: name a service, or give --all for every unmanaged container")
    answers = nodes.ask(
        session,
        _nodes(session, args),
        lambda agent: list(agent.adopt(args.target or "", every=args.all, dry_run=args.dry_run).results),
        changes=True,
    )
    answered = [(answer.node, answer.value) for answer in answers if answer.value is not None]
    if args.json:
        output.print_json([_row(node.name, result, args.dry_run) for node, results in answered for result in results])
    else:
        for node, results in answered:
            _show(node.name, results, dry_run=args.dry_run)
    refused = any(not result.success for _, results in answered for result in results)
    return nodes.finish(answers, failed=refused)


def _nodes(session: "Session", args: argparse.Namespace) -> "list[Node]":
    if args.target and not args.node and len(session.config.nodes) != 1:
        return [_defined_node(session, args.target)]
    return nodes.select(session, args.node)


def _defined_node(session: "Session", service: str) -> "Node":
    try:
        return session.target((service, ""), None).node
    except NotFound:
        raise InvalidInput(f"{service} has no definition, so its node is unknown", "give --node NODE") from None


def _show(node: str, results: "list[pb.AdoptResult]", *, dry_run: bool) -> None:
    if not results:
        output.note(f"{node}: no unmanaged containers")
    adopted = [result for result in results if result.success]
    services = list(dict.fromkeys(result.service for result in adopted))
    if dry_run:
        for service in services:
            _show_definition(node, service, [result for result in adopted if result.service == service])
    else:
        for result in adopted:
            output.line(f"{result.service}/{result.component}: adopted on {node}")
    for result in results:
        if not result.success:
            output.error(f"{node}: {result.container}: {result.error}")
        for note in result.notes:
            output.note(f"{node}: {result.container}: {note}")
    if services and not dry_run:
        output.note(f"write their definitions with `mcp service export --with-env --node {node}`")


def _show_definition(node: str, service: str, results: "Iterable[pb.AdoptResult]") -> None:
    from mcp.definitions import writer
    from mcp.definitions.definitions import Definition
    from mcp.definitions.export import left_out
    from mcp.shared.wire import stored_service
    from proto.mcp.v1 import mcp_pb2 as pb

    message = pb.ServiceSpec(name=service, active=True, components=[result.spec for result in results])
    output.line(f"# {service}.toml")
    definition = Definition(node, stored_service(message))
    for line in writer.write(definition).splitlines():
        output.line(line)
    output.line("")
    if names := left_out(definition):
        values = "once it is adopted, `mcp service export --with-env` has them"
        output.note(f"{service}: without the values of {', '.join(names)}: {values}")


def _row(node: str, result: "pb.AdoptResult", dry_run: bool) -> dict[str, object]:
    return {
        "container": result.container,
        "service": result.service,
        "component": result.component,
        "node": node,
        "adopted": result.success and not dry_run,
        "error": result.error,
        "notes": list(result.notes),
    }


COMMAND = Command(
    "adopt",
    "register running containers that MCP does not manage, without a restart",
    run,
    group=Group.NODES,
    changes=True,
    arguments=(
        arguments.one_service("adopt the containers SERVICE and SERVICE-*", optional=True),
        flag("--all", help="adopt every container that MCP does not manage"),
        arguments.node("only on this node (default: the one of the definition; with --all: all)"),
        flag("--dry-run", help="print the definitions only"),
        arguments.JSON,
    ),
)
