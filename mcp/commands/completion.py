"""mcp completion bash|zsh|fish"""

import argparse
import re
import sys
from pathlib import Path

from mcp.completion.scripts import SCRIPTS, script
from mcp.shared.errors import EXIT_DONE
from mcp.terminal import output

USAGE = """\
Print the script that makes a shell complete mcp's commands, options, services, components and nodes.

  bash   in ~/.bashrc:                   source <(mcp completion bash)
  zsh    in ~/.zshrc:                    source <(mcp completion zsh)
  fish   in ~/.config/fish/config.fish:  mcp completion fish | source

It works for mcp.pyz and ./mcp.pyz as well, and contacts no node."""
NAMES = ["mcp", "mcp.pyz"]

_OWN_NAME = re.compile(r"mcp[A-Za-z0-9._-]*")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.description = USAGE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("shell", choices=list(SCRIPTS), metavar="SHELL", help="bash, zsh or fish")


def run(args: argparse.Namespace) -> int:
    """Print the script; it also completes the name that this program was started by."""
    own = Path(sys.argv[0]).name
    names = list(dict.fromkeys([*NAMES, *([own] if _OWN_NAME.fullmatch(own) else [])]))
    output.text(script(args.shell, names))
    return EXIT_DONE
