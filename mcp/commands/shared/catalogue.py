"""The commands of `mcp`: each module of mcp.commands declares the command of its name as COMMAND.

The modules import nothing slow at the top, since help and completion import all of them.
"""

import importlib
import os

from mcp.commands.shared import Group
from mcp.shared.command import Command

PACKAGE = __name__.rsplit(".", 2)[0]


def names() -> list[str]:
    """List the names of commands without importing them."""
    files = os.listdir(importlib.import_module(PACKAGE).__path__[0])  # noqa: PTH208 - pathlib is slow to import
    return sorted(name.removesuffix(".py") for name in files if name.endswith(".py") and name != "__init__.py")


def load(name: str) -> Command:
    """Import the module of a command and return its declaration."""
    command: Command = importlib.import_module(f"{PACKAGE}.{name}").COMMAND
    return command


def load_all() -> list[Command]:
    """Import all commands and return them by group, then name."""
    order = list(Group)
    return sorted(map(load, names()), key=lambda command: order.index(Group(command.group)))
