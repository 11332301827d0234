"""The roles of MCP: what an account may do on a node."""

from collections.abc import Sequence
from enum import StrEnum


class Role(StrEnum):
    """The role that an account's roles amount to."""

    ADMIN = "admin"  # everything; of every account that has none of the others, too
    DEPLOYER = "deployer"  # read, and change the services that its roles name: deployer:SERVICE
    READER = "reader"  # read, but no files and no values of variables


GUEST = "guest"  # refused, whatever other roles an account has


def role_text(role: str, services: Sequence[str]) -> str:
    """Return a role with its services for a table."""
    return f"{role}: {', '.join(services) or 'none'}" if role == Role.DEPLOYER else role
