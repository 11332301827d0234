"""mcp whoami"""

import argparse
from datetime import UTC
from typing import TYPE_CHECKING

from mcp.client import fleet
from mcp.client.session import Session
from mcp.commands import arguments
from mcp.terminal import output

if TYPE_CHECKING:
    from proto.mcp.v1 import mcp_pb2 as pb

HEADERS = ("NODE", "STATE", "USER", "TYPE", "ROLES", "EXPIRES")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.description = "Show whom the nodes take you for, and until when your token is valid."
    parser.add_argument("--node", metavar="NODE", help="ask only this node")
    arguments.add_json(parser)


def run(session: Session, args: argparse.Namespace) -> int:
    """Ask the nodes whose token it is."""
    nodes = [session.config.node(args.node)] if args.node else session.config.nodes
    answers = fleet.ask_all(session, nodes, lambda agent: agent.who_am_i())
    rows = [{"node": answer.node.name, "state": answer.state, **_account(answer.value)} for answer in answers]
    if args.json:
        output.print_json(rows)
    else:
        output.table(HEADERS, [_cells(row) for row in rows])
    for answer in answers:
        if answer.error is not None:
            output.error(str(answer.error))
    return fleet.exit_code(answers)


def _account(account: "pb.WhoAmIResponse | None") -> dict[str, object]:
    if account is None:
        return dict.fromkeys(("user", "type", "roles", "expires"))
    expires = account.expires.ToDatetime(UTC).isoformat(timespec="seconds") if account.HasField("expires") else None
    return {
        "user": account.user,
        "type": account.account_type,
        "roles": list(account.roles),
        "expires": expires,
    }


def _cells(row: dict[str, object]) -> list[str]:
    roles = row["roles"]
    return [
        str(row["node"]),
        str(row["state"]),
        str(row["user"] or ""),
        str(row["type"] or ""),
        ",".join(roles) if isinstance(roles, list) else "",
        str(row["expires"] or ("never" if row["user"] else "")),
    ]
