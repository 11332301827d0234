"""mcp deploy SERVICE[/COMPONENT]"""

import argparse
from typing import TYPE_CHECKING

from mcp.commands.shared import NODE_CONTINUES, Group, arguments, changes, results, steps
from mcp.shared.command import Command, flag
from mcp.shared.errors import NotReady

if TYPE_CHECKING:
    from mcp.client.session import Session


def run(session: "Session", args: argparse.Namespace) -> int:
    """Deploy a service, or one component, to the node of its definition."""
    from mcp.definitions import neighbours

    target = session.target(args.target, None)
    assert target.definition is not None, "present unless --node is given"
    if not target.definition.service.active:
        raise NotReady(f"{target.service} is not active", "set active = true in its definition to deploy it")
    neighbours.check_ports(session.config, [target.definition])
    service, component = target.definition.service, target.component
    with session.agent(target.node) as agent:
        if args.dry_run:
            from mcp.client.fleet import NodeAnswer

            plan = agent.plan([service], partial=True, component=component, force=args.force)
            return changes.show([NodeAnswer(target.node, plan, None)], args.json, steps=True)
        done = steps.deploy(agent, service, component, force=args.force, quiet=args.quiet or args.json)
    return results.show(target.service, target.node.name, "deployed", done, args.json)


COMMAND = Command(
    "deploy",
    "deploy a service or one of its components",
    run,
    group=Group.SERVICES,
    changes=True,
    interrupted=NODE_CONTINUES,
    differences=True,
    arguments=(
        arguments.TARGET,
        flag("--force", help="replace also containers that are up to date"),
        flag("--dry-run", help="only print the steps"),
        steps.QUIET,
        arguments.JSON,
    ),
)
