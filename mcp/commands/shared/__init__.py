"""Helpers of several commands."""

from enum import StrEnum

NODE_CONTINUES = "a change that a node has begun continues there: see mcp status"


class Group(StrEnum):
    """The groups of commands, in the order of help."""

    SERVICES = "Services"
    STATE = "State and logs"
    DEFINITIONS = "Definitions and files"
    NODES = "Nodes"
    ACCOUNT = "Account"
    OTHER = "Other"
