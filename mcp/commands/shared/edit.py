"""mcp service edit SERVICE, also mcp edit SERVICE"""

import argparse
from typing import TYPE_CHECKING

from mcp.commands.shared import arguments
from mcp.shared.command import Command
from mcp.shared.errors import EXIT_DONE
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.session import Session


def run(session: "Session", args: argparse.Namespace) -> int:
    """Open a definition in an editor; nothing is deployed."""
    from mcp.definitions import definitions
    from mcp.definitions.edit import edit

    changed = edit(session.config, args.target)
    path = definitions.definition_path(session.config, args.target)
    if changed:
        output.line(f"{args.target}: written to {path}; deploy it with `mcp deploy {args.target}`")
    elif path.exists():
        output.line(f"{args.target}: unchanged")
    else:
        output.line(f"{args.target}: the template is unchanged; nothing was written")
    return EXIT_DONE


EDIT = Command(
    "edit",
    "edit or create a definition, and validate it",
    run,
    changes=True,
    description="The editor is $VISUAL, $EDITOR or vi. Nothing is deployed.",
    arguments=(arguments.one_service("the service"),),
)
