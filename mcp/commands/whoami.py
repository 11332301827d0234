"""mcp whoami"""

import argparse
from typing import TYPE_CHECKING

from mcp.commands.shared import Group, arguments, nodes
from mcp.commands.shared.account import role_of
from mcp.shared.command import Command
from mcp.shared.roles import role_text

if TYPE_CHECKING:
    from mcp.client.session import Session
    from proto.mcp.v1 import mcp_pb2 as pb

COLUMNS = ("node", "state", "user", "type", "role", "expires")
FIELDS = (*COLUMNS, "services", "roles")


def run(session: "Session", args: argparse.Namespace) -> int:
    """Show the account of the token and what it may do on each node."""
    computed = {
        "role": lambda row: role_text(row["role"], row["services"]) if row["user"] else "",
        "expires": lambda row: row["expires"] or ("never" if row["user"] else ""),
    }
    listing = nodes.Listing(COLUMNS, nodes.rows_of(FIELDS, "state", _rows), computed)
    selected = nodes.select(session, args.node)
    return nodes.finish(nodes.show_all(session, selected, lambda agent: agent.who_am_i(), listing, as_json=args.json))


def _rows(account: "pb.WhoAmIResponse") -> list[nodes.Row]:
    from datetime import UTC

    expires = account.expires.ToDatetime(UTC).isoformat(timespec="seconds") if account.HasField("expires") else None
    row = {"user": account.user, "type": account.account_type, "role": role_of(account), "expires": expires}
    return [{"state": "ready", **row, "services": list(account.services), "roles": list(account.roles)}]


COMMAND = Command(
    "whoami",
    "show your account, its role and token expiry on each node",
    run,
    group=Group.ACCOUNT,
    arguments=(arguments.node("only this node"), arguments.JSON),
)
