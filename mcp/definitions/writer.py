"""Format definitions as TOML that `definitions.parse` reads back to the same specification."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mcp.definitions.definitions import Definition, document_fields
from mcp.shared.fields import Field, FieldKind, fields_of, in_file_order
from mcp.shared.names import container_name
from mcp.shared.spec import ComponentSpec
from mcp.shared.toml import quoted

WIDTH = 100  # characters of a line; longer lists are written with one value per line

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

Value = str | int | tuple[str, ...]


def write(definition: Definition) -> str:
    """Format a definition without the keys that have their default value."""
    return _document(definition, full=False)


def write_full(definition: Definition) -> str:
    """Format a definition with every key, and container names as comments."""
    return _document(definition, full=True)


def _document(definition: Definition, *, full: bool) -> str:
    values = {**vars(definition.service), **vars(definition)}
    if not full and definition.path == definition.service.name:
        values["path"] = ""
    lines = _Writer(definition.service.name, full).body("", document_fields(), values)
    return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True)
class _Writer:
    service: str
    full: bool

    def body(self, path: str, fields: Iterable[Field], values: Mapping[str, Any]) -> Iterator[str]:
        """Yield the pairs of the table at `path`, then the tables in it."""
        for field in fields:
            value = values[field.name]
            if field.kind in (FieldKind.TABLE, FieldKind.TABLES, FieldKind.TEXT_MAP):
                yield from self._nested(f"{path}{field.name}", field, value)
            elif self.full or field.required or value != field.default:
                yield pair(field.name, value) + self._default(field, value)

    def _nested(self, path: str, field: Field, value: Any) -> Iterator[str]:
        if field.kind is FieldKind.TABLES:
            for part in value:
                yield from ("", f"[[{path}]]", *self._comments(part), *self._part(path, part))
        elif field.kind is FieldKind.TEXT_MAP:
            yield from ("", f"[{path}]", *(pair(_key(key), text) for key, text in value)) if value else ()
        elif value is not None:
            lines = list(self._part(path, value))
            yield from ("", f"[{path}]", *lines) if lines and lines[0] else lines
        elif self.full and field.unset:
            yield from ("", f"# {path}: {field.unset}")

    def _part(self, path: str, part: Any) -> Iterator[str]:
        return self.body(f"{path}.", in_file_order(fields_of(type(part))), vars(part))

    def _default(self, field: Field, value: Value) -> str:
        return f"  # {field.unset}" if self.full and field.unset and value == field.default else ""

    def _comments(self, part: Any) -> Iterator[str]:
        if self.full and isinstance(part, ComponentSpec):
            yield f"# container: {container_name(self.service, part.name)}"


def _key(text: str) -> str:
    return text if _BARE_KEY.fullmatch(text) else quoted(text)


def pair(key: str, value: Value) -> str:
    """Format a key and its value, a long list with one value per line."""
    line = f"{key} = {_value(value)}"
    if isinstance(value, tuple) and len(line) > WIDTH:
        return "\n".join([f"{key} = [", *_indented(value), "]"])
    return line


def _indented(values: Iterable[str]) -> Iterator[str]:
    return (f"    {quoted(value)}," for value in values)


def _value(value: Value) -> str:
    if isinstance(value, bool):  # before int: a bool is an int
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return quoted(value)
    return f"[{', '.join(map(quoted, value))}]"
