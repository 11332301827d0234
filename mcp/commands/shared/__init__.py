"""Helpers that several commands share."""

from enum import StrEnum

NODE_CONTINUES = "changes that a node has begun continue there; see mcp status"


class Group(StrEnum):
    """The groups of commands, in the order of help."""

    SERVICES = "Services"
    STATE = "State and logs"
    DEFINITIONS = "Definitions and files"
    NODES = "Nodes"
    ACCOUNT = "Account"
    OTHER = "Other"
