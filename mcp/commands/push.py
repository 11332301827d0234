"""mcp push FILE SERVICE/PATH"""

import argparse
import re
from typing import TYPE_CHECKING

from mcp.commands.shared import Group, arguments
from mcp.shared.command import Command, Kind, argument
from mcp.shared.errors import EXIT_DONE
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.session import Session


def run(session: "Session", args: argparse.Namespace) -> int:
    """Copy one file to the node, completely or not at all."""
    from mcp.files.local import LocalFile, remote_path
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
        raise argparse.ArgumentTypeError(f'"{text}" is not a mode of three octal digits such as 0640')
    return int(text, 8)


COMMAND = Command(
    "push",
    "copy a file to the folder of a service on its node",
    run,
    group=Group.DEFINITIONS,
    changes=True,
    arguments=(
        argument("file", metavar=Kind.FILE, help="the file to copy, or - for standard input"),
        argument(
            "target",
            type=arguments.file_target,
            metavar=Kind.FILE_TARGET,
            help="the destination, below /srv/SERVICE; a folder if it ends with /",
        ),
        argument(
            "--mode",
            type=_mode,
            default=0,
            metavar="MODE",
            help="permissions, such as 0640 (default: those of FILE)",
        ),
        arguments.NODE,
    ),
)
