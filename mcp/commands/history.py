"""mcp history SERVICE [show N]"""

import argparse
from typing import TYPE_CHECKING

from mcp.commands.shared import Group, arguments, nodes
from mcp.shared.command import Command, argument
from mcp.shared.errors import EXIT_DONE, InvalidInput, NotFound
from mcp.terminal import output

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mcp.client.session import Session, Target
    from proto.mcp.v1 import mcp_pb2 as pb

HIDDEN = "***"
HEADERS = ("NUMBER", "WHEN", "USER", "RESULT", "COMPONENT", "VERSIONS", "ERROR")


def run(session: "Session", args: argparse.Namespace) -> int:
    """Show the deploys of a service, newest first, or one of them whole."""
    if args.verb and args.number is None:
        raise InvalidInput("show needs the number of a deploy", f"as in mcp history {args.target} show 3")
    target = nodes.deployed(session, (args.target, ""), args.node)
    with session.agent(target.node) as agent:
        entries = agent.history(target.service, 0 if args.verb else args.limit).entries
    if args.verb:
        return _show(target, entries, args)
    if args.json:
        output.print_json([row(entry) for entry in entries])
    else:
        output.table(HEADERS, [_cells(entry) for entry in entries])
    return EXIT_DONE


def _show(target: "Target", entries: "Iterable[pb.HistoryEntry]", args: argparse.Namespace) -> int:
    """Print one deploy, with its whole error and its definition."""
    entry = next((entry for entry in entries if entry.number == args.number), None)
    if entry is None:
        raise NotFound(f"{target.service} has no deploy {args.number}", f"see mcp history {target.service}")
    definition = _definition(target, entry)
    if args.json:
        output.print_json({**row(entry), "definition": definition})
        return EXIT_DONE
    for name, value in _facts(target, entry):
        output.line(f"{name + ':':<11}{value}")
    output.line("")
    output.line("# the definition, without the values of variables")
    output.text(definition)
    return EXIT_DONE


def _facts(target: "Target", entry: "pb.HistoryEntry") -> "Iterator[tuple[str, str]]":
    yield "deploy", f"{entry.number} of {target.service} on {target.node.name}"
    yield "time", _when(entry)
    yield "user", entry.user
    yield "result", entry.result
    yield "component", entry.component or "all"
    for name, digest in sorted(entry.digests.items()):
        yield "digest", f"{name} {digest}"
    if entry.error:
        yield "error", entry.error


def _definition(target: "Target", entry: "pb.HistoryEntry") -> str:
    """Return the definition in TOML, without values of environment variables, which may be secrets."""
    from dataclasses import replace

    from mcp.definitions.definitions import Definition
    from mcp.definitions.writer import write
    from mcp.shared.wire import service_from_wire

    service = service_from_wire(entry.definition)
    components = [
        replace(component, env=tuple(f"{variable.partition('=')[0]}={HIDDEN}" for variable in component.env))
        for component in service.components
    ]
    return write(Definition(target.node.name, replace(service, components=tuple(components)), path=service.name))


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
    description="`mcp history SERVICE show N` prints the whole error and the definition of deploy N.",
    arguments=(
        arguments.one_service("the service"),
        argument("verb", nargs="?", choices=("show",), help="show one deploy"),
        argument("number", nargs="?", type=arguments.count, metavar="N", help="the number of the deploy to show"),
        argument("-n", "--limit", type=arguments.count, default=0, metavar="N", help="only the last N deploys"),
        arguments.NODE,
        arguments.JSON,
    ),
)
