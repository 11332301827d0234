"""mcp version"""

import argparse

from mcp.commands.shared import Group
from mcp.shared.command import Command, Configuration, flag
from mcp.shared.errors import EXIT_DONE
from mcp.terminal import output


def run(_session: None, args: argparse.Namespace) -> int:
    """Print the version, or all details of the build."""
    from mcp.shared.version import VERSION, details

    if args.json:
        output.print_json(details())
    else:
        output.line(f"mcp {VERSION}")
    return EXIT_DONE


COMMAND = Command(
    "version",
    "print the version",
    run,
    group=Group.OTHER,
    configuration=Configuration.NONE,
    arguments=(flag("--json", help="print version, commit, Python and packages as JSON"),),
)
