"""Arguments that several commands take."""

import argparse
from pathlib import Path

from mcp.shared.errors import McpError
from mcp.shared.names import parse_target
from mcp.shared.paths import parse_file_target


def target(text: str) -> tuple[str, str]:
    """SERVICE[/COMPONENT] as an argparse type."""
    try:
        return parse_target(text)
    except McpError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def service(text: str) -> str:
    """SERVICE as an argparse type."""
    name, component = target(text)
    if component:
        raise argparse.ArgumentTypeError("a service is taken as a whole here: leave out what follows the /")
    return name


def file_target(text: str) -> tuple[str, str]:
    """SERVICE/PATH as an argparse type."""
    try:
        return parse_file_target(text)
    except McpError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, summary: str
) -> argparse.ArgumentParser:
    """A sub-command; `summary` begins with a small letter, as in the list of all, and has no full stop."""
    return commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")


def folder(text: str) -> Path:
    """A folder that is there as an argparse type."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f'"{text}" is not a folder')
    return Path(text)


def count(text: str) -> int:
    """A whole number as an argparse type."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number from 0 to 999999999')
    return int(text)


def add_target(parser: argparse.ArgumentParser) -> None:
    """SERVICE[/COMPONENT]."""
    parser.add_argument("target", type=target, metavar="SERVICE[/COMPONENT]", help="a service, or one component of it")


def add_node(parser: argparse.ArgumentParser) -> None:
    """--node, for services without a definition."""
    parser.add_argument("--node", metavar="NODE", help="the service's node (default: as its definition says)")


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
