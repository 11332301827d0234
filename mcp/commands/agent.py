"""mcp agent status, upgrade, rollback and recover: the agents themselves, and what they should run"""

import argparse
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from mcp.client import fleet
from mcp.client.session import Session
from mcp.commands import arguments
from mcp.config.configuration import Node
from mcp.shared.errors import EXIT_DONE, EXIT_FAILED, EXIT_UNREACHABLE
from mcp.shared.times import parse_duration
from mcp.shared.version import VERSION, skew
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.fleet import NodeAnswer
    from mcp.nodes.upgrade.node_upgrade import NodeUpgrade, UpgradeRow
    from proto.mcp.v1 import mcp_pb2 as pb

HEADERS = ("SERVICE", "COMPONENT", "ACTION", "RESULT")
RECOVER = "bring up what should run on a node and does not: start containers, make again those that are gone"
UPGRADE = (
    "put this version's agent on nodes (all unless some are named); a node puts back the old one if it does not serve"
)
STATUS = "show the agents' versions beside this program's, on all nodes or those named"
ROLLBACK = "go back to the agent that a node had before its last upgrade"
DEADLINE_RULE = "5s to 10m"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its sub-commands."""
    commands = parser.add_subparsers(dest="agent_command", required=True, metavar="COMMAND")
    status = arguments.add_command(commands, "status", STATUS)
    status.add_argument("nodes", nargs="*", metavar="NODE", help="a node of mcp.toml")
    upgrade = arguments.add_command(commands, "upgrade", UPGRADE)
    upgrade.add_argument("nodes", nargs="*", metavar="NODE", help="a node of mcp.toml")
    upgrade.add_argument(
        "--from",
        dest="folder",
        type=arguments.folder,
        metavar="DIR",
        help="where the agents' files are (default: beside mcp)",
    )
    upgrade.add_argument(
        "--wave",
        type=_wave,
        default=0,
        metavar="N",
        help="N nodes at a time, and no more after one that fails",
    )
    upgrade.add_argument("--force", action="store_true", help="also nodes that have this very file already")
    _add_deadline(upgrade)
    rollback = arguments.add_command(commands, "rollback", ROLLBACK)
    rollback.add_argument("node", metavar="NODE", help="a node of mcp.toml")
    _add_deadline(rollback)
    recover = arguments.add_command(commands, "recover", RECOVER)
    recover.add_argument("node", metavar="NODE", help="a node of mcp.toml")
    recover.add_argument("--dry-run", action="store_true", help="only show what would be done")
    for command in (status, upgrade, rollback, recover):
        arguments.add_json(command)


def run(session: Session, args: argparse.Namespace) -> int:
    """Do what the sub-command says."""
    return {"status": _status, "upgrade": _upgrade, "rollback": _rollback, "recover": _recover}[args.agent_command](
        session, args
    )


def _add_deadline(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--deadline",
        type=_deadline,
        default=60,
        metavar="TIME",
        help="how long the agent may take until it serves (default: 60s)",
    )


def _wave(text: str) -> int:
    """A number of nodes as an argparse type."""
    if arguments.count(text) == 0:
        raise argparse.ArgumentTypeError("expected 1 node or more; without --wave it is all at once")
    return int(text)


def _deadline(text: str) -> int:
    """A duration in whole seconds as an argparse type."""
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not timedelta(seconds=5) <= found <= timedelta(minutes=10):
        raise argparse.ArgumentTypeError(f"expected {DEADLINE_RULE}")
    return round(found.total_seconds())


def _nodes(session: Session, names: Sequence[str]) -> list[Node]:
    """The nodes named, each once, or all."""
    return [session.config.node(name) for name in dict.fromkeys(names)] or list(session.config.nodes)


# --- upgrade and rollback ---


def _upgrade(session: Session, args: argparse.Namespace) -> int:
    from mcp.nodes.upgrade.node_upgrade import NodeUpgrade
    from mcp.nodes.upgrade.waves import AgentFiles

    files = AgentFiles(args.folder)
    course = NodeUpgrade(session, files.find, args.deadline, args.force)
    return _bring_through(session, course, _nodes(session, args.nodes), args)


def _rollback(session: Session, args: argparse.Namespace) -> int:
    from mcp.nodes.upgrade.node_upgrade import NodeUpgrade

    return _bring_through(session, NodeUpgrade(session, None, args.deadline), _nodes(session, [args.node]), args)


def _bring_through(session: Session, course: "NodeUpgrade", nodes: Sequence[Node], args: argparse.Namespace) -> int:
    import asyncio  # slow to import, as what needs it is

    from mcp.nodes.upgrade import waves

    session.token  # noqa: B018 - needed to ask the new agents: said now, and not once it is done
    session.ca  # noqa: B018
    with output.live_lines() as lines:
        rows = asyncio.run(waves.run(course, nodes, getattr(args, "wave", 0), lines))
    if args.json:
        output.print_json([_row_json(row) for row in rows])
    else:
        output.table(
            ("NODE", "FROM", "TO", "RESULT"), [(row.node, row.before, row.after, str(row.result)) for row in rows]
        )
    for row in rows:
        if row.why:
            output.error(f"{row.node}: {row.why}")
    return _exit_code(rows)


def _exit_code(rows: Sequence["UpgradeRow"]) -> int:
    """0 where every node has its agent; where all that went wrong is that ssh did not get there, as for other calls."""
    failed = [row for row in rows if not row.is_good and row.result != "untouched"]
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
    }


# --- status ---


def _status(session: Session, args: argparse.Namespace) -> int:
    answers = fleet.ask_all(session, _nodes(session, args.nodes), lambda agent: agent.node_status())
    rows = [_status_row(answer) for answer in answers]
    if args.json:
        output.print_json(rows)
    else:
        headers = ("NODE", "VERSION", "BUILD", "ARCH", "PYTHON", "REACHABLE", "SKEW")
        output.table(headers, [_status_cells(row) for row in rows])
        for answer in answers:
            if answer.error is not None:
                output.error(str(answer.error))
        if any(row["skew"] == "older" for row in rows):
            output.note(f"this is mcp {VERSION}; `mcp agent upgrade` brings older agents to it")
    return fleet.exit_code(answers)


def _status_row(answer: "NodeAnswer[pb.NodeStatusResponse]") -> dict[str, object]:
    """A node's row."""
    status = answer.value
    return {
        "node": answer.node.name,
        "version": status.agent_version if status else None,
        "build": status.agent_commit if status else None,
        "architecture": status.architecture if status else answer.node.arch or None,
        "python": status.agent_python if status else None,
        "reachable": answer.state != "unreachable",  # one that refuses us is there
        "error": str(answer.error) if answer.error is not None else None,
        "skew": skew(status.agent_version) if status else None,
    }


