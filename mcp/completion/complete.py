"""`mcp __complete SHELL WORD...`: completion candidates, for the completion scripts.

The words follow the program name, up to the cursor; the last one, which may be empty, is to be completed. Prints one
candidate per line, `VALUE<TAB>EXPLANATION`, or `:files` or `:folders` to let the shell complete paths. It uses the
parsers of declared commands, and contacts no node.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from mcp.shared.command import Kind
from mcp.shared.errors import EXIT_DONE, McpError
from mcp.terminal import output

if TYPE_CHECKING:
    from pathlib import Path

    from mcp.config.configuration import Config

ParserFor = Callable[[list[str]], argparse.ArgumentParser]  # takes the words before the cursor

FILES, FOLDERS = ":files", ":folders"

Candidate = tuple[str, str]  # value, explanation


class _Place:
    """The position of the cursor in the grammar."""

    def __init__(self, parser_for: ParserFor, before: list[str]) -> None:
        """Start at the first of the words before the cursor."""
        self.parser = parser_for(before)
        self.parser_for = parser_for
        self.config: Path | None = None
        self.seen: set[str] = set()  # destinations of options given before
        self.positionals = 0
        self.pending: argparse.Action | None = None  # an option whose value follows
        self.only_positionals = False


def run(words: Sequence[str], parser_for: ParserFor) -> int:
    """Print the candidates, none after any error, which would be printed into the prompt."""
    try:
        lines = list(_lines(words[0], list(words[1:]), parser_for))
    except (McpError, OSError, ValueError, LookupError, RecursionError):
        return EXIT_DONE
    for value, explanation in lines:
        output.candidate(value, explanation)
    return EXIT_DONE


def _lines(shell: str, words: list[str], parser_for: ParserFor) -> Iterator[Candidate]:
    words = list(_joined(words)) if shell == "bash" else words
    *before, current = words
    place = _walk(_Place(parser_for, before), before)
    prefix = ""
    if place.pending is None and current.startswith("--") and "=" in current and not place.only_positionals:
        option, _, current = current.partition("=")
        place.pending = place.parser._option_string_actions.get(option)
        if place.pending is None:
            return
        prefix = f"{option}="
    for value, explanation in _candidates(place, current):
        if value.startswith(":"):
            yield value, ""
        elif value.startswith(current):
            # bash splits words at =, and replaces only the part after it
            yield (value if shell == "bash" else prefix + value), explanation


def _joined(words: Iterable[str]) -> Iterator[str]:
    """Join words that bash has split at =: it passes `--node=rift` as three."""
    parts: list[str] = []
    for word in words:
        if parts and (word == "=" or parts[-1].endswith("=")) and parts[-1].startswith("--"):
            parts[-1] += word
        else:
            parts.append(word)
    return iter(parts)


def _walk(place: _Place, words: Iterable[str]) -> _Place:
    """Process the words before the cursor as argparse does."""
    for word in words:
        if place.pending is not None:
            _take_value(place, place.pending, word)
            place.pending = None
        elif word == "--" and not place.only_positionals:
            place.only_positionals = True
        elif word.startswith("-") and len(word) > 1 and not place.only_positionals:
            _option(place, word)
        else:
            _positional(place, word)
    return place


def _option(place: _Place, word: str) -> None:
    name, equals, value = word.partition("=")
    actions = place.parser._option_string_actions
    if not word.startswith("--") and word not in actions:  # -ft, -n5
        _short_options(place, word)
        return
    action = actions.get(name)
    if action is None:
        return
    place.seen.add(action.dest)
    if action.nargs == 0:
        return
    if equals:
        _take_value(place, action, value)
    else:
        place.pending = action


def _short_options(place: _Place, word: str) -> None:
    for index, letter in enumerate(word[1:], 1):
        action = place.parser._option_string_actions.get(f"-{letter}")
        if action is None:
            return
        place.seen.add(action.dest)
        if action.nargs != 0:
            place.pending = None if word[index + 1 :] else action
            return


def _take_value(place: _Place, action: argparse.Action, value: str) -> None:
    if action.dest == "config":
        from mcp.shared.files import expand

        place.config = expand(value)


def _positional(place: _Place, word: str) -> None:
    action = _next_positional(place)
    if isinstance(action, argparse._SubParsersAction) and word in action.choices:
        place.parser, place.positionals = action.choices[word], 0
    elif isinstance(action, argparse._SubParsersAction):
        raise LookupError(word)
    else:
        place.positionals += 1


def _next_positional(place: _Place) -> argparse.Action | None:
    actions = place.parser._get_positional_actions()
    if place.positionals < len(actions):
        return actions[place.positionals]
    return actions[-1] if actions and actions[-1].nargs in ("*", "+") else None


def _candidates(place: _Place, current: str) -> Iterator[Candidate]:
    if place.pending is not None:
        yield from _values(place, place.pending, current)
        return
    action = _next_positional(place)
    if action is not None and not (current.startswith("-") and not place.only_positionals):
        yield from _values(place, action, current)
    elif not place.only_positionals:
        yield from _options(place, current)


def _options(place: _Place, current: str) -> Iterator[Candidate]:
    """Yield the long options not given yet."""
    for option in place.parser._actions:
        repeatable = isinstance(option, argparse._AppendAction)
        if option.help != argparse.SUPPRESS and (option.dest not in place.seen or repeatable):
            for text in option.option_strings:
                if text.startswith("--") or text == current:
                    yield text, option.help or ""


def _values(place: _Place, action: argparse.Action, current: str) -> Iterator[Candidate]:
    """Yield candidates for an argument from its choices or kind."""
    if isinstance(action, argparse._SubParsersAction):
        helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
        yield from ((name, helps.get(name, "")) for name in action.choices)
    elif action.choices is not None:
        yield from ((str(choice), "") for choice in action.choices)
    elif isinstance(action.metavar, Kind):
        yield from _BY_KIND[action.metavar](place, current)


def _load(place: _Place) -> "Config":
    from mcp.config import configuration

    return configuration.load(place.config)


def _nodes(place: _Place, _: str) -> Iterator[Candidate]:
    yield from ((node.name, node.address) for node in _load(place).nodes)


def _services(place: _Place, _: str) -> Iterator[Candidate]:
    yield from ((name, "service") for name in _service_names(_load(place)))


def _service_names(config: "Config") -> Iterable[str]:
    from mcp.definitions import definitions

    return definitions.service_names(config)


def _targets(place: _Place, current: str) -> Iterator[Candidate]:
    """Yield services, and the components of the current one if it has several."""
    config = _load(place)
    names = [name for name in _service_names(config) if name.startswith(current.partition("/")[0])]
    if "/" in current:
        names = [name for name in names if current.startswith(f"{name}/")]
    yield from ((name, "service") for name in names)
    if len(names) == 1:
        components = _components(config, names[0])
        if len(components) > 1 or "/" in current:
            yield from ((f"{names[0]}/{component}", "component") for component in components)


def _components(config: "Config", service: str) -> list[str]:
    """Return the components of a definition, which may be otherwise invalid."""
    from mcp.definitions import definitions
    from mcp.shared.toml import parse_toml, read_text

    path = definitions.definition_path(config, service)
    data = parse_toml(read_text(path), str(path))
    tables = data.get("components", [])
    names = [entry.get("name") for entry in tables if isinstance(entry, dict)] if isinstance(tables, list) else []
    return [name for name in names if isinstance(name, str)]


def _service_paths(place: _Place, _: str) -> Iterator[Candidate]:
    yield from ((f"{name}/", "service") for name in _service_names(_load(place)))


def _commands(place: _Place, current: str) -> Iterator[Candidate]:
    if place.positionals == 0:
        yield from _values(place, place.parser_for([])._get_positional_actions()[0], current)


def _moments(_: _Place, __: str) -> Iterator[Candidate]:
    """Yield the named points in time."""
    yield "boot", "the node's last start"
    yield "deploy", "the service's last deploy"


def _files(_: _Place, __: str) -> Iterator[Candidate]:
    yield FILES, ""


def _folders(_: _Place, __: str) -> Iterator[Candidate]:
    yield FOLDERS, ""


_BY_KIND: dict[Kind, Callable[[_Place, str], Iterator[Candidate]]] = {
    Kind.NODE: _nodes,
    Kind.SERVICE: _services,
    Kind.TARGET: _targets,
    Kind.FILE_TARGET: _service_paths,
    Kind.COMMAND: _commands,
    Kind.SHOW: lambda _place, _current: iter([(Kind.SHOW, "")]),
    Kind.TIME: _moments,
    Kind.FILE: _files,
    Kind.DIR: _folders,
    Kind.DIR_OR_STDOUT: _folders,
}
