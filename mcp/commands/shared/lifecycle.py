"""Declarations of stop, start and restart, which differ in one call."""

import argparse
from typing import TYPE_CHECKING

from mcp.commands.shared import NODE_CONTINUES, Group, arguments, nodes, results
from mcp.shared.command import Command

if TYPE_CHECKING:
    from mcp.client.session import Session


def command(name: str, done: str, summary: str) -> Command:
    """Declare a command that calls the client method of the same name."""

    def run(session: "Session", args: argparse.Namespace) -> int:
        target = nodes.deployed(session, args.target, args.node)
        with session.agent(target.node) as agent:
            response = getattr(agent, name)(target.service, target.component)
        return results.show(target.service, target.node.name, done, response.results, args.json)

    return Command(
        name,
        summary,
        run,
        group=Group.SERVICES,
        changes=True,
        interrupted=NODE_CONTINUES,
        arguments=(arguments.TARGET, arguments.NODE, arguments.JSON),
    )
