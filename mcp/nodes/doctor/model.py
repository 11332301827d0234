"""Findings, and the output of the script that checks over ssh use."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mcp.config.configuration import Node


class Level(StrEnum):
    """Severity: an error prevents services from running or changing, a warning will or may do so."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """Result of a check: `check` is its name in JSON, `what` the finding, `do` the remedy."""

    level: Level
    check: str
    what: str
    do: str = ""

    @property
    def is_error(self) -> bool:
        """True for an error."""
        return self.level is Level.ERROR

    @property
    def is_fine(self) -> bool:
        """True if there is nothing to do."""
        return self.level is Level.OK


def ok(check: str, what: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(Level.OK, check, what)


def warning(check: str, what: str, do: str) -> Finding:
    """Return a finding of level warning."""
    return Finding(Level.WARNING, check, what, do)


def error(check: str, what: str, do: str) -> Finding:
    """Return a finding of level error."""
    return Finding(Level.ERROR, check, what, do)


@dataclass(frozen=True)
class Inspection:
    """Output of mcp/nodes/doctor/script.py on a node, by section; unavailable sections are missing."""

    node: Node
    said: Mapping[str, str]

    def text(self, section: str) -> str:
        """Return the stripped text of a section."""
        return self.said.get(section, "").strip()

    def lines(self, section: str) -> list[str]:
        """Return the non-empty lines of a section."""
        return [line for line in self.text(section).splitlines() if line.strip()]

    def values(self, section: str) -> dict[str, str]:
        """Return the NAME=VALUE lines of a section."""
        return dict(line.split("=", 1) for line in self.lines(section) if "=" in line)

    @property
    def uid(self) -> int | None:
        """The UID of the user mcp, if it exists."""
        fields = self.text("account").split(":")
        return int(fields[2]) if len(fields) > 2 and fields[2].isdigit() else None

    @property
    def home(self) -> str:
        """The home folder of the user mcp."""
        fields = self.text("account").split(":")
        return fields[5] if len(fields) > 5 else "/srv/mcp"

    def command(self, *words: str) -> str:
        """Format a command that root runs on the node, to paste into a local shell."""
        root = [self.node.sudo] if self.node.sudo else []
        return f"`{shlex.join(['ssh', self.node.ssh or self.node.name, *root, *words])}`"

    @property
    def provision(self) -> str:
        """The command that repairs everything that provisioning sets up."""
        return f"`mcp node provision {self.node.name}`"
