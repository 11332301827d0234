"""Arguments that several commands share, and argparse types."""

import argparse
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from mcp.shared import version
from mcp.shared.command import Argument, Kind, argument, flag
from mcp.shared.errors import McpError

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")


def _parsed(parse: Callable[[str], T], text: str) -> T:
    """Parse an argument; convert errors to ArgumentTypeError, since argparse shows no other message."""
    try:
        return parse(text)
    except (McpError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def target(text: str) -> tuple[str, str]:
    """Parse SERVICE[/COMPONENT]."""
    from mcp.shared.names import parse_target

    return _parsed(parse_target, text)


def service(text: str) -> str:
    """Parse SERVICE."""
    name, component = target(text)
    if component:
        raise argparse.ArgumentTypeError("expected a service without /COMPONENT")
    return name


def file_target(text: str) -> tuple[str, str]:
    """Parse SERVICE/PATH."""
    from mcp.shared.paths import parse_file_target

    return _parsed(parse_file_target, text)


def path(text: str) -> "Path":
    """Parse a path."""
    from pathlib import Path  # slow to import

    return Path(text)


def folder(text: str) -> "Path":
    """Parse a folder, which must exist."""
    directory = path(text)
    if not directory.is_dir():
        raise argparse.ArgumentTypeError(f'"{text}" is not a folder')
    return directory


def count(text: str) -> int:
    """Parse a whole number."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number from 0 to 999999999')
    return int(text)


def seconds(text: str) -> float:
    """Parse a positive number of seconds."""
    if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,3})?", text) or not float(text):
        raise argparse.ArgumentTypeError(f'"{text}" is not a number of seconds, as in 5 or 0.5')
    return float(text)


def node(text: str) -> Argument:
    """Declare --node with a help text."""
    return argument("--node", metavar=Kind.NODE, help=text)


def one_service(text: str, dest: str = "target", *, optional: bool = False) -> Argument:
    """Declare SERVICE with a help text."""
    return argument(dest, type=service, metavar=Kind.SERVICE, help=text, nargs="?" if optional else None)


CONFIG = argument(
    "--config",
    type=path,
    metavar=Kind.FILE,
    help="configuration file (default: $MCP_CONFIG or ~/.config/mcp/mcp.toml)",
)
TIMEOUT = argument(
    "--timeout",
    type=seconds,
    metavar="SECONDS",
    help="how long a node may take to connect (default: 10), and to answer a query (default: 20)",
)
VERSION = argument("--version", action="version", version=f"mcp {version.VERSION}", help="print the version and exit")
TARGET = argument("target", type=target, metavar=Kind.TARGET, help="a service, or one of its components")
NODE = node("the node of the service (default: the one of its definition, else where it is deployed)")
NODES = argument("nodes", nargs="*", metavar=Kind.NODE, help="a node of mcp.toml (default: all)")
JSON = flag("--json", help="print JSON instead of a table")
JSON_LINES = flag("--json", help="print one JSON object per line")
