"""mcp history SERVICE [show N], mcp history show N"""

import argparse
import re
from typing import TYPE_CHECKING

from mcp.commands.shared import Group, arguments, nodes
from mcp.shared.command import Command, Kind, argument
from mcp.shared.errors import EXIT_DONE, InvalidInput, NotFound, shown
from mcp.terminal import output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcp.client.session import Session
    from mcp.config.configuration import Node
    from proto.mcp.v1 import mcp_pb2 as pb

HIDDEN = "***"
SHOW = "show"
HEADERS = ("NUMBER", "WHEN", "USER", "RESULT", "COMPONENT", "VERSIONS", "ERROR")


def run(session: "Session", args: argparse.Namespace) -> int:
    """Show the deploys of a service, newest first, or one of them whole."""
    service, number = _asked(args)
    if number is not None:
        return _show(*_find(session, service, number, args.node), as_json=args.json)
    target = nodes.deployed(session, (service, ""), args.node)
    with session.agent(target.node) as agent:
        entries = agent.history(target.service, args.limit).entries
    if args.json:
        output.print_json([row(entry) for entry in entries])
    else:
        output.table(HEADERS, [_cells(entry) for entry in entries])
    return EXIT_DONE


def _asked(args: argparse.Namespace) -> tuple[str, int | None]:
    """Return the service, empty in `history show N`, and the number of the deploy to show; raises InvalidInput."""
    service, verb, number = args.target, args.verb, args.number
    if verb is not None and verb != SHOW:
        if service == SHOW and number is None and re.fullmatch(r"[0-9]{1,9}", verb):
            return "", int(verb)
        raise InvalidInput(f"unexpected argument {shown(verb)}", f"use mcp history {service} show N")
    if verb == SHOW and number is None:
        raise InvalidInput("show needs the number of a deploy", f"as in mcp history {service} show 3")
    return service, number


def _find(session: "Session", service: str, number: int, node: str | None) -> "tuple[Node, pb.HistoryEntry]":
    """Find a deploy by its number, of any service if that is empty; raises McpError."""
    selected = [nodes.deployed(session, (service, ""), node).node] if service else nodes.select(session, node)
    answers = nodes.ask(
        session, selected if number else [], lambda agent: agent.history(service, number=number).entries
    )
    found = [(answer.node, entry) for answer in answers for entry in answer.value or () if entry.number == number]
    if len(found) == 1:
        return found[0]
    if found:
        places = " and ".join(f"{entry.definition.name} on {node.name}" for node, entry in found)
        raise InvalidInput(f"there is a deploy {number} of {places}", f"use mcp history SERVICE show {number}")
    for answer in answers:
        if answer.error is not None:
            raise answer.error
    if service:
        raise NotFound(f"{service} has no deploy {number}", f"see mcp history {service}")
    raise NotFound(f"no service has a deploy {number}", "see mcp history SERVICE")


def _show(node: "Node", entry: "pb.HistoryEntry", *, as_json: bool) -> int:
    """Print one deploy, with its whole error and its definition."""
    definition = _definition(node, entry)
    if as_json:
        output.print_json({**row(entry), "definition": definition})
        return EXIT_DONE
    for name, value in _facts(node, entry):
        output.line(f"{name + ':':<11}{value}")
    output.line("")
    output.line("# the definition, without the values of variables")
    output.text(definition)
    return EXIT_DONE


def _facts(node: "Node", entry: "pb.HistoryEntry") -> "Iterator[tuple[str, str]]":
    yield "deploy", f"{entry.number} of {entry.definition.name} on {node.name}"
    yield "time", _when(entry)
    yield "user", entry.user
    yield "result", entry.result
    yield "component", entry.component or "all"
    for name, digest in sorted(entry.digests.items()):
        yield "digest", f"{name} {digest}"
    if entry.error:
        yield "error", entry.error


def _definition(node: "Node", entry: "pb.HistoryEntry") -> str:
    """Return the definition in TOML, without values of environment variables, which may be secrets."""
    from dataclasses import replace

    from mcp.definitions.definitions import Definition
    from mcp.definitions.writer import write
    from mcp.shared.wire import stored_service

    service = stored_service(entry.definition)
    components = [
        replace(component, env=tuple(f"{variable.partition('=')[0]}={HIDDEN}" for variable in component.env))
        for component in service.components
    ]
    return write(Definition(node.name, replace(service, components=tuple(components)), path=service.name))


def row(entry: "pb.HistoryEntry") -> dict[str, object]:
    """Return a deploy for JSON, without values of environment variables, which may be secrets."""
    from datetime import UTC

    return {
        "number": entry.number,
        "time": entry.timestamp.ToDatetime(UTC).isoformat(timespec="seconds"),
        "user": entry.user,
        "result": entry.result,
        "component": entry.component,
        "images": {component.name: component.image for component in entry.definition.components},
        "digests": dict(entry.digests),
        "error": entry.error,
        "definition": None,
    }


def versions(entry: "pb.HistoryEntry") -> str:
    """Return the deployed versions by component."""
    from mcp.shared.image import image_version

    return " ".join(f"{spec.name}={image_version(spec.image)}" for spec in entry.definition.components)


def _when(entry: "pb.HistoryEntry") -> str:
    return entry.timestamp.ToDatetime().strftime("%Y-%m-%d %H:%M:%SZ")


def _cells(entry: "pb.HistoryEntry") -> list[str]:
    component = entry.component or "all"
    return [str(entry.number), _when(entry), entry.user, entry.result, component, versions(entry), entry.error]


COMMAND = Command(
    "history",
    "list the deploys of a service, newest first, or show one of them",
    run,
    group=Group.SERVICES,
    description=(
        "`mcp history SERVICE show N` prints the whole error and the definition of deploy N; `mcp history show N` does"
        " so for any service, if only one node has that number."
    ),
    arguments=(
        arguments.one_service("the service"),
        argument("verb", nargs="?", metavar=Kind.SHOW, help="show one deploy"),
        argument("number", nargs="?", type=arguments.count, metavar="N", help="the number of the deploy to show"),
        argument("-n", "--limit", type=arguments.count, default=0, metavar="N", help="only the last N deploys"),
        arguments.NODE,
        arguments.JSON,
    ),
)
