"""mcp plan [SERVICE]"""

import argparse
from typing import TYPE_CHECKING

from mcp.commands.shared import Group, arguments, changes
from mcp.shared.command import Command

if TYPE_CHECKING:
    from mcp.client.session import Session


def run(session: "Session", args: argparse.Namespace) -> int:
    """Compare definitions, registries and podman on all nodes, and show the changes that sync would make."""
    return changes.show(changes.ask(session, args.service, args.node), args.json)


COMMAND = Command(
    "plan",
    "show the changes that sync would make",
    run,
    group=Group.SERVICES,
    differences=True,
    arguments=(*changes.SCOPE, arguments.JSON),
)
