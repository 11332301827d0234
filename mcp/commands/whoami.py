"""mcp whoami"""

import argparse
from typing import TYPE_CHECKING

from mcp.commands.shared import Group, arguments, nodes
from mcp.shared.command import Command

if TYPE_CHECKING:
    from mcp.client.session import Session
    from proto.mcp.v1 import mcp_pb2 as pb

COLUMNS = ("node", "state", "user", "type", "roles", "expires")


def run(session: "Session", args: argparse.Namespace) -> int:
    """Show the account of the token on each node."""
    computed = {"expires": lambda row: row["expires"] or ("never" if row["user"] else "")}
    listing = nodes.Listing(COLUMNS, nodes.rows_of(COLUMNS, "state", _rows), computed)
    selected = nodes.select(session, args.node)
    return nodes.finish(nodes.show_all(session, selected, lambda agent: agent.who_am_i(), listing, as_json=args.json))


def _rows(account: "pb.WhoAmIResponse") -> list[nodes.Row]:
    from datetime import UTC

    expires = account.expires.ToDatetime(UTC).isoformat(timespec="seconds") if account.HasField("expires") else None
    row = {"user": account.user, "type": account.account_type, "roles": list(account.roles), "expires": expires}
    return [{"state": "ready", **row}]


COMMAND = Command(
    "whoami",
    "show your account and token expiry on each node",
    run,
    group=Group.ACCOUNT,
    arguments=(arguments.node("only this node"), arguments.JSON),
)
