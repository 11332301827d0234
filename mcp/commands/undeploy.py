"""mcp undeploy SERVICE"""

import argparse
from typing import TYPE_CHECKING

from mcp.commands.shared import NODE_CONTINUES, Group, arguments, results
from mcp.shared.command import Command

if TYPE_CHECKING:
    from mcp.client.session import Session


def run(session: "Session", args: argparse.Namespace) -> int:
    """Stop and remove the containers of a service; its data in /srv is kept."""
    target = session.target((args.target, ""), args.node)
    with session.agent(target.node) as agent:
        response = agent.undeploy(target.service)
    return results.show(target.service, target.node.name, "undeployed", response.results, args.json)


COMMAND = Command(
    "undeploy",
    "stop and remove the containers of a service; keep its data in /srv",
    run,
    group=Group.SERVICES,
    changes=True,
    interrupted=NODE_CONTINUES,
    arguments=(arguments.one_service("the service"), arguments.NODE, arguments.JSON),
)
