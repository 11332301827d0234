"""mcp help [COMMAND]"""

import argparse

from mcp.commands.shared import Group
from mcp.shared.command import Command, Configuration, Kind, argument, flag
from mcp.shared.errors import EXIT_DONE
from mcp.terminal import output


def run(_session: None, _args: argparse.Namespace) -> int:
    """Print the manual page; the parser handles `help COMMAND` as `COMMAND --help`."""
    from mcp.commands.shared.manual import manual

    output.text(manual())
    return EXIT_DONE


COMMAND = Command(
    "help",
    "explain a command, or print the manual page",
    run,
    group=Group.OTHER,
    configuration=Configuration.NONE,
    arguments=(
        argument("topic", nargs="*", metavar=Kind.COMMAND, help="the command to explain (default: all)"),
        flag("--man", help="print the manual page mcp(1), as in: mcp help --man | man -l -"),
    ),
)
