"""mcp agent status|upgrade|rollback|recover"""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mcp.commands.shared import NODE_CONTINUES, Group, arguments, nodes
from mcp.shared.command import Command, Kind, argument, flag
from mcp.shared.errors import EXIT_DONE, EXIT_FAILED, EXIT_UNREACHABLE
from mcp.shared.version import VERSION, VersionSkew, skew
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.fleet import NodeAnswer
    from mcp.client.session import Session
    from mcp.config.configuration import Node
    from mcp.nodes.upgrade.node_upgrade import NodeUpgrade, UpgradeRow
    from proto.mcp.v1 import mcp_pb2 as pb

DEADLINE_RULE = "5s to 10m"


def _wave(text: str) -> int:
    """Parse a number of nodes."""
    if arguments.count(text) == 0:
        raise argparse.ArgumentTypeError("expected 1 node or more; omit --wave to upgrade all at once")
    return int(text)


def _deadline(text: str) -> int:
    """Parse a duration, in whole seconds."""
    from datetime import timedelta

    from mcp.shared.times import parse_duration

    try:
        duration = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not timedelta(seconds=5) <= duration <= timedelta(minutes=10):
        raise argparse.ArgumentTypeError(f"expected {DEADLINE_RULE}")
    return round(duration.total_seconds())


# --- upgrade and rollback ---


def _upgrade(session: "Session", args: argparse.Namespace) -> int:
    from mcp.nodes.upgrade.node_upgrade import NodeUpgrade
    from mcp.nodes.upgrade.waves import AgentFiles

    files = AgentFiles(args.folder, session.config.release_keys)
    course = NodeUpgrade(session, files.find, args.deadline, args.force, args.allow_downgrade)
    return _bring_through(session, course, nodes.select(session, *args.nodes), args)


def _rollback(session: "Session", args: argparse.Namespace) -> int:
    from mcp.nodes.upgrade.node_upgrade import NodeUpgrade

    return _bring_through(session, NodeUpgrade(session, None, args.deadline), nodes.select(session, args.node), args)


def _bring_through(
    session: "Session", course: "NodeUpgrade", selected: "Sequence[Node]", args: argparse.Namespace
) -> int:
    import asyncio  # slow to import

    from mcp.nodes.upgrade import waves

    session.token  # noqa: B018 - needed to call the new agents: fail before the upgrade
    session.ca  # noqa: B018
    with output.live_lines() as lines:
        rows = asyncio.run(waves.run(course, selected, getattr(args, "wave", 0), lines))
    nodes.show([_row_json(row) for row in rows], ("node", "from", "to", "result"), args.json)
    for row in rows:
        if row.why:
            output.error(f"{row.node}: {row.why}")
        for note in row.notes:
            output.note(f"{row.node}: {note}")
    return _exit_code(rows)


def _exit_code(rows: Sequence["UpgradeRow"]) -> int:
    """Return 0 if every node has its agent, EXIT_UNREACHABLE if ssh failures are the only errors."""
    failed = [row for row in rows if row.has_failed]
    if not failed:
        return EXIT_DONE
    return EXIT_UNREACHABLE if all(row.unreachable for row in failed) else EXIT_FAILED


def _row_json(row: "UpgradeRow") -> dict[str, object]:
    return {
        "node": row.node,
        "from": row.before or None,
        "to": row.after or None,
        "result": str(row.result),
        "done": row.is_good,
        "error": row.why or None,
        "notes": list(row.notes),
    }


# --- status ---


def _status(session: "Session", args: argparse.Namespace) -> int:
    columns = ("node", "version", "build", "arch", "python", "certificate", "reachable", "skew")
    computed = {
        "build": lambda row: (row["build"] or "")[:12],
        "arch": lambda row: row["architecture"],
        "certificate": lambda row: _time_left(row["certificate_not_after"]),
        "reachable": lambda row: "yes" if row["reachable"] else "no",
    }
    listing = nodes.Listing(columns, lambda answer: [_status_row(answer)], computed)
    selected = nodes.select(session, *args.nodes)
    answers = nodes.show_all(session, selected, lambda agent: agent.node_status(), listing, as_json=args.json)
    if not args.json and any(_status_row(answer)["skew"] == VersionSkew.OLDER for answer in answers):
        output.note(f"this is mcp {VERSION}; upgrade older agents with `mcp agent upgrade`")
    return nodes.finish(answers)


def _time_left(end: str | None) -> str:
    """Return the days until the end of a certificate, as in 825d; empty if unknown."""
    from datetime import UTC, datetime

    if end is None:
        return ""
    days = (datetime.fromisoformat(end) - datetime.now(UTC)).days
    return f"{days}d" if days >= 0 else "expired"


