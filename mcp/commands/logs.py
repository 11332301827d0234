"""mcp logs SERVICE[/COMPONENT]"""

import argparse
from datetime import UTC, datetime

from mcp import output
from mcp.commands import arguments
from mcp.logs import LogsQuery, Prefixer, show
from mcp.session import Session
from mcp.shared.errors import EXIT_DONE
from mcp.shared.times import parse_since


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    arguments.add_target(parser)
    parser.add_argument(
        "-n", "--tail", type=arguments.count, metavar="N", help="only the last N lines of each component"
    )
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on with what is logged from now on; Ctrl-C ends"
    )
    parser.add_argument("-t", "--timestamps", action="store_true", help="put the time in front of each line")
    parser.add_argument(
        "--since", type=_since, metavar="TIME", help="only from then on: 90s, 1h30m, 2026-01-31T12:00:00Z"
    )
    parser.add_argument("--no-prefix", action="store_true", help="do not put the component in front of each line")
    arguments.add_node(parser)


def run(session: Session, args: argparse.Namespace) -> int:
    """Show what containers wrote: stdout to stdout, stderr to stderr."""
    target = session.target(args.target, args.node)
    query = LogsQuery(
        service=target.service,
        component=target.component,
        tail=0 if args.tail is None else args.tail or -1,
        follow=args.follow,
        timestamps=args.timestamps,
        since=args.since or "",
    )
    components = target.definition.service.component_names() if target.definition else []
    wanted = not args.no_prefix and not target.component and len(components) != 1
    with session.agent(target.node) as agent:
        show(agent.logs(query), Prefixer(components, output.wants_colour()) if wanted else None)
    return EXIT_DONE


def _since(text: str) -> str:
    try:
        parse_since(text, datetime.now(UTC))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'"{text}": {error}') from None
    return text
