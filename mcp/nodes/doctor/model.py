"""What a check finds, and what the checks of a node's own side are given."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mcp.config.configuration import Node


class Level(StrEnum):
    """How bad it is: an error keeps services from running or from being changed, a warning will or may."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """What one check found: `check` names it for programs, `what` says it, `do` what to do about it."""

    level: Level
    check: str
    what: str
    do: str = ""

    @property
    def is_error(self) -> bool:
        """Return True for an error."""
        return self.level is Level.ERROR

    @property
    def is_fine(self) -> bool:
        """Return True where there is nothing to do."""
        return self.level is Level.OK


def ok(check: str, what: str) -> Finding:
    """Nothing to do."""
    return Finding(Level.OK, check, what)


def warning(check: str, what: str, do: str) -> Finding:
    """Something to see to."""
    return Finding(Level.WARNING, check, what, do)


def error(check: str, what: str, do: str) -> Finding:
    """Something to mend now."""
    return Finding(Level.ERROR, check, what, do)


@dataclass(frozen=True)
class There:
    """What mcp/nodes/doctor/script.py printed on a node, by section; what could not be looked at is missing."""

    node: Node
    said: Mapping[str, str]

    def text(self, section: str) -> str:
        """What it printed there, without the space around it."""
        return self.said.get(section, "").strip()

    def lines(self, section: str) -> list[str]:
        """The lines that are not empty."""
        return [line for line in self.text(section).splitlines() if line.strip()]

    def values(self, section: str) -> dict[str, str]:
        """NAME=VALUE lines."""
        return dict(line.split("=", 1) for line in self.lines(section) if "=" in line)

    @property
    def uid(self) -> int | None:
        """The UID of the user mcp, where there is one."""
        fields = self.text("account").split(":")
        return int(fields[2]) if len(fields) > 2 and fields[2].isdigit() else None

    @property
    def home(self) -> str:
        """The home of the user mcp."""
        fields = self.text("account").split(":")
        return fields[5] if len(fields) > 5 else "/srv/mcp"

    def command(self, *words: str) -> str:
        """A command of root's there, to paste here."""
        root = [self.node.sudo] if self.node.sudo else []
        return f"`{shlex.join(['ssh', self.node.ssh or self.node.name, *root, *words])}`"

    @property
    def provision(self) -> str:
        """The command that mends what provisioning makes."""
        return f"`mcp node provision {self.node.name}`"
