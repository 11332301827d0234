"""mcp history SERVICE"""

import argparse
from typing import TYPE_CHECKING

from mcp.commands.shared import Group, arguments
from mcp.shared.command import Command, argument
from mcp.shared.errors import EXIT_DONE
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.session import Session
    from proto.mcp.v1 import mcp_pb2 as pb

HEADERS = ("NUMBER", "WHEN", "USER", "RESULT", "COMPONENT", "VERSIONS", "ERROR")


def run(session: "Session", args: argparse.Namespace) -> int:
    """Show the deploys of a service, newest first."""
    target = session.target((args.target, ""), args.node)
    with session.agent(target.node) as agent:
        entries = agent.history(target.service, args.limit).entries
    if args.json:
        output.print_json([row(entry) for entry in entries])
    else:
        output.table(HEADERS, [_cells(entry) for entry in entries])
    return EXIT_DONE


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
    }


def versions(entry: "pb.HistoryEntry") -> str:
    """Return the deployed versions by component."""
    from mcp.shared.image import image_version

    return " ".join(f"{spec.name}={image_version(spec.image)}" for spec in entry.definition.components)


def _cells(entry: "pb.HistoryEntry") -> list[str]:
    when = entry.timestamp.ToDatetime().strftime("%Y-%m-%d %H:%M:%SZ")
    error = entry.error if len(entry.error) <= 60 else entry.error[:59] + "…"
    return [str(entry.number), when, entry.user, entry.result, entry.component or "all", versions(entry), error]


COMMAND = Command(
    "history",
    "list the deploys of a service, newest first",
    run,
    group=Group.SERVICES,
    arguments=(
        arguments.one_service("the service"),
        argument("-n", "--limit", type=arguments.count, default=0, metavar="N", help="only the last N deploys"),
        arguments.NODE,
        arguments.JSON,
    ),
)
