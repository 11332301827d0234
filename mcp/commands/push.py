"""mcp push FILE SERVICE/PATH"""

import argparse
import re

from mcp.client.session import Session
from mcp.commands import arguments
from mcp.files.local import LocalFile, remote_path
from mcp.shared.errors import EXIT_DONE
from mcp.terminal import output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("file", metavar="FILE", help="a file here; - reads standard input")
    parser.add_argument(
        "target",
        type=arguments.file_target,
        metavar="SERVICE/PATH",
        help="where it goes, below /srv/SERVICE on the node; ending with / it is a folder",
    )
    parser.add_argument(
        "--mode", type=_mode, default=0, metavar="MODE", help="its permissions there, as in 0640 (default: as here)"
    )
    arguments.add_node(parser)


def run(session: Session, args: argparse.Namespace) -> int:
    """Copy one file to the node: all of it, or nothing."""
    from mcp.files.transfer import push  # gRPC is slow to import

    service, path = args.target
    path = remote_path(path, args.file)
    target = session.target((service, ""), args.node)
    with LocalFile(args.file) as source, session.agent(target.node) as agent:
        size = push(agent, source, f"{service}/{path}", args.mode)
    output.line(f"{service}/{path}: pushed {output.size_text(size)} to {target.node.name}")
    return EXIT_DONE


def _mode(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text) or not int(text, 8):
        raise argparse.ArgumentTypeError(f'"{text}" is not a mode of three octal digits, as in 0640')
    return int(text, 8)
