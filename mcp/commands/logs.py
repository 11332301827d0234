"""mcp logs [SERVICE[/COMPONENT]...]"""

import argparse
import re
import time
import warnings
from collections.abc import Sequence
from contextlib import closing

from mcp.client.logs_query import LogsQuery
from mcp.client.session import Session, Target
from mcp.commands import arguments
from mcp.config.configuration import Node
from mcp.logs.blocks import pieces
from mcp.logs.follow import NodeLogs
from mcp.logs.view import JsonLines, Labels, LogView, Prefixed, notice
from mcp.shared import times
from mcp.shared.errors import EXIT_DONE, InvalidInput, NotFound
from mcp.terminal import output

EPILOG = """\
TIME is a duration (90s, 2h30m: that long ago), a time (2026-01-31T12:00:00Z; without an offset, in this machine's
zone), a date (2026-01-31), @UNIX, boot (the node's last start) or deploy (the service's last deploy). First comes
the time window, then the last N lines of it, then, with --follow, what is logged from then on.

RE is a Python regular expression. Options may stand anywhere, and --grep and --exclude several times.

examples:
  mcp logs web                          everything that web's components wrote, by time
  mcp logs -f -n 20 web/api worker      go on with two of them, beginning with the last 20 lines of each component
  mcp logs web --since deploy --grep 'ERROR|WARN' --exclude healthz
  mcp logs web/api --previous           what the container before the present one wrote
  mcp logs --all --since 5m             the whole fleet; with --node NODE all of one node
  mcp logs web --json | jq -r .message
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument(
        "targets",
        nargs="*",
        type=arguments.target,
        metavar="SERVICE[/COMPONENT]",
        help="services, or single components of them",
    )
    parser.add_argument("--all", action="store_true", help="everything on the node that --node names, or on all nodes")
    _add_selection(parser)
    _add_looks(parser)
    parser.add_argument("--no-reconnect", action="store_true", help="with --follow: a lost connection is an error")
    arguments.add_node(parser)


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-n", "--tail", type=_tail, metavar="N", help="only the last N lines of each component (default: all)"
    )
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on with what is logged from now on; Ctrl-C ends"
    )
    parser.add_argument("--since", type=_moment, metavar="TIME", help="only from then on: 90s, 2h30m, boot, deploy, …")
    parser.add_argument("--until", type=_moment, metavar="TIME", help="only up to then")
    parser.add_argument(
        "--grep",
        type=_pattern,
        action="append",
        default=[],
        metavar="RE",
        help="only lines that RE is found in; or any of several",
    )
    parser.add_argument(
        "--exclude",
        type=_pattern,
        action="append",
        default=[],
        metavar="RE",
        help="no lines that RE is found in; nor any of several",
    )
    parser.add_argument(
        "-i", "--ignore-case", action="store_true", help="take small and capital letters for the same in RE"
    )
    parser.add_argument(
        "-p", "--previous", action="store_true", help="of the container before the present one, even if it is gone"
    )


def _add_looks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-t", "--timestamps", action="store_true", help="put the time in front of each line")
    parser.add_argument("--no-prefix", action="store_true", help="do not put the component in front of each line")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def run(session: Session, args: argparse.Namespace) -> int:
    """Show what containers wrote: stdout to stdout, stderr to stderr."""
    _check(args)
    found = _targets(session, args)
    wanted: dict[Node, list[Target]] = {}
    for target in found:
        wanted.setdefault(target.node, []).append(target)
    if args.all:
        wanted = {node: [] for node in _all_nodes(session, args.node)}
    several = len(wanted) > 1
    nodes = [
        NodeLogs(session, node, _query(args, targets, several=several), reconnect=not args.no_reconnect)
        for node, targets in wanted.items()
    ]
    view = _view(args, nodes, found)
    if not several:
        return _show_one(nodes[0], view)
    session.token  # noqa: B018 - a missing token is one error, not one for each node
    session.ca  # noqa: B018
    from mcp.logs.merge import Merge

    return Merge(nodes, view, strip=not (args.timestamps or args.json)).run()


def _show_one(logs: NodeLogs, view: LogView) -> int:
    """Show what one node sends, as it comes: nothing has to be sorted."""
    node = logs.node.name
    try:
        with closing(logs.blocks()) as blocks:
            for block in blocks:
                if isinstance(block, str):
                    view.marker(block)
                    continue
                if block.notice:
                    view.marker(notice(block, node, with_node=False))
                view.show(pieces(block, node))
    finally:
        view.end()
    return EXIT_DONE


def _check(args: argparse.Namespace) -> None:
    """Raises InvalidInput for options that do not go together."""
    if args.all and args.targets:
        raise InvalidInput("--all is everything already", "leave out either --all or the services")
    if not args.all and not args.targets:
        raise InvalidInput("nothing to show", "name a service, or give --all; see mcp logs --help")
    if args.previous and args.follow:
        raise InvalidInput("--previous has ended: it cannot be followed", "leave out --previous or --follow")
    now = time.time_ns()
    known = [text and text not in times.WORDS for text in (args.since, args.until)]
    if all(known) and times.moment(args.until, now) < times.moment(args.since, now):
        raise InvalidInput("--until is before --since", "nothing can be between them")


def _targets(session: Session, args: argparse.Namespace) -> list[Target]:
    """What was named, once each: a whole service includes its components."""
    whole = {service for service, component in args.targets if not component}
    unique = dict.fromkeys(each for each in args.targets if not each[1] or each[0] not in whole)
    return [session.target(each, args.node) for each in unique]


def _all_nodes(session: Session, node: str | None) -> Sequence[Node]:
    if node is not None:
        return [session.config.node(node)]
    if not session.config.nodes:
        raise NotFound(f"{session.config.source} has no [[nodes]]", "add one with `mcp node add`")
    return session.config.nodes


def _query(args: argparse.Namespace, targets: Sequence[Target], *, several: bool) -> LogsQuery:
    return LogsQuery(
        targets=tuple((target.service, target.component) for target in targets),
        every=args.all,
        tail=0 if args.tail is None else args.tail or -1,
        follow=args.follow,
        timestamps=args.timestamps or args.json or several,
        since=args.since or "",
        until=args.until or "",
        grep=tuple(args.grep),
        exclude=tuple(args.exclude),
        ignore_case=args.ignore_case,
        previous=args.previous,
    )


def _view(args: argparse.Namespace, nodes: Sequence[NodeLogs], found: Sequence[Target]) -> LogView:
    if args.json:
        return JsonLines()
    expected = [(target.node.name, target.service, name) for target in found for name in _components(target)]
    if args.no_prefix or (not args.all and len(expected) == 1 and expected[0][2]):
        return LogView()
    labels = Labels(
        [each for each in expected if each[2]],
        with_node=len(nodes) > 1,
        with_service=args.all or len({target.service for target in found}) > 1,
        colour=output.wants_colour(),
    )
    return Prefixed(labels, one_terminal=output.is_one_terminal())


def _components(target: Target) -> Sequence[str]:
    """The components that a target stands for; an empty name where no definition says which."""
    if target.component or target.definition is None:
        return [target.component]
    return target.definition.service.component_names()


def _tail(text: str) -> int | None:
    """A number of lines as an argparse type; None is all of them, as other tools have it, too."""
    return None if text == "all" else arguments.count(text)


def _moment(text: str) -> str:
    """A time as an argparse type: what to send, in UTC where this machine's zone counts."""
    try:
        return times.absolute(text, time.time_ns(), times.LOCAL)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'"{text}": {error}') from None


def _pattern(text: str) -> str:
    """A regular expression as an argparse type; agents use it on bytes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a future Python might read differently
            re.compile(text.encode())
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f'"{text}": is not UTF-8') from None
    except (re.error, OverflowError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f'"{text}": is not a regular expression: {error}') from None
    return text
