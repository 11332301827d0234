"""mcp deploy SERVICE[/COMPONENT]"""

import argparse

from mcp.client.session import Session
from mcp.commands import arguments, results
from mcp.shared.errors import NotReady


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    arguments.add_target(parser)
    parser.add_argument("--force", action="store_true", help="replace also what already runs exactly so")
    arguments.add_json(parser)


def run(session: Session, args: argparse.Namespace) -> int:
    """Deploy what the definition says to the node it names."""
    target = session.target(args.target, None)
    assert target.definition is not None, "there is one where no node is named"
    if not target.definition.service.active:
        raise NotReady(f"{target.service} is not active", "set active = true in its definition to deploy it")
    with session.agent(target.node) as agent:
        response = agent.deploy(target.definition.service, target.component, force=args.force)
    return results.show(target.service, target.node.name, "deployed", response.results, args.json)
