"""The account of a token, as an agent knows it."""

from typing import TYPE_CHECKING

from mcp.shared.roles import Role

if TYPE_CHECKING:
    from proto.mcp.v1 import mcp_pb2 as pb


def role_of(account: "pb.WhoAmIResponse") -> str:
    """Return the role of an account; agents before 0.3 send none, and limit nobody."""
    return account.role or Role.ADMIN
