"""mcp pull SERVICE/PATH [FILE]"""

import argparse

from mcp.client.session import Session
from mcp.commands import arguments
from mcp.files.local import STANDARD, Destination, StandardOutput
from mcp.shared.errors import EXIT_DONE, InvalidInput
from mcp.terminal import output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "target", type=arguments.file_target, metavar="SERVICE/PATH", help="a file below /srv/SERVICE on the node"
    )
    parser.add_argument(
        "file",
        nargs="?",
        default=".",
        metavar="FILE",
        help="where it goes: a file, a folder, or - for standard output (default: this folder)",
    )
    arguments.add_node(parser)


def run(session: Session, args: argparse.Namespace) -> int:
    """Copy one file from the node: all of it, or nothing."""
    from mcp.files.transfer import pull  # gRPC is slow to import

    service, path = args.target
    if not path or path.endswith("/"):
        raise InvalidInput(f"SERVICE/PATH: {service}/{path} is a folder", "one file is copied at a time; name a file")
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
