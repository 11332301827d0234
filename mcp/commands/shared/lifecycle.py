"""Declarations of stop, start and restart, which differ in one call."""

import argparse
from typing import TYPE_CHECKING

from mcp.commands.shared import NODE_CONTINUES, Group, arguments, nodes, results, steps
from mcp.shared.command import Command

if TYPE_CHECKING:
    from mcp.client.session import Session


def command(name: str, done: str, summary: str) -> Command:
    """Declare a command that is the operation of the same name."""

    def run(session: "Session", args: argparse.Namespace) -> int:
        target = nodes.deployed(session, args.target, args.node)
        with session.agent(target.node) as agent:
            events = agent.lifecycle(name, target.service, target.component)
            changed = steps.results(agent, events, target.service, quiet=args.quiet or args.json)
        return results.show(target.service, target.node.name, done, changed, args.json)

    return Command(
        name,
        summary,
        run,
        group=Group.SERVICES,
        changes=True,
        interrupted=NODE_CONTINUES,
        arguments=(arguments.TARGET, arguments.NODE, steps.QUIET, arguments.JSON),
    )
