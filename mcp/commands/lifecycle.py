"""mcp stop|start|restart SERVICE[/COMPONENT]"""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from mcp.client.session import Session
from mcp.commands import arguments, results

if TYPE_CHECKING:
    from mcp.client.agent import AgentClient
    from proto.mcp.v1 import mcp_pb2 as pb

    _Response = pb.StopServiceResponse | pb.StartServiceResponse | pb.RestartServiceResponse

DONE = {"stop": "stopped", "start": "started", "restart": "restarted"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Their arguments."""
    arguments.add_target(parser)
    arguments.add_node(parser)
    arguments.add_json(parser)


def run(session: Session, args: argparse.Namespace) -> int:
    """Stop containers and keep them, start them, or both; one that is gone is made again from the node's registry."""
    target = session.target(args.target, args.node)
    with session.agent(target.node) as agent:
        response = _change(agent, args.command)(target.service, target.component)
    return results.show(target.service, target.node.name, DONE[args.command], response.results, args.json)


def _change(agent: "AgentClient", command: str) -> "Callable[[str, str], _Response]":
    match command:
        case "stop":
            return agent.stop
        case "start":
            return agent.start
        case _:
            return agent.restart
