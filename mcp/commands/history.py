"""mcp history SERVICE"""

import argparse
from datetime import UTC
from typing import TYPE_CHECKING

from mcp.client.session import Session
from mcp.commands import arguments
from mcp.shared.errors import EXIT_DONE
from mcp.shared.image import image_version
from mcp.terminal import output

if TYPE_CHECKING:
    from proto.mcp.v1 import mcp_pb2 as pb

HEADERS = ("NUMBER", "WHEN", "USER", "RESULT", "COMPONENT", "VERSIONS", "ERROR")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("target", type=arguments.service, metavar="SERVICE", help="whose deploys to show")
    parser.add_argument("-n", "--limit", type=arguments.count, default=0, metavar="N", help="only the last N")
    arguments.add_node(parser)
    arguments.add_json(parser)


def run(session: Session, args: argparse.Namespace) -> int:
    """Show the deploys of a service, the newest first."""
    target = session.target((args.target, ""), args.node)
    with session.agent(target.node) as agent:
        entries = agent.history(target.service, args.limit).entries
    if args.json:
        output.print_json([row(entry) for entry in entries])
    else:
        output.table(HEADERS, [_cells(entry) for entry in entries])
    return EXIT_DONE


def row(entry: "pb.HistoryEntry") -> dict[str, object]:
    """One deploy for JSON; the values of variables are left out, since they may be secrets."""
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
    """The versions that a deploy was of, by component."""
    return " ".join(f"{each.name}={image_version(each.image)}" for each in entry.definition.components)


def _cells(entry: "pb.HistoryEntry") -> list[str]:
    when = entry.timestamp.ToDatetime(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    error = entry.error if len(entry.error) <= 60 else entry.error[:59] + "…"
    return [str(entry.number), when, entry.user, entry.result, entry.component or "all", versions(entry), error]