def _status_row(answer: "NodeAnswer[pb.NodeStatusResponse]") -> dict[str, object]:
    """Return the row of a node."""
    status = answer.value
    return {
        "node": answer.node.name,
        "version": status.agent_version if status else None,
        "build": status.agent_commit if status else None,
        "architecture": status.architecture if status else answer.node.arch or None,
        "python": status.agent_python if status else None,
        "certificate_not_after": _certificate_end(status) if status else None,
        "reachable": answer.is_reachable,
        "error": str(answer.error) if answer.error is not None else None,
        "skew": skew(status.agent_version) if status else None,
    }


def _certificate_end(status: "pb.NodeStatusResponse") -> str | None:
    from datetime import UTC

    from mcp.shared.times import rfc3339

    if not status.HasField("certificate_not_after"):
        return None
    return rfc3339(status.certificate_not_after.ToDatetime(UTC))


# --- recover ---


def _recover(session: "Session", args: argparse.Namespace) -> int:
    """Start, from the node's registry alone, every component that should run and does not."""
    node = session.config.node(args.node)
    with session.agent(node) as agent:
        results = agent.recover(dry_run=args.dry_run).results
    rows = [_row(result, dry_run=args.dry_run) for result in results]
    computed = {
        "action": lambda row: "" if row["action"] == "none" else row["action"],
        "result": lambda row: _outcome(row, dry_run=args.dry_run),
    }
    if args.json or rows:
        nodes.show(rows, ("service", "component", "action", "result"), args.json, computed)
    else:
        output.note(f"{node.name}: no registered component should be running")
    failed = [result for result in results if not result.success]
    if not args.json:
        for result in failed:
            output.error(f"{result.service}/{result.component}: {result.error}")
        for result in results:
            for note in result.notes:
                output.note(f"{result.service}/{result.component}: {note}")
    return EXIT_FAILED if failed else EXIT_DONE


def _row(result: "pb.RecoverResult", *, dry_run: bool) -> dict[str, object]:
    return {
        "service": result.service,
        "component": result.component,
        "action": result.action,
        "done": result.success and not dry_run,
        "error": result.error,
        "notes": list(result.notes),
    }


def _outcome(row: nodes.Row, *, dry_run: bool) -> str:
    if row["error"]:
        return "failed"
    if row["action"] == "none":
        return "nothing to do"
    return "would be done" if dry_run else "done"


_NODE = argument("node", metavar=Kind.NODE, help="a node of mcp.toml")
_DEADLINE = argument(
    "--deadline",
    type=_deadline,
    default=60,
    metavar="DURATION",
    help=f"time within which the agent must serve, {DEADLINE_RULE} (default: 60s)",
)
_SWITCH_CONTINUES = "nodes that have begun the switch complete it, others keep their agent; see mcp agent status"
_STATUS = Command("status", "show the versions of agents", _status, arguments=(arguments.NODES, arguments.JSON))
_UPGRADE = Command(
    "upgrade",
    "install this version's agent on nodes",
    _upgrade,
    changes=True,
    interrupted=_SWITCH_CONTINUES,
    description="If the new agent does not serve, the node rolls back to the old one.",
    arguments=(
        arguments.NODES,
        argument(
            "--from",
            dest="folder",
            type=arguments.folder,
            metavar=Kind.DIR,
            help="the folder of agent files (default: that of mcp)",
        ),
        argument("--wave", type=_wave, default=0, metavar="N", help="upgrade N nodes at a time; stop after a failure"),
        flag("--force", help="upgrade also nodes that already have this file"),
        flag("--allow-downgrade", help="install the agent also where a newer one runs"),
        _DEADLINE,
        arguments.JSON,
    ),
)
_ROLLBACK = Command(
    "rollback",
    "return to the previous agent of a node",
    _rollback,
    changes=True,
    interrupted=_SWITCH_CONTINUES,
    arguments=(_NODE, _DEADLINE, arguments.JSON),
)
_RECOVER = Command(
    "recover",
    "start all components that should run on a node; create missing containers",
    _recover,
    changes=True,
    interrupted=NODE_CONTINUES,
    arguments=(_NODE, flag("--dry-run", help="show the actions only"), arguments.JSON),
)
COMMAND = Command(
    "agent",
    "show, upgrade, roll back or recover agents",
    group=Group.NODES,
    commands=(_STATUS, _UPGRADE, _ROLLBACK, _RECOVER),
)
