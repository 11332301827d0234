"""Declared fields of TOML files: one declaration drives parsing, rules, wire, registry, template, docs and schema.

A dataclass is a table, and its annotations are the types. `field(metadata=about(...))` declares a required key,
`optional(...)` one with a default.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, dataclass, is_dataclass
from enum import StrEnum
from typing import Any, get_args, get_origin

from mcp.shared.errors import Problem, shown

LIST_LIMIT = 1000  # entries of one list


class FieldKind(StrEnum):
    """The type of a field, as the documentation names it."""

    TEXT = "string"
    FLAG = "boolean"
    INTEGER = "integer"
    TEXTS = "list of strings"
    TABLE = "table"
    TABLES = "list of tables"
    TEXT_MAP = "table of strings"


@dataclass(frozen=True, repr=False, eq=False)
class Field:
    """One key of a table; `fields_of` fills in `name` to `model` from the dataclass."""

    doc: str  # one line of Markdown
    example: Any = None  # `SERVICE` in it stands for the service's name
    unset: str = ""  # the effective default when it is empty
    pattern: str = ""  # regular expression for a string, or each of a list; with `check`, for editors only
    rule: str = ""  # message for a value that does not match, printed after the value
    choices: tuple[str, ...] = ()
    limits: tuple[int, int] | None = None  # of an integer
    check: Callable[[str], str] | None = None  # returns the problem of a string, or of one in a list
    nonempty: str = ""  # message for an empty list; if empty, the list may be empty
    required: bool = False
    secret: bool = False  # list of KEY=VALUE, whose values are never shown
    name: str = ""
    kind: FieldKind = FieldKind.TEXT
    default: Any = None
    model: Any = None  # the dataclass of each table

    def problem(self, value: Any) -> str:
        """Return the problem of one value, or of one in a list; empty if it is valid."""
        if self.check is not None:
            return self.check(value)
        if self.choices and value not in self.choices:
            return f"{shown(value)} is not {' or '.join([', '.join(self.choices[:-1]), self.choices[-1]])}"
        if self.limits and not self.limits[0] <= value <= self.limits[1]:
            return f"{value} is outside {self.limits[0]} to {self.limits[1]}"
        if self.pattern and not re.fullmatch(self.pattern, value):
            return f"{shown(value)} {self.rule}"
        return ""


_KINDS: dict[Any, tuple[FieldKind, Any]] = {  # with the value of an absent field
    str: (FieldKind.TEXT, ""),
    bool: (FieldKind.FLAG, False),
    int: (FieldKind.INTEGER, 0),
    tuple[str, ...]: (FieldKind.TEXTS, ()),
    tuple[tuple[str, str], ...]: (FieldKind.TEXT_MAP, ()),
}


_CACHE: dict[Any, tuple[Field, ...]] = {}
_LISTS = (FieldKind.TEXTS, FieldKind.TABLES, FieldKind.TEXT_MAP)
_PLACES = {FieldKind.TABLE: 1, FieldKind.TEXT_MAP: 1, FieldKind.TABLES: 2}


def about(doc: str, **more: Any) -> dict[str, Field]:
    """Declare a field: the metadata of `dataclasses.field`; takes the arguments of Field."""
    return {"declared": Field(doc, **more)}


def optional(default: Any, doc: str, **more: Any) -> Any:
    """Declare a field that has a default."""
    return dataclasses.field(default=default, metadata=about(doc, **more))


def fields_of(model: Any) -> tuple[Field, ...]:
    """Return the declared fields of a dataclass."""
    if model not in _CACHE:
        declared = (source for source in dataclasses.fields(model) if "declared" in source.metadata)
        _CACHE[model] = tuple(_completed(source) for source in declared)
    return _CACHE[model]


def in_file_order(fields: Iterable[Field]) -> list[Field]:
    """Return fields in the order of a file: values, then tables, then lists of tables."""
    return sorted(fields, key=lambda field: _PLACES.get(field.kind, 0))


def _completed(source: "dataclasses.Field[Any]") -> Field:
    declared: Field = source.metadata["declared"]
    kind, empty, model = _type(source.type)
    absent = source.default is MISSING
    return dataclasses.replace(
        declared,
        name=source.name,
        kind=kind,
        default=empty if absent else source.default,
        model=model,
        required=declared.required or absent or bool(declared.nonempty),
    )


def _type(annotation: Any) -> tuple[FieldKind, Any, Any]:
    """Return the kind of a field, its empty value, and the dataclass of its tables."""
    if annotation in _KINDS:
        return *_KINDS[annotation], None
    if is_dataclass(annotation):
        return FieldKind.TABLE, None, annotation
    model = get_args(annotation)[0]
    return (FieldKind.TABLES, (), model) if get_origin(annotation) is tuple else (FieldKind.TABLE, None, model)


def problems(source: Any) -> Iterator[Problem]:
    """Yield each problem of a table; its `conflicts()` checks rules across fields."""
    for field in fields_of(type(source)):
        for path, what in _problems(field, getattr(source, field.name)):
            yield Problem(f"{field.name}{path}", what)
    if hasattr(source, "conflicts"):
        yield from source.conflicts()


def _problems(field: Field, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the path from a field to each invalid value, and its problem."""
    if field.nonempty and not value:
        yield "", f"is empty; {field.nonempty}"
    elif field.kind in _LISTS and len(value) > LIST_LIMIT:
        yield "", f"has {len(value)} entries, and at most {LIST_LIMIT} are possible"
    elif field.kind is FieldKind.TABLE:
        yield from ((f".{found.key}", found.what) for found in (problems(value) if value is not None else ()))
    elif field.kind is FieldKind.TABLES:
        for index, part in enumerate(value):
            yield from ((f"[{index}].{found.key}", found.what) for found in problems(part))
        yield from (("", what) for what in _duplicates(value))
    elif field.kind is FieldKind.TEXTS:
        yield from ((f"[{index}]", what) for index, text in enumerate(value) if (what := field.problem(text)))
    elif (value != field.default or field.required) and (what := field.problem(value)):
        yield "", what


