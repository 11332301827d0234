"""The commands of `mcp`: each module of mcp.commands declares one, of the module's name, as COMMAND.

Those import nothing heavy at their top, since help and completion import them all.
"""

import importlib
import os

from mcp.commands.shared import Group
from mcp.shared.command import Command

PACKAGE = __name__.rsplit(".", 2)[0]


def names() -> list[str]:
    """List the commands without importing any."""
    files = os.listdir(importlib.import_module(PACKAGE).__path__[0])  # noqa: PTH208 - pathlib is slow to import
    return sorted(name.removesuffix(".py") for name in files if name.endswith(".py") and name != "__init__.py")


def load(name: str) -> Command:
    """Import a command's module and return its declaration."""
    command: Command = importlib.import_module(f"{PACKAGE}.{name}").COMMAND
    return command


def load_all() -> list[Command]:
    """Import every command, in the order of help: by group, then by name."""
    order = list(Group)
    return sorted(map(load, names()), key=lambda command: order.index(Group(command.group)))
