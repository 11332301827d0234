"""mcp events [SERVICE]"""

import argparse

from mcp.client import events, fleet
from mcp.client.events import NodeEvent
from mcp.client.session import Session
from mcp.commands import arguments
from mcp.terminal import output

FOLLOW_TAIL = 10  # past events that --follow begins with


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("service", nargs="?", type=arguments.service, metavar="SERVICE", help="only of this service")
    parser.add_argument(
        "-n",
        "--tail",
        type=arguments.count,
        metavar="N",
        help=f"only the last N (default: all; with --follow {FOLLOW_TAIL})",
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what happens from now on; Ctrl-C ends")
    parser.add_argument("--node", metavar="NODE", help="ask only this node (default: the service's, or all)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def run(session: Session, args: argparse.Namespace) -> int:
    """Show what happened to components, by time; a node that does not answer is a line on stderr."""
    service = args.service or ""
    count = FOLLOW_TAIL if args.tail is None and args.follow else args.tail
    wanted = 0 if count is None else count or events.NONE_OF_THE_PAST
    asked = fleet.ask_all(
        session,
        fleet.nodes_for(session, service, args.node),
        lambda agent: list(agent.events(service, tail=wanted)),
    )
    answers = fleet.where_known(asked)
    for answer in answers:
        if answer.error is not None:
            output.error(str(answer.error))
    past = [NodeEvent(answer.node.name, event) for answer in answers for event in answer.value or ()]
    shown = events.merged(past)
    events.show(shown if count is None else shown[len(shown) - min(count, len(shown)) :], as_json=args.json)
    code = fleet.exit_code(answers)
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
