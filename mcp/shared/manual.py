"""Manual pages in roff, generated from the declarations of commands."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from mcp.shared.command import Argument, Command
from mcp.shared.version import VERSION


class Manual(NamedTuple):
    """The parts of a manual page; mappings are from names to explanations."""

    name: str
    section: int
    summary: str
    description: str
    options: Sequence[Argument]
    commands: Sequence[Command]
    exit_status: Mapping[int, str]
    environment: Mapping[str, str]
    files: Mapping[str, str]
    examples: str
    see_also: str


def roff(manual: Manual) -> str:
    """Return the page in the format of man(7)."""
    return "\n".join(_page(manual)) + "\n"


def _page(manual: Manual) -> Iterator[str]:
    title = (manual.name.upper(), str(manual.section), "", f"{manual.name} {VERSION}", "Metacircular Control Plane")
    yield ".TH " + " ".join(f'"{_escape(part)}"' for part in title)
    yield from (".SH NAME", _escape(f"{manual.name} - {manual.summary}"))
    yield from (".SH SYNOPSIS", " ".join([_bold(manual.name), *map(_usage, manual.options), _italic("COMMAND"), "..."]))
    yield from (".SH DESCRIPTION", *_text(manual.description))
    if manual.options:
        yield from (".SH OPTIONS", *_options(manual.options))
    yield ".SH COMMANDS"
    group = ""
    for command in manual.commands:
        if command.group != group:
            group = command.group
            yield f".SS {_escape(group)}"
        yield from _command(manual.name, command)
    yield from (".SH EXIT STATUS", *_list({str(code): text for code, text in manual.exit_status.items()}))
    yield from (".SH ENVIRONMENT", *_list(manual.environment))
    yield from (".SH FILES", *_list(manual.files))
    yield from (".SH EXAMPLES", *_verbatim(manual.examples))
    yield from (".SH SEE ALSO", _escape(manual.see_also))


def _command(prefix: str, command: Command) -> Iterator[str]:
    """Describe a command that can be run or has arguments, and its subcommands."""
    name = f"{prefix} {command.name}"
    if command.arguments or not command.commands:
        yield from _entry(name, command)
    for part in command.commands:
        yield from _command(name, part)


def _entry(name: str, command: Command) -> Iterator[str]:
    options = [argument for argument in command.arguments if argument.is_option]
    operands = [argument for argument in command.arguments if not argument.is_option]
    dots = [_italic("COMMAND"), "..."] if command.commands else []
    yield from (".TP", " ".join([_bold(name), *map(_usage, options), *map(_usage, operands), *dots]))
    yield from _text(command.about)
    if command.arguments:
        yield from (".RS", *_options([*operands, *options]), ".RE")
    if command.notes or command.epilog:
        yield ".RS"
        for note in command.notes:
            yield from (".PP", *_text(note))
        if command.epilog:
            yield from (".PP", *_verbatim(command.epilog))
        yield ".RE"


def _options(arguments: Iterable[Argument]) -> Iterator[str]:
    for argument in arguments:
        value = f" {_italic(argument.placeholder)}" if argument.placeholder else ""
        head = ", ".join(map(_bold, argument.names)) + value if argument.is_option else _italic(argument.placeholder)
        yield from (".TP", head, *_text(argument.options["help"]))


def _usage(argument: Argument) -> str:
    """Format an argument for a synopsis."""
    value = _italic(argument.placeholder) if argument.placeholder else ""
    if argument.is_option:
        value = f"{_bold(argument.names[0])} {value}".rstrip()
    if argument.options.get("nargs") in ("*", "+"):
        value += "..."
    return value if argument.is_required else f"[{value}]"


def _list(entries: Mapping[str, str]) -> Iterator[str]:
    for name, text in entries.items():
        yield from (".TP", _bold(name), *_text(text))


def _text(text: str) -> Iterator[str]:
    """Format running text, one sentence per line."""
    for sentence in text.replace(". ", ".\n").splitlines():
        yield _escape(sentence)


def _verbatim(text: str) -> Iterator[str]:
    yield from (".nf", *map(_escape, text.rstrip().splitlines()), ".fi")


def _bold(text: str) -> str:
    return f"\\fB{_escape(text)}\\fR"


def _italic(text: str) -> str:
    return f"\\fI{_escape(text)}\\fR"


def _escape(text: str) -> str:
    """Escape characters with a meaning in roff, and the hyphens of options."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
