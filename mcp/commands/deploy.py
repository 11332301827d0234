"""mcp deploy SERVICE[/COMPONENT]"""

import argparse

from mcp.client.fleet import NodeAnswer
from mcp.client.session import Session
from mcp.commands import arguments, changes, results, steps
from mcp.shared.errors import NotReady


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    arguments.add_target(parser)
    parser.add_argument("--force", action="store_true", help="replace containers that are up to date as well")
    parser.add_argument("--dry-run", action="store_true", help="print the steps, and take none (exit status 2: any)")
    parser.add_argument("-q", "--quiet", action="store_true", help="do not show steps as they happen")
    arguments.add_json(parser)


def run(session: Session, args: argparse.Namespace) -> int:
    """Deploy what the definition says to the node it names."""
    target = session.target(args.target, None)
    assert target.definition is not None, "there is one where no node is named"
    if not target.definition.service.active:
        raise NotReady(f"{target.service} is not active", "set active = true in its definition to deploy it")
    service, component = target.definition.service, target.component
    with session.agent(target.node) as agent:
        if args.dry_run:
            plan = agent.plan([service], partial=True, component=component, force=args.force)
            return changes.show([NodeAnswer(target.node, plan, None)], args.json, steps=True)
        done = steps.deploy(agent, service, component, force=args.force, quiet=args.quiet or args.json)
    return results.show(target.service, target.node.name, "deployed", done, args.json)
