"""mcp undeploy SERVICE[/COMPONENT]"""

import argparse
from typing import TYPE_CHECKING

from mcp.commands.shared import NODE_CONTINUES, Group, arguments, nodes, results, steps
from mcp.shared.command import Command, flag

if TYPE_CHECKING:
    from mcp.client.session import Session


def run(session: "Session", args: argparse.Namespace) -> int:
    """Stop and remove the containers of a service or of one component; its data is kept."""
    target = nodes.deployed(session, args.target, args.node)
    with session.agent(target.node) as agent:
        events = agent.lifecycle("undeploy", target.service, target.component, volumes=args.volumes)
        removed = steps.results(agent, events, target.service, quiet=args.quiet or args.json)
    return results.show(target.service, target.node.name, "undeployed", removed, args.json)


COMMAND = Command(
    "undeploy",
    "stop and remove the containers of a service or component; keep its data",
    run,
    group=Group.SERVICES,
    changes=True,
    interrupted=NODE_CONTINUES,
    arguments=(
        arguments.TARGET,
        arguments.NODE,
        flag("--volumes", help="remove also the volumes of its containers that have no name in the definition"),
        steps.QUIET,
        arguments.JSON,
    ),
)
