"""Declared fields: each is in the documentation, in the template and on the wire, and differences are told."""

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given

from mcp.config.configuration import ConfigFile
from mcp.definitions import definitions
from mcp.definitions.definitions import document_fields
from mcp.definitions.template import HEAD, template
from mcp.shared.fields import Field, FieldKind, about, differences, fields_of, optional, problems
from mcp.shared.resources import ROOT
from mcp.shared.spec import ComponentSpec, HealthSpec, RouteSpec
from tests.unit import specs
from tools import reference


@dataclass(frozen=True)
class Sample:
    """A table with a field of each kind."""

    text: str = field(metadata=about("A text", pattern="[a-z]+", rule="is not lower-case"))
    undeclared: int = 0
    choice: str = optional("a", "A choice", choices=("a", "b", "c"))
    number: int = optional(0, "A number", limits=(1, 9))
    flag: bool = optional(True, "A flag")
    texts: tuple[str, ...] = optional(("x",), "Texts", nonempty="expected one")
    pairs: tuple[tuple[str, str], ...] = optional((), "Pairs")
    table: RouteSpec | None = optional(None, "A table")
    tables: tuple[RouteSpec, ...] = optional((), "Tables")


def test_a_dataclass_declares_its_fields() -> None:
    assert [(each.name, each.kind, each.default, each.required, each.model) for each in fields_of(Sample)] == [
        ("text", FieldKind.TEXT, "", True, None),
        ("choice", FieldKind.TEXT, "a", False, None),
        ("number", FieldKind.INTEGER, 0, False, None),
        ("flag", FieldKind.FLAG, True, False, None),
        ("texts", FieldKind.TEXTS, ("x",), True, None),
        ("pairs", FieldKind.TEXT_MAP, (), False, None),
        ("table", FieldKind.TABLE, None, False, RouteSpec),
        ("tables", FieldKind.TABLES, (), False, RouteSpec),
    ]


@pytest.mark.parametrize(
    ("sample", "found"),
    [
        (Sample("x", table=RouteSpec(port=1), tables=(RouteSpec(port=1), RouteSpec(port=2))), []),
        (Sample(""), ['text: "" is not lower-case']),
        (Sample("x", choice="d"), ['choice: "d" is not a, b or c']),
        (Sample("x", number=10), ["number: 10 is outside 1 to 9"]),
        (Sample("x", texts=()), ["texts: is empty; expected one"]),
        (Sample("x", table=RouteSpec()), ["table.port: 0 is outside 1 to 65535"]),
        (Sample("x", tables=(RouteSpec(port=1, mode=""),)), ['tables[0].mode: "" is not l4 or l7']),
        (Sample("x", tables=(RouteSpec("a", 1), RouteSpec("a", 2))), ['tables: 2 of them are called "a"']),
    ],
)
def test_rules_of_declarations(sample: Sample, found: list[str]) -> None:
    assert list(problems(sample)) == found


def declared(fields: Iterable[Field]) -> Iterator[Field]:
    """Yield fields and those of their tables."""
    for each in fields:
        yield each
        yield from declared(fields_of(each.model)) if each.model else ()


ALL = [*declared(document_fields()), *declared(fields_of(ConfigFile))]


@pytest.mark.parametrize("each", ALL, ids=[each.name for each in ALL])
def test_every_field_is_described_in_one_line_and_has_an_example(each: Field) -> None:
    assert each.doc.isprintable()
    assert each.doc[-1] != "."
    assert (each.example is None) == (each.model is not None)
    assert each.rule or each.check or each.secret or not each.pattern


@pytest.mark.parametrize("document", reference.TABLES)
def test_the_tables_of_the_manual_are_those_of_the_declarations(document: str) -> None:
    text = (ROOT / "docs" / document).read_text()
    assert reference.with_table(text, reference.TABLES[document]) == text, "run `python -m tools.reference`"
    assert all(f"{each.name}` | {each.kind} |" in text for each in declared(reference.TABLES[document]))


def test_a_pipe_does_not_end_a_cell() -> None:
    block = "<!-- fields, written by tools/reference.py -->\nold\n<!-- end of fields -->"
    text = reference.with_table(block, [Field("`a|b`", name="x", default=None)])
    assert text.splitlines()[3] == r"| `x` | string |  | `a\|b` |"


@given(specs.names.filter(lambda name: name[-1] != "-"), specs.names)  # an image's name cannot end so
def test_the_template_is_valid_as_it_is_and_with_every_field(service: str, node: str) -> None:
    text = template(service, node)
    plain = definitions.parse(text, "x.toml")
    assert (plain.node, plain.service.name, plain.service.component_names()) == (node, service, [service])
    assert plain.service.components == (ComponentSpec(service, f"registry.example.net/{service}:v1.0.0"),)
    every = text.replace(HEAD, "").replace("\n# ", "\n")
    assert definitions.parse(every, "x.toml").build_problems == ()
    assert list(left_out(document_fields(), tomllib.loads(every))) == []


def left_out(fields: Iterable[Field], values: Any) -> Iterator[str]:
    """Yield the fields that a document does not have."""
    for each in fields:
        if each.name not in values:
            yield each.name
        elif each.model:
            value = values[each.name]
            yield from left_out(fields_of(each.model), value[0] if isinstance(value, list) else value)


def test_every_field_of_a_component_makes_a_difference() -> None:
    old = ComponentSpec("api", "localhost/x:1")
    changes = {
        "name": ("web", "name: api -> web"),
        "image": ("localhost/x:2", "image: localhost/x:1 -> localhost/x:2"),
        "network": ("mcpnet", "network: default -> mcpnet"),
        "user": ("5", "user: default -> 5"),
        "restart": ("no", "restart: unless-stopped -> no"),
        "ports": (("1:2",), "ports changed"),
        "volumes": (("/a:/b",), "volumes changed"),
        "cmd": (("a",), "cmd changed"),
        "routes": ((RouteSpec(port=1),), "routes changed"),
        "env": (("A=1",), "env: A added"),
        "health": (HealthSpec(("true",)), "health changed"),
        "log_driver": ("none", "log_driver: k8s-file -> none"),
        "log_max_size": ("5m", "log_max_size: default -> 5m"),
        "stop_timeout": ("30s", "stop_timeout: default -> 30s"),
        "stop_signal": ("SIGINT", "stop_signal: default -> SIGINT"),
        "heal": (False, "heal: true -> false"),
        "http_proxy": (True, "http_proxy: false -> true"),
    }
    assert list(changes) == [each.name for each in fields_of(ComponentSpec)]
    for name, (value, text) in changes.items():
        assert differences(old, replace(old, **{name: value})) == [text]  # type: ignore[arg-type]  # any field


@given(specs.components, specs.components)
def test_differences_never_show_a_value_of_a_variable(old: ComponentSpec, new: ComponentSpec) -> None:
    secret = "s3cr3t-value-of-a-variable"
    old, new = replace(old, env=(f"KEY={secret}1",)), replace(new, env=(f"KEY={secret}2", f"MORE={secret}"))
    said = " ".join(differences(old, new))
    assert "env: MORE added, KEY changed" in said
    assert secret not in said


def test_order_of_variables_is_a_difference_that_is_said() -> None:
    old, new = (
        ComponentSpec("a", "localhost/x:1", env=("A=1", "B=2")),
        ComponentSpec("a", "localhost/x:1", env=("B=2", "A=1")),
    )
    assert differences(old, new) == ["env: order changed"]
