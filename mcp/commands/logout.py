"""mcp logout"""

import argparse
from typing import TYPE_CHECKING

from mcp.commands.shared import Group
from mcp.shared.command import Command
from mcp.shared.errors import EXIT_DONE
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.session import Session


def run(session: "Session", _args: argparse.Namespace) -> int:
    """Remove the stored token, if any."""
    path = session.config.token_path
    removed = session.forget_token()
    output.line(f"logged out: removed {path}" if removed else f"not logged in: {path} does not exist")
    if session.token_from_environment():
        output.note("mcp: note: MCP_TOKEN is still set and is used until you unset it")
    return EXIT_DONE


COMMAND = Command(
    "logout",
    "remove the stored token",
    run,
    group=Group.ACCOUNT,
    changes=True,
    description="The token stays valid until it expires or `mcp-agent token revoke` revokes it.",
)
