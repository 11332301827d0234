"""Helpers that several commands share."""

from enum import StrEnum

NODE_CONTINUES = "changes that a node has begun continue there; see mcp status"


def undeploy_command(node: str, service: str, component: str = "") -> str:
    """Return the command that removes a service or a component from a node, also without a definition."""
    return f"`mcp undeploy --node {node} {service}{'/' if component else ''}{component}`"


class Group(StrEnum):
    """The groups of commands, in the order of help."""

    SERVICES = "Services"
    STATE = "State and logs"
    DEFINITIONS = "Definitions and files"
    NODES = "Nodes"
    ACCOUNT = "Account"
    OTHER = "Other"
