"""mcp events [SERVICE]"""

import argparse
from typing import TYPE_CHECKING

from mcp.commands.shared import Group, arguments, nodes
from mcp.shared.command import Command, argument, flag
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.session import Session

FOLLOW_TAIL = 10  # past events shown before new ones with --follow


def run(session: "Session", args: argparse.Namespace) -> int:
    """Show state changes of components by time; each unreachable node is an error on stderr."""
    from mcp.client import events
    from mcp.client.events import NodeEvent

    service = args.service or ""
    count = FOLLOW_TAIL if args.tail is None and args.follow else args.tail
    wanted = 0 if count is None else count or events.NONE_OF_THE_PAST
    selected = nodes.select_for(session, service, args.node)
    answers = nodes.ask(session, selected, lambda agent: list(agent.events(service, tail=wanted)), known_only=True)
    past = [NodeEvent(answer.node.name, event) for answer in answers for event in answer.value or ()]
    shown = events.merged(past)
    events.show(shown if count is None else shown[len(shown) - min(count, len(shown)) :], as_json=args.json)
    code = nodes.finish(answers)
    if not past and not args.follow and not args.json and not code:
        output.note("no events yet")
    if args.follow:
        seen = {
            answer.node: max((event.number for event in answer.value), default=min(0, wanted))
            for answer in answers
            if answer.value is not None
        }
        return events.follow(session, seen, service, as_json=args.json) or code if seen else code
    return code


COMMAND = Command(
    "events",
    "show state changes of containers",
    run,
    group=Group.STATE,
    arguments=(
        arguments.one_service("only this service", "service", optional=True),
        argument(
            *("-n", "--tail"),
            type=arguments.count,
            metavar="N",
            help=f"only the last N events (default: all; with --follow: {FOLLOW_TAIL})",
        ),
        flag("-f", "--follow", help="wait for new events until Ctrl-C"),
        arguments.node("only this node (default: the node of SERVICE, else all)"),
        arguments.JSON_LINES,
    ),
)
