"""mcp plan [SERVICE]"""

import argparse

from mcp.client.session import Session
from mcp.commands import arguments, changes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    changes.add_scope(parser)
    arguments.add_json(parser)
    parser.epilog = "exit status: 0 nothing to do, 2 there are changes, 1 something went wrong"


def run(session: Session, args: argparse.Namespace) -> int:
    """Compare definitions, registries and podman on all nodes, and say what sync would do."""
    return changes.show(changes.ask(session, args.service, args.node), args.json)
