"""Definitions as TOML: what `mcp.service.parse` reads back to the same specification."""

import dataclasses
import re
from collections.abc import Iterable, Iterator

from mcp.definitions.definitions import Definition
from mcp.shared.names import container_name
from mcp.shared.spec import ComponentSpec, HealthSpec, RouteSpec
from mcp.shared.toml import quoted

WIDTH = 100  # characters of a line above which a list is written with one value a line

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_NESTED = ("routes", "health")

Value = str | int | tuple[str, ...]


def write(definition: Definition) -> str:
    """The definition as its author would have written it: what has its default value is left out."""
    return _document(definition, full=False)


def write_full(definition: Definition) -> str:
    """The definition as MCP understands it: every key, and the containers' names as comments."""
    return _document(definition, full=True)


def _document(definition: Definition, *, full: bool) -> str:
    return "".join(f"{line}\n" for line in _lines(definition, full))


def _lines(definition: Definition, full: bool) -> Iterator[str]:
    service = definition.service
    yield _pair("name", service.name)
    yield _pair("node", definition.node)
    if full or not service.active:
        yield _pair("active", service.active)
    if definition.path and (full or definition.path != service.name):
        yield _pair("path", definition.path)
    if definition.version or full:
        yield _pair("version", definition.version)
    if definition.images:
        yield from ("", "[build.images]", *(_pair(_key(image), dockerfile) for image, dockerfile in definition.images))
    for component in service.components:
        yield from ("", "[[components]]")
        if full:
            yield f"# container: {container_name(service.name, component.name)}"
        yield from _component(component, full)


def _component(component: ComponentSpec, full: bool) -> Iterator[str]:
    yield from _pairs(component, full)
    if component.health is not None:
        yield from ("", "[components.health]", *_pairs(component.health, full))
    for route in component.routes:
        yield from ("", "[[components.routes]]", *_pairs(route, full))


def _pairs(source: ComponentSpec | HealthSpec | RouteSpec, full: bool) -> Iterator[str]:
    for field in dataclasses.fields(source):
        value = getattr(source, field.name)
        if field.name not in _NESTED and (full or value != field.default):
            yield _pair(field.name, value)


def _key(text: str) -> str:
    return text if _BARE_KEY.fullmatch(text) else quoted(text)


def _pair(key: str, value: Value) -> str:
    line = f"{key} = {_value(value)}"
    if isinstance(value, tuple) and len(line) > WIDTH:
        return "\n".join([f"{key} = [", *_indented(value), "]"])
    return line


def _indented(values: Iterable[str]) -> Iterator[str]:
    return (f"    {quoted(value)}," for value in values)


def _value(value: Value) -> str:
    if isinstance(value, bool):  # before int: a bool is one
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return quoted(value)
    return f"[{', '.join(map(quoted, value))}]"