def _status_cells(row: dict[str, object]) -> list[str]:
    cells = {**row, "build": str(row["build"] or "")[:12], "reachable": "yes" if row["reachable"] else "no"}
    return [str(value or "") for name, value in cells.items() if name != "error"]


# --- recover ---


def _recover(session: Session, args: argparse.Namespace) -> int:
    """Bring up, from the node's registry alone, every component that should run; what runs is not touched."""
    node = session.config.node(args.node)
    with session.agent(node) as agent:
        results = agent.recover(dry_run=args.dry_run).results
    if args.json:
        output.print_json([_row(result, dry_run=args.dry_run) for result in results])
    elif results:
        output.table(HEADERS, [_cells(result, dry_run=args.dry_run) for result in results])
    else:
        output.note(f"nothing should run on {node.name}: no component that is registered there is to be running")
    failed = [result for result in results if not result.success]
    if not args.json:
        for result in failed:
            output.error(f"{result.service}/{result.component}: {result.error}")
    return EXIT_FAILED if failed else EXIT_DONE


def _row(result: "pb.RecoverResult", *, dry_run: bool) -> dict[str, object]:
    return {
        "service": result.service,
        "component": result.component,
        "action": result.action,
        "done": result.success and not dry_run,
        "error": result.error,
    }


def _cells(result: "pb.RecoverResult", *, dry_run: bool) -> list[str]:
    if not result.success:
        outcome = "failed"
    elif result.action == "none":
        outcome = "nothing to do"
    else:
        outcome = "would be done" if dry_run else "done"
    return [result.service, result.component, "" if result.action == "none" else result.action, outcome]
