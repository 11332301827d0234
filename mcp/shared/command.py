"""Declarations of commands: the source of the parser, completion and the man pages.

They are named tuples: importing dataclasses would add milliseconds to every start.
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
    SHOW = "show"
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
    """An argument with names and options of argparse; the exclusive ones of a command exclude each other."""

    names: tuple[str, ...]
    options: dict[str, Any]
    exclusive: bool = False

    @property
    def is_option(self) -> bool:
        """True for an option, False for an operand."""
        return self.names[0].startswith("-")

    @property
    def is_required(self) -> bool:
        """True if the argument cannot be omitted."""
        return bool(self.options.get("required", not self.is_option and self.options.get("nargs") not in ("*", "?")))

    @property
    def placeholder(self) -> str:
        """The placeholder for its value; empty for a flag."""
        if self.options.get("action", "append") != "append":
            return ""
        return str(self.options.get("metavar") or f"{{{','.join(self.options['choices'])}}}")


def argument(*names: str, exclusive: bool = False, **options: Any) -> Argument:
    """Declare an argument with argparse's options; its metavar is a Kind if completion has candidates."""
    return Argument(names, options, exclusive)


def flag(*names: str, help: str) -> Argument:  # noqa: A002 - as argparse calls it
    """Declare an option without a value."""
    return Argument(names, {"action": "store_true", "help": help})


class Differences(NamedTuple):
    """The option that makes exit status 2 report differences, and the meanings of 0 and 2 with it.

    No error has the status 2 then.
    """

    option: str
    none: str
    some: str

    @property
    def dest(self) -> str:
        """The name of the parsed option."""
        return self.option.lstrip("-").replace("-", "_")


class Command(NamedTuple):
    """A command or subcommand.

    `summary` begins with a lower-case letter and has no full stop; `description` is the text that follows it. `epilog`
    is printed unchanged. `run` takes a Session (mcp only; None if no configuration is needed) and the arguments, and
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
    differences: Differences | None = None
    configuration: Configuration = Configuration.REQUIRED
    description: str = ""
    epilog: str = ""

    @property
    def about(self) -> str:
        """The summary as a sentence, and the description."""
        return f"{self.summary[0].upper()}{self.summary[1:]}. {self.description}".strip()

    @property
    def notes(self) -> list[str]:
        """The effect of Ctrl-C, and the exit status if it reports differences."""
        notes = []
        if self.interrupted:
            notes.append(f"If interrupted by Ctrl-C: {self.interrupted}.")
        if self.differences:
            option, none, some = self.differences
            notes.append(f"Exit status with {option}: 0 {none}, 1 failed, 2 {some}.")
        return notes
