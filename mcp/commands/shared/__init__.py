"""Helpers that several commands share."""

from enum import StrEnum

from mcp.shared.errors import shell_word

NODE_CONTINUES = "changes that a node has begun continue there; see mcp status"


def undeploy_command(node: str, service: str, component: str = "") -> str:
    """Return the command that removes a service or a component from a node, also without a definition."""
    target = shell_word(f"{service}/{component}" if component else service)
    return f"`mcp undeploy --node {node} {target}`"


class Group(StrEnum):
    """The groups of commands, in the order of help."""

    SERVICES = "Services"
    STATE = "State and logs"
    DEFINITIONS = "Definitions and files"
    NODES = "Nodes"
    ACCOUNT = "Account"
    OTHER = "Other"
