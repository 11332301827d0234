"""mcp logs [SERVICE[/COMPONENT]...]"""

import argparse
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mcp.commands.shared import Group, arguments, nodes
from mcp.shared.command import Command, Kind, argument, flag
from mcp.shared.errors import InvalidInput, McpError, NotFound
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.logs_query import LogsQuery
    from mcp.client.session import Session, Target
    from mcp.config.configuration import Node
    from mcp.logs.follow import NodeLogs
    from mcp.logs.view import LogView

EPILOG = """\
Without a service, the components that have logs are listed on stderr (exit status 2).

TIME is a duration (90s, 2h30m: that long ago), a time (2026-01-31T12:00:00Z; without an offset, in this machine's
zone), a date (2026-01-31), @UNIX, boot (the node's last start) or deploy (the service's last deploy). --tail counts
lines within the time window; --follow continues with new lines.

RE is a Python regular expression. With several --grep, a line must match any of them; with several --exclude, none.

examples:
  mcp logs web                          all components of web, ordered by time
  mcp logs -f -n 20 web/api worker      follow, from the last 20 lines of each component
  mcp logs web --since deploy --grep 'ERROR|WARN' --exclude healthz
  mcp logs web/api --previous           the previous container of the component
  mcp logs --all --since 5m             the whole fleet; with --node NODE all of one node
  mcp logs web --json | jq -r .message
"""


def run(session: "Session", args: argparse.Namespace) -> int:
    """Show container logs: stdout to stdout, stderr to stderr."""
    from mcp.logs.follow import NodeLogs
    from mcp.logs.merge import Merge

    if not args.all and not args.targets:
        _list_logs(session, args.node)
        raise InvalidInput("nothing to show", "name a service, or give --all; see mcp logs --help")
    _check(args)
    targets = _targets(session, args)
    wanted: dict[Node, list[Target]] = {}
    for target in targets:
        wanted.setdefault(target.node, []).append(target)
    if args.all:
        wanted = {node: [] for node in _all_nodes(session, args.node)}
    several = len(wanted) > 1
    streams = [
        NodeLogs(session, node, _query(args, targets, several=several), reconnect=not args.no_reconnect)
        for node, targets in wanted.items()
    ]
    view = _view(args, streams, targets)
    if several:
        session.token  # noqa: B018 - a missing token is one error, not one per node
        session.ca  # noqa: B018
    return Merge(streams, view, strip=not (args.timestamps or args.json)).run()


def _list_logs(session: "Session", node: str | None) -> None:
    """List components with logs on the reachable nodes; on stderr, since stdout is for logs only."""
    try:
        answers = nodes.ask(session, nodes.select(session, node), lambda agent: agent.live_check())
    except McpError as error:
        output.error(str(error))
        return
    found = [
        (f"{service.name}/{component.name}", answer.node.name)
        for answer in answers
        if answer.value is not None
        for service in answer.value.services
        for component in service.components
    ]
    width = max((len(name) for name, _ in found), default=0)
    for name, where in found:
        output.note(f"{name:<{width}}  {where}")
    nodes.finish(answers)


def _check(args: argparse.Namespace) -> None:
    """Raise InvalidInput for options that exclude each other."""
    from mcp.shared import times

    if args.all and args.targets:
        raise InvalidInput("--all cannot be combined with services", "omit one of them")
    if args.previous and args.follow:
        raise InvalidInput("--previous cannot be followed: that container has ended", "omit --previous or --follow")
    now = time.time_ns()
    known = [text and text not in times.WORDS for text in (args.since, args.until)]
    if all(known) and times.moment(args.until, now) < times.moment(args.since, now):
        raise InvalidInput("--until is before --since", "swap them")


def _targets(session: "Session", args: argparse.Namespace) -> "list[Target]":
    """Return the named targets, once each: a whole service includes its components."""
    whole = {service for service, component in args.targets if not component}
    unique = dict.fromkeys(each for each in args.targets if not each[1] or each[0] not in whole)
    return [nodes.deployed(session, each, args.node) for each in unique]


def _all_nodes(session: "Session", node: str | None) -> "Sequence[Node]":
    selected = nodes.select(session, node)
    if not selected:
        raise NotFound(f"{session.config.source} has no [[nodes]]", "add one with `mcp node add`")
    return selected


def _query(args: argparse.Namespace, targets: "Sequence[Target]", *, several: bool) -> "LogsQuery":
    from mcp.client.logs_query import LogsQuery

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


def _view(args: argparse.Namespace, streams: "Sequence[NodeLogs]", targets: "Sequence[Target]") -> "LogView":
    from mcp.logs.view import JsonLines, Labels, LogView, Prefixed

    if args.json:
        return JsonLines()
    expected = [(target.node.name, target.service, name) for target in targets for name in _components(target)]
    if args.no_prefix or (not args.all and len(expected) == 1 and expected[0][2]):
        return LogView()
    labels = Labels(
        [each for each in expected if each[2]],
        with_node=len(streams) > 1,
        with_service=args.all or len({target.service for target in targets}) > 1,
        colour=output.wants_colour(),
    )
    return Prefixed(labels, one_terminal=output.is_one_terminal())


def _components(target: "Target") -> Sequence[str]:
    """Return the components of a target; an empty name if it has no definition."""
    if target.component or target.definition is None:
        return [target.component]
    return target.definition.service.component_names()


def _tail(text: str) -> int | None:
    """Parse a number of lines; None for `all`."""
    return None if text == "all" else arguments.count(text)


def _moment(text: str) -> str:
    """Parse a time into the text to send, in UTC if it depends on the local zone."""
    from mcp.shared import times

    try:
        return times.absolute(text, time.time_ns(), times.LOCAL)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'"{text}": {error}') from None


def _pattern(text: str) -> str:
    """Validate a regular expression, which agents apply to bytes."""
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # FutureWarning: syntax that a later Python may change
            re.compile(text.encode())
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f'"{text}": is not UTF-8') from None
    except (re.error, OverflowError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f'"{text}": is not a regular expression: {error}') from None
    return text


COMMAND = Command(
    "logs",
    "show container logs",
    run,
    group=Group.STATE,
    description="The stdout of containers goes to stdout, their stderr to stderr.",
    epilog=EPILOG,
    arguments=(
        argument("targets", nargs="*", type=arguments.target, metavar=Kind.TARGET, help="services or components"),
        flag("--all", help="show everything on --node, or on all nodes"),
        argument(
            *("-n", "--tail"), type=_tail, metavar="N", help="only the last N lines of each component (default: all)"
        ),
        flag("-f", "--follow", help="follow log output until Ctrl-C"),
        argument("--since", type=_moment, metavar=Kind.TIME, help="show lines since TIME: 90s, 2h30m, boot, deploy, …"),
        argument("--until", type=_moment, metavar=Kind.TIME, help="show lines until TIME"),
        argument(
            "--grep", type=_pattern, action="append", default=[], metavar="RE", help="show only lines that match RE"
        ),
        argument(
            "--exclude", type=_pattern, action="append", default=[], metavar="RE", help="omit lines that match RE"
        ),
        flag("-i", "--ignore-case", help="ignore case in RE"),
        flag("-p", "--previous", help="show the previous container, even if it is removed"),
        flag("-t", "--timestamps", help="prefix each line with its time"),
        flag("--no-prefix", help="do not prefix lines with the component"),
        arguments.JSON_LINES,
        flag("--no-reconnect", help="with --follow: fail when the connection is lost"),
        arguments.NODE,
    ),
)
