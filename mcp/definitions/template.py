"""The template of a new definition: every declared field with an example, optional ones commented out."""

from collections.abc import Iterator, Mapping
from typing import Any

from mcp.definitions.definitions import document_fields
from mcp.definitions.writer import pair
from mcp.shared.fields import Field, FieldKind, fields_of, in_file_order

HEAD = "# Definition of a service: components that run on one node. Save and quit to create it; nothing is deployed."
COMMENTS = 36  # column of comments after short lines


def template(service: str, node: str) -> str:
    """Return a definition of `service` on `node` that is valid, also with any fields uncommented."""
    lines = _lines("", document_fields(), {"node": node}, "", service)
    return "".join(f"{line}\n" for line in (HEAD, "", *lines))


def _lines(path: str, fields: list[Field], values: Mapping[str, Any], comment: str, service: str) -> Iterator[str]:
    for field in fields:
        mark = comment if field.required else "# "
        if field.kind in (FieldKind.TABLE, FieldKind.TABLES):
            yield from _table(f"{path}{field.name}", field, comment or mark, service)
        elif field.kind is FieldKind.TEXT_MAP:
            pairs = [f"{mark}{pair(_named(key, service), text)}" for key, text in field.example]
            yield from ("", _beside(f"{mark}[{path}{field.name}]", field), *pairs)
        else:
            example = _named(values.get(field.name, field.example), service)
            lines = pair(field.name, example).replace("\n", f"\n{mark}")
            yield _beside(f"{mark}{lines}", field)


def _table(path: str, field: Field, mark: str, service: str) -> Iterator[str]:
    lines = list(_lines(f"{path}.", in_file_order(fields_of(field.model)), {}, mark, service))
    if lines[0]:  # else it contains only tables
        yield from ("", _beside(f"{mark}[[{path}]]" if field.kind is FieldKind.TABLES else f"{mark}[{path}]", field))
    yield from lines


def _named(example: Any, service: str) -> Any:
    if isinstance(example, tuple):
        return tuple(_named(word, service) for word in example)
    return example.replace("SERVICE", service) if isinstance(example, str) else example


def _beside(text: str, field: Field) -> str:
    default = field.unset or (str(field.default) if field.kind is FieldKind.TEXT else "")
    comment = f"{field.doc}; default: {default}" if default else field.doc
    return f"{text:<{COMMENTS - 2}}  # {comment.replace('`', '')}"
