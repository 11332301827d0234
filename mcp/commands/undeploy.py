"""mcp undeploy SERVICE"""

import argparse

from mcp.client.session import Session
from mcp.commands import arguments, results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("target", type=arguments.service, metavar="SERVICE", help="what to remove")
    arguments.add_node(parser)
    arguments.add_json(parser)


def run(session: Session, args: argparse.Namespace) -> int:
    """Stop and remove a service's containers; its data below /srv stays."""
    target = session.target((args.target, ""), args.node)
    with session.agent(target.node) as agent:
        response = agent.undeploy(target.service)
    return results.show(target.service, target.node.name, "undeployed", response.results, args.json)