def _duplicates(tables: tuple[Any, ...]) -> Iterator[str]:
    for name, count in Counter(getattr(table, "name", "") for table in tables).items():
        if name and count > 1:
            yield f"{count} of them are called {shown(name)}"


def effective(source: Any) -> Any:
    """Return a table, and its tables, with the effective defaults of unset fields, where these are valid values."""
    values = {field.name: _effective(field, getattr(source, field.name)) for field in fields_of(type(source))}
    refused = {problem.key for problem in problems(dataclasses.replace(source, **values))}
    return dataclasses.replace(source, **{name: value for name, value in values.items() if name not in refused})


def _effective(field: Field, value: Any) -> Any:
    if field.kind is FieldKind.TABLES:
        return tuple(effective(part) for part in value)
    if value != field.default:
        return effective(value) if field.kind is FieldKind.TABLE else value
    if field.kind is FieldKind.INTEGER and field.unset:
        return int(field.unset)
    return field.unset if field.kind is FieldKind.TEXT and field.unset and not field.problem(field.unset) else value


def without_values(source: Any) -> Any:
    """Return a table, and its tables, with the names alone of secret KEY=VALUE entries, which no rule allows."""
    return _replaced(source, lambda entry: entry.partition("=")[0])


def with_some_values(source: Any) -> Any:
    """Return a table with a value for each name that `without_values` left, so that its other rules can be checked."""
    return _replaced(source, lambda entry: entry if "=" in entry else f"{entry}=1")


def _replaced(source: Any, replace: Callable[[str], str]) -> Any:
    values: dict[str, Any] = {}
    for field in fields_of(type(source)):
        value = getattr(source, field.name)
        if field.secret:
            values[field.name] = tuple(map(replace, value))
        elif field.kind is FieldKind.TABLES:
            values[field.name] = tuple(_replaced(part, replace) for part in value)
    return dataclasses.replace(source, **values)


def differences(old: Any, new: Any) -> list[str]:
    """List the differences between two versions of a table, without values of environment variables."""
    return [
        _difference(field, getattr(old, field.name), getattr(new, field.name))
        for field in fields_of(type(old))
        if getattr(old, field.name) != getattr(new, field.name)
    ]


def _difference(field: Field, old: Any, new: Any) -> str:
    if field.secret:
        return f"{field.name}: {_changed_names(old, new)}"
    if field.kind is FieldKind.TEXT:
        return f"{field.name}: {old or 'default'} -> {new or 'default'}"
    if field.kind is FieldKind.FLAG:
        return f"{field.name}: {str(old).lower()} -> {str(new).lower()}"
    return f"{field.name} changed"


def _changed_names(old: tuple[str, ...], new: tuple[str, ...]) -> str:
    before, after = (dict(entry.split("=", 1) for entry in entries) for entries in (old, new))
    parts = [
        *(f"{key} added" for key in after if key not in before),
        *(f"{key} removed" for key in before if key not in after),
        *(f"{key} changed" for key in after if key in before and before[key] != after[key]),
    ]
    return ", ".join(parts) or "order changed"
