"""mcp pull SERVICE/PATH [FILE]"""

import argparse
from typing import TYPE_CHECKING

from mcp.commands.shared import Group, arguments
from mcp.shared.command import Command, Kind, argument
from mcp.shared.errors import EXIT_DONE, InvalidInput
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.session import Session


def run(session: "Session", args: argparse.Namespace) -> int:
    """Copy one file from the node, completely or not at all."""
    from mcp.files.local import STANDARD, Destination, StandardOutput
    from mcp.files.transfer import pull  # gRPC is slow to import

    service, path = args.target
    if not path or path.endswith("/"):
        raise InvalidInput(f"SERVICE/PATH: {service}/{path} is a folder", "name a file: pull copies one file")
    target = session.target((service, ""), args.node)
    if args.file == STANDARD:
        with session.agent(target.node) as agent:
            pull(agent, f"{service}/{path}", StandardOutput())
        return EXIT_DONE
    destination = Destination(args.file, path.rpartition("/")[2])
    with session.agent(target.node) as agent, destination:
        size = pull(agent, f"{service}/{path}", destination)
    output.line(f"{destination.path}: pulled {output.size_text(size)} from {target.node.name}")
    return EXIT_DONE


COMMAND = Command(
    "pull",
    "copy a file from the folder of a service on its node",
    run,
    group=Group.DEFINITIONS,
    arguments=(
        argument(
            "target", type=arguments.file_target, metavar=Kind.FILE_TARGET, help="the file to copy, below /srv/SERVICE"
        ),
        argument(
            "file",
            nargs="?",
            default=".",
            metavar=Kind.FILE,
            help="the destination: a file, a folder, or - for standard output (default: the working directory)",
        ),
        arguments.NODE,
    ),
)
