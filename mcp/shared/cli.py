"""Command line parser: argparse with one-line errors and suggestions."""

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

from mcp.shared.command import Argument, Command
from mcp.shared.errors import EXIT_USAGE, one_line, shown


class _Formatter(argparse.HelpFormatter):
    """Help formatter that wraps texts of one line and leaves others as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that reports an error in one line, with the help to read.

    Options cannot be abbreviated: scripts would break with the next option that has the same prefix.
    """

    def __init__(
        self,
        *,
        outer: Iterable[str] = (),
        other_words: Mapping[str, str] = {},
        other_options: Mapping[str, str] = {},
        **kwargs: Any,
    ) -> None:
        """Create a parser; subparsers inherit these.

        Args:
            outer: The options of the whole program, which belong before the command.
            other_words: Hints for unknown commands that other programs have, as `use HINT`.
            other_options: Options for the unknown ones that other programs have.
            **kwargs: Those of ArgumentParser.
        """
        super().__init__(allow_abbrev=False, formatter_class=_Formatter, **kwargs)
        self._outer = frozenset(outer)
        self._other_words, self._other_options = other_words, other_options
        self._positionals.title = "arguments"
        self._negative_number_matcher = re.compile(r"-\d")  # -5m in `--since -5m` is a value

    def add_subparsers(self, **kwargs: Any) -> Any:
        """Do as argparse does, with subparsers of this class."""
        kwargs.setdefault("title", "commands")
        inherited = {"other_words": self._other_words, "other_options": self._other_options}
        kwargs.setdefault("parser_class", partial(type(self), outer=self._outer, **inherited))
        return super().add_subparsers(**kwargs)

    def add_commands(self, commands: Iterable[Command], *, names_only: bool = False, **kwargs: Any) -> None:
        """Add declared commands; the selected one becomes `command` of the parsed arguments.

        With `names_only` they share one parser without arguments: 30 parsers take longer than the rest of --help.
        """
        if names_only:
            blank = type(self)(add_help=False)
            kwargs["parser_class"] = lambda **_: blank
        added = self.add_subparsers(required=True, metavar="COMMAND", **kwargs)
        for command in commands:
            if names_only:
                added.add_parser(command.name, help=command.summary)
                continue
            epilog = "\n\n".join([*command.notes, command.epilog]).rstrip()
            parser = added.add_parser(command.name, help=command.summary, description=command.about, epilog=epilog)
            parser.add_arguments_of(command)

    def add_arguments_of(self, command: Command) -> None:
        """Add the arguments and sub-commands that a command declares."""
        self.set_defaults(command=command)
        self.add(*command.arguments)
        if command.commands:
            self.add_commands(command.commands)

    def add(self, *arguments: Argument) -> None:
        """Add declared arguments."""
        is_exclusive = any(argument.exclusive for argument in arguments)
        exclusive = self.add_mutually_exclusive_group() if is_exclusive else self
        for argument in arguments:
            (exclusive if argument.exclusive else self).add_argument(*argument.names, **argument.options)

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with EXIT_USAGE."""
        program = self.prog.split()[0]
        sys.stderr.write(f"{program}: {one_line(message)}; see {self.prog} --help\n")
        sys.exit(EXIT_USAGE)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Do as argparse does, but report arguments unknown to a command as an error of that command."""
        found, extra = super().parse_known_args(args, namespace)
        if extra and not self._take_late(found, extra):
            self.error(self._unknown(extra))
        return found, []

    def _take_late(self, found: argparse.Namespace, extra: Sequence[str]) -> bool:
        """Append operands that follow an option (`web -n 5 worker`) to their list, which argparse does not."""
        last = next(reversed(self._get_positional_actions()), None)
        if last is None or last.nargs != "*" or any(word.startswith("-") for word in extra):
            return False
        try:
            late = self._get_values(last, list(extra))
        except argparse.ArgumentError as error:
            self.error(str(error))
        setattr(found, last.dest, [*getattr(found, last.dest), *late])
        return True

    def _unknown(self, extra: Sequence[str]) -> str:
        option = next((word.partition("=")[0] for word in extra if word.startswith("-") and len(word) > 1), "")
        if not option:
            return f"unexpected {'argument' if len(extra) == 1 else 'arguments'}: {' '.join(extra)}"
        if option in self._outer:
            program, _, command = self.prog.partition(" ")
            return f"{option} belongs before the command: {program} {option} … {command}"
        other = self._other_options.get(option if option.startswith("--") else option[:2])
        hint = f"; use {other}" if other in self._option_string_actions else ""
        return f"unknown option {shown(option)}{hint or did_you_mean(option, self._option_string_actions)}"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            other = self._other_words.get(f"{self.prog} {value}".partition(" ")[2])
            hint = f"; use {other}" if other else did_you_mean(value, action.choices)
            self.error(f"unknown command {shown(value)}{hint or '; known: ' + ', '.join(action.choices)}")
        super()._check_value(action, value)


def exit_status_text(codes: Mapping[int, str]) -> str:
    """List exit codes for the end of a help text."""
    return "\n".join(["exit status:", *(f"  {code:<3}  {text}" for code, text in codes.items())])


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` for the most similar known word, or an empty string."""
    import difflib  # needed after errors only: keeps startup short

    # without dashes, which would make all options similar
    bare = {name.lstrip("-"): name for name in known}
    begun = [name for name in bare if name.startswith(word.lstrip("-"))]
    close = difflib.get_close_matches(word.lstrip("-"), bare, 1, cutoff=0.7) or begun
    return f"; did you mean {bare[close[0]]}?" if close else ""
