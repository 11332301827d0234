"""mcp stop|start SERVICE[/COMPONENT]"""

import argparse

from mcp.commands import arguments, results
from mcp.session import Session

DONE = {"stop": "stopped", "start": "started"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Their arguments."""
    arguments.add_target(parser)
    arguments.add_node(parser)
    arguments.add_json(parser)


def run(session: Session, args: argparse.Namespace) -> int:
    """Stop containers and keep them, or start them; one that is gone is made again from the node's registry."""
    target = session.target(args.target, args.node)
    with session.agent(target.node) as agent:
        change = agent.stop if args.command == "stop" else agent.start
        response = change(target.service, target.component)
    return results.show(target.service, target.node.name, DONE[args.command], response.results, args.json)
