"""JSON Schemas (draft 2020-12) of definitions and mcp.toml, generated from declared fields."""

import re
from collections.abc import Iterable
from typing import Any

from mcp.config.configuration import ConfigFile
from mcp.definitions.definitions import document_fields
from mcp.shared.fields import LIST_LIMIT, Field, FieldKind, fields_of

Schema = dict[str, Any]

_TYPES = {FieldKind.TEXT: "string", FieldKind.FLAG: "boolean", FieldKind.INTEGER: "integer", FieldKind.TABLE: "object"}


def definition_schema() -> Schema:
    """Return the schema of SERVICE.toml, without the rules across fields."""
    return _document("Service definition of MCP", document_fields())


def config_schema() -> Schema:
    """Return the schema of mcp.toml."""
    return _document("mcp.toml, the configuration of MCP's command line", fields_of(ConfigFile))


def _document(title: str, fields: Iterable[Field]) -> Schema:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **_table(fields)}


def _table(fields: Iterable[Field]) -> Schema:
    required = [field.name for field in fields if field.required]
    return {
        "type": "object",
        "properties": {field.name: _field(field) for field in fields},
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def _field(field: Field) -> Schema:
    default = f"; default: {field.unset}" if field.unset else ""
    schema = {"description": f"{field.doc}{default}".replace("`", ""), **_shape(field)}
    if field.default and field.kind in (FieldKind.TEXT, FieldKind.FLAG):
        schema["default"] = field.default
    return schema


def _shape(field: Field) -> Schema:
    """Return the type and constraints of a field."""
    if field.kind is FieldKind.TEXT_MAP:
        return {"type": "object", "additionalProperties": {"type": "string"}}
    if field.kind is FieldKind.TABLE:
        return _table(fields_of(field.model))
    if field.kind in (FieldKind.TEXTS, FieldKind.TABLES):
        items = _table(fields_of(field.model)) if field.model else {"type": "string", **_limits(field)}
        least = {"minItems": 1} if field.nonempty else {}
        return {"type": "array", "items": items, **least, "maxItems": LIST_LIMIT}
    return {"type": _TYPES[field.kind], **_limits(field)}


def _limits(field: Field) -> Schema:
    """Return the choices, range or pattern of a value; an optional string may be empty."""
    empty_is_valid = field.kind is FieldKind.TEXT and not field.required and field.default == ""
    if field.choices:
        return {"enum": [*([""] if empty_is_valid else []), *field.choices]}
    if field.limits:
        return {"minimum": field.limits[0], "maximum": field.limits[1]}
    if field.pattern:
        plain = re.sub(r"\?P<\w+>", "?:", field.pattern)  # JavaScript has another syntax for named groups
        return {"pattern": f"^(?:{plain})?$" if empty_is_valid else f"^(?:{plain})$"}
    return {}
