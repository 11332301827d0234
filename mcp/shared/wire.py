"""Conversion of specifications to and from protobuf and JSON (the registry's form), by declared field."""

import dataclasses
import json
from itertools import islice
from typing import Any, TypeVar

from mcp.shared.errors import InvalidInput, shown
from mcp.shared.fields import Field, FieldKind, fields_of, problems
from mcp.shared.spec import ComponentSpec, ServiceSpec
from proto.mcp.v1 import mcp_pb2 as pb

Model = TypeVar("Model")

DEFINITION_LIMIT = 1024 * 1024  # bytes of a service's message
PROBLEMS_SHOWN = 20


def service_to_wire(service: ServiceSpec) -> pb.ServiceSpec:
    """Convert a specification to its message."""
    return pb.ServiceSpec(**_wire_values(service))


def component_to_wire(component: ComponentSpec) -> pb.ComponentSpec:
    """Convert a component to its message."""
    return pb.ComponentSpec(**_wire_values(component))


def service_from_wire(message: pb.ServiceSpec) -> ServiceSpec:
    """Convert a message to a specification; raises InvalidInput with the problems, by field."""
    if message.ByteSize() > DEFINITION_LIMIT:
        what = f"service: {shown(message.name, 40)} is larger than {DEFINITION_LIMIT >> 20} MiB"
        raise InvalidInput(what, "mount large data as a file")
    service = stored_service(message)
    if found := list(islice(problems(service), PROBLEMS_SHOWN)):
        raise InvalidInput("; ".join(f"service.{problem}" for problem in found))
    return service


def stored_service(message: pb.ServiceSpec) -> ServiceSpec:
    """Convert the message of a registry's specification, which may break rules that are newer than it."""
    return _read(ServiceSpec, message)


def component_to_json(component: ComponentSpec) -> str:
    """Convert a component to JSON with sorted keys: equal components have equal texts."""
    return json.dumps(dataclasses.asdict(component), sort_keys=True)


def component_from_json(text: str) -> ComponentSpec:
    """Parse the output of `component_to_json`; absent fields have their default."""
    return _read(ComponentSpec, json.loads(text))


def service_to_json(service: ServiceSpec) -> str:
    """Convert a service to JSON with sorted keys."""
    return json.dumps(dataclasses.asdict(service), sort_keys=True)


def service_from_json(text: str) -> ServiceSpec:
    """Parse the output of `service_to_json`."""
    return _read(ServiceSpec, json.loads(text))


def _wire_values(source: Any) -> dict[str, Any]:
    """Return the arguments of a message; nested messages are dictionaries, which protobuf accepts."""
    return {field.name: _wire_value(getattr(source, field.name), field.kind) for field in fields_of(type(source))}


def _wire_value(value: Any, kind: FieldKind) -> Any:
    if kind is FieldKind.TABLES:
        return [_wire_values(part) for part in value]
    return _wire_values(value) if kind is FieldKind.TABLE and value is not None else value


def _read(model: type[Model], source: Any) -> Model:
    """Build a specification from a message or a dictionary; empty or absent fields have their default."""
    return model(**{field.name: _value(field, source) for field in fields_of(model)})


def _value(field: Field, source: Any) -> Any:
    if isinstance(source, dict):
        value = _typed(field, source.get(field.name))
    else:
        unset = source.DESCRIPTOR.fields_by_name[field.name].has_presence and not source.HasField(field.name)
        value = None if unset else getattr(source, field.name)
    if value is None or (value == "" and field.kind is FieldKind.TEXT):
        return field.default
    if field.kind is FieldKind.TABLES:
        return tuple(_read(field.model, part) for part in value)
    if field.kind is FieldKind.TABLE:
        return _read(field.model, value)
    return tuple(value) if field.kind is FieldKind.TEXTS else value


_JSON_TYPES: dict[FieldKind, type[Any]] = {
    FieldKind.TEXT: str,
    FieldKind.FLAG: bool,
    FieldKind.INTEGER: int,
    FieldKind.TEXTS: list,
    FieldKind.TABLE: dict,
    FieldKind.TABLES: list,
}


def _typed(field: Field, value: Any) -> Any:
    """Return a value from JSON; raises ValueError for one of another type, as in a damaged registry."""
    wanted = _JSON_TYPES.get(field.kind)
    if value is not None and wanted is not None and not isinstance(value, wanted):
        raise ValueError(field.name)
    if field.kind is FieldKind.TEXTS and isinstance(value, list) and not all(isinstance(text, str) for text in value):
        raise ValueError(field.name)
    return value
