"""mcp completion bash|zsh|fish"""

import argparse
import re
import sys

from mcp.commands.shared import Group
from mcp.completion.scripts import SCRIPTS, script
from mcp.shared.command import Command, Configuration, argument
from mcp.shared.errors import EXIT_DONE
from mcp.terminal import output

NAMES = ["mcp", "mcp.pyz"]

_OWN_NAME = re.compile(r"mcp[A-Za-z0-9._-]*")


def run(_session: None, args: argparse.Namespace) -> int:
    """Print the script, which also completes the name that this program was started by."""
    own = sys.argv[0].rpartition("/")[2]
    names = list(dict.fromkeys([*NAMES, *([own] if _OWN_NAME.fullmatch(own) else [])]))
    output.text(script(args.shell, names))
    return EXIT_DONE


COMMAND = Command(
    "completion",
    "print the completion script for a shell",
    run,
    group=Group.OTHER,
    configuration=Configuration.NONE,
    arguments=(argument("shell", choices=list(SCRIPTS), metavar="SHELL", help="bash, zsh or fish"),),
    description="The script completes commands, options, services, components and nodes without contacting nodes.",
    epilog="""\
in ~/.bashrc:                   source <(mcp completion bash)
in ~/.zshrc:                    source <(mcp completion zsh)
in ~/.config/fish/config.fish:  mcp completion fish | source
""",
)
