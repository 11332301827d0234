"""Declarations of commands, which the parser, completion and the man pages are made from.

They are named tuples: the dataclasses module alone would add milliseconds to every start.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple


class Kind(StrEnum):
    """A placeholder (metavar) that completion has candidates for."""

    NODE = "NODE"
    SERVICE = "SERVICE"
    TARGET = "SERVICE[/COMPONENT]"
    FILE_TARGET = "SERVICE/PATH"
    COMMAND = "COMMAND"
    TIME = "TIME"
    FILE = "FILE"
    DIR = "DIR"
    DIR_OR_STDOUT = "DIR|-"


class Configuration(StrEnum):
    """The configuration that a command needs: none, one that may be missing, or one that exists."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


class Argument(NamedTuple):
    """An argument: names and options are argparse's; at most one of a command's exclusive ones may be given."""

    names: tuple[str, ...]
    options: dict[str, Any]
    exclusive: bool = False

    @property
    def is_option(self) -> bool:
        """Tell an option from an operand."""
        return self.names[0].startswith("-")

    @property
    def is_required(self) -> bool:
        """Tell what must be given from what may be left out."""
        return bool(self.options.get("required", not self.is_option and self.options.get("nargs") not in ("*", "?")))

    @property
    def placeholder(self) -> str:
        """The word that stands for its value; empty for a flag."""
        if self.options.get("action", "append") != "append":
            return ""
        return str(self.options.get("metavar") or f"{{{','.join(self.options['choices'])}}}")


def argument(*names: str, exclusive: bool = False, **options: Any) -> Argument:
    """Declare an argument by argparse's own words; its metavar is a Kind where completion has candidates."""
    return Argument(names, options, exclusive)


def flag(*names: str, help: str) -> Argument:  # noqa: A002 - as argparse calls it
    """Declare an option without a value."""
    return Argument(names, {"action": "store_true", "help": help})


class Command(NamedTuple):
    """A command, or one of its sub-commands.

    `summary` begins with a small letter and has no full stop; `description` are sentences that follow it. `epilog` is
    printed as it is. `run` takes a Session (mcp only; None where no configuration is needed) and the arguments, and
    returns the exit status.
    """

    name: str
    summary: str
    run: Callable[..., int] | None = None
    arguments: tuple[Argument, ...] = ()
    commands: "tuple[Command, ...]" = ()
    group: str = ""
    changes: bool = False
    interrupted: str = ""  # a note for Ctrl-C; empty where nothing continues
    differences: bool = False  # exit status 2 is an answer (there are changes) when it changes nothing
    configuration: Configuration = Configuration.REQUIRED
    description: str = ""
    epilog: str = ""

    @property
    def about(self) -> str:
        """The summary as a sentence, and the description."""
        return f"{self.summary[0].upper()}{self.summary[1:]}. {self.description}".strip()

    @property
    def notes(self) -> list[str]:
        """What Ctrl-C leaves behind, and the exit status where it is an answer."""
        notes = []
        if self.interrupted:
            notes.append(f"If interrupted by Ctrl-C: {self.interrupted}.")
        if self.differences:
            dry_run = " with --dry-run" if self.changes else ""
            notes.append(f"Exit status{dry_run}: 0 no changes, 1 failed, 2 there are changes.")
        return notes
