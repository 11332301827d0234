"""Strict TOML reader: refuses unknown keys and wrong types, and reports all problems at once.

A `Table` returns typed values and records problems; `read_toml` raises them as one InvalidFile.
"""

import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from mcp.shared.errors import InvalidFile, Problem, shown
from mcp.shared.fields import Field, FieldKind, fields_of
from mcp.shared.files import Trust, Unusable, read_file

T = TypeVar("T")

FILE_LIMIT = 1024 * 1024  # bytes
BOM = "\ufeff"  # some editors put it at the start of a UTF-8 file

_KINDS: dict[type, str] = {
    str: "a string",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    list: "a list",
    dict: "a table",
}
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SCALARS: dict[FieldKind, type] = {FieldKind.TEXT: str, FieldKind.FLAG: bool, FieldKind.INTEGER: int}


def kind_of(value: object) -> str:
    """Name the TOML type of `value`."""
    return _KINDS.get(type(value), "a date or time")


class Table:
    """A table of a TOML document; `path` is its key path ("" for the document itself)."""

    def __init__(self, data: dict[str, object], problems: list[Problem], path: str = "") -> None:
        """Take the list to which problems are appended."""
        self._data = data
        self._problems = problems
        self._path = path
        self._known: set[str] = set()

    def key(self, name: str) -> str:
        """Return the full key path of `name`."""
        return f"{self._path}.{name}" if self._path else name

    def problem(self, name: str, what: str) -> None:
        """Record that the value of `name` is wrong."""
        self._problems.append(Problem(self.key(name), what))

    def has(self, name: str) -> bool:
        """Return True if the document sets `name`."""
        return name in self._data

    def _get(self, name: str, kind: type[T], default: T | None) -> T | None:
        self._known.add(name)
        if name not in self._data:
            if default is None:
                self.problem(name, f"is missing; expected {_KINDS[kind]}")
            return default
        value = self._data[name]
        if type(value) is not kind:  # not isinstance: a bool is an int in Python, but not in TOML
            self.problem(name, f"expected {_KINDS[kind]}, found {kind_of(value)}")
            return default
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """Return a string; required if there is no default."""
        return self._get(name, str, default) or ""

    def integer(self, name: str, default: int | None = None) -> int:
        """Return an integer; required if there is no default."""
        return self._get(name, int, default) or 0

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings; empty if absent."""
        values: list[object] = self._get(name, list, []) or []
        for index, value in enumerate(values):
            if not isinstance(value, str):
                self.problem(f"{name}[{index}]", f"expected a string, found {kind_of(value)}")
        return tuple(value for value in values if isinstance(value, str))

    def lists(self, name: str) -> tuple[tuple[str, ...], ...]:
        """Return a list of lists of strings; empty if absent."""
        values: list[object] = self._get(name, list, []) or []
        found: list[tuple[str, ...]] = []
        for index, value in enumerate(values):
            if isinstance(value, list) and all(isinstance(word, str) for word in value):
                found.append(tuple(str(word) for word in value))
            else:
                self.problem(f"{name}[{index}]", "expected a list of strings")
        return tuple(found)

    def checked(self, name: str, parse: Callable[[str], T], default: str | None = None) -> T | None:
        """Return a string converted by `parse`, whose ValueError becomes the problem."""
        text = self.text(name, default)
        if not text:
            return None
        try:
            return parse(text)
        except ValueError as error:
            self.problem(name, f"{shown(text)}: {error}")
            return None

    def table(self, name: str) -> "Table":
        """Return a subtable; empty if absent."""
        value: dict[str, object] = self._get(name, dict, {}) or {}
        return Table(value, self._problems, self.key(name))

    def tables(self, name: str) -> list["Table"]:
        """Return a list of tables; empty if absent."""
        values: list[object] = self._get(name, list, []) or []
        found = []
        for index, value in enumerate(values):
            if isinstance(value, dict):
                found.append(Table(value, self._problems, f"{self.key(name)}[{index}]"))
            else:
                self.problem(f"{name}[{index}]", f"expected a table, found {kind_of(value)}")
        return found

    def text_map(self, name: str) -> tuple[tuple[str, str], ...]:
        """Return a subtable of strings with arbitrary keys; empty if absent."""
        values = self.table(name).items()
        for key, value in values.items():
            if not isinstance(value, str):
                self.problem(f"{name}.{key}", f"expected a string, found {kind_of(value)}")
        return tuple((key, value) for key, value in values.items() if isinstance(value, str))

    def read(self, model: type[T]) -> T:
        """Return the whole table as a dataclass of declared fields; other keys are problems."""
        result = model(**{field.name: self.value(field) for field in fields_of(model)})
        self.close()
        return result

    def value(self, field: Field) -> Any:
        """Return the value of a declared field; its default if absent or of the wrong type."""
        name = field.name
        if field.kind is FieldKind.TEXTS:
            return self.texts(name)
        if field.kind is FieldKind.TEXT_MAP:
            return self.text_map(name)
        if field.kind is FieldKind.TABLES:
            return tuple(table.read(field.model) for table in self.tables(name))
        if field.kind is FieldKind.TABLE:
            table = self.table(name)
            return table.read(field.model) if isinstance(self._data.get(name), dict) else field.default
        value = self._get(name, _SCALARS[field.kind], None if field.required else field.default)
        return field.default if value is None else value

    def items(self) -> dict[str, object]:
        """Return all values of a table with arbitrary keys, and mark the keys as known."""
        self._known.update(self._data)
        return self._data

    def apart(self, names: Iterable[str], problems: list[Problem]) -> "Table":
        """Return the same table for the keys `names`, with a separate list of problems."""
        self._known.update(names)
        return Table(self._data, problems, self._path)

    def close(self) -> None:
        """Record every key that was not read as a problem."""
        for name in self._data:
            if name not in self._known:
                self.problem(name, f"unknown key{_suggestion(name, self._known)}")
        self._known = {*self._known, *self._data}


def _suggestion(name: str, known: set[str]) -> str:
    import difflib  # needed after errors only: keeps startup short

    close = difflib.get_close_matches(name, known, 1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known here: {', '.join(sorted(known))}" if known else ""


def parse_toml(text: str, file: str) -> dict[str, object]:
    """Parse a TOML document, which may begin with a BOM; raises InvalidFile with line and column."""
    try:
        return tomllib.loads(text.removeprefix(BOM))
    except ValueError as error:  # of tomllib, and of int for a number of thousands of digits
        raise InvalidFile(file, [f"is not valid TOML: {error}"]) from None
    except RecursionError:
        raise InvalidFile(file, ["is not valid TOML: too deeply nested"]) from None


def read_text(path: Path, trust: Trust = Trust.NAMED) -> str:
    """Read the text of a configuration file or definition, at most FILE_LIMIT bytes; raises InvalidFile."""
    try:
        data = read_file(path, trust)
        if len(data) > FILE_LIMIT:
            raise InvalidFile(str(path), [f"is larger than {FILE_LIMIT >> 20} MiB; mount large data as a file"])
        return data.decode().replace("\r\n", "\n").replace("\r", "\n")  # as a text file is read
    except UnicodeDecodeError as error:
        raise InvalidFile(str(path), [f"is not UTF-8 text (byte {error.start})"]) from None
    except Unusable as error:
        raise InvalidFile(str(path), [f"{error.problem}; {error.hint}" if error.hint else error.problem]) from None


def read_toml(
    path: Path,
    build: Callable[[Table], T],
    text: str | None = None,
    rules: Callable[[T], Iterable[Problem]] = lambda _: (),
) -> T:
    """Read `path` (or `text` in its place) and convert it with `build`.

    Raises InvalidFile with all problems: those of types and keys, then those that `rules` finds in the other keys.
    """
    found: list[Problem] = []
    table = Table(parse_toml(read_text(path) if text is None else text, str(path)), found)
    result = build(table)
    table.close()
    wrong_form = {problem.key for problem in found}
    found += [problem for problem in rules(result) if problem.key not in wrong_form]
    if found:
        raise InvalidFile(str(path), found)
    return result


def quoted(text: str) -> str:
    """Quote a string for TOML, on one line, with unprintable characters escaped."""
    return f'"{"".join(_escaped(character) for character in text)}"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
