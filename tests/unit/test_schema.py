"""The JSON Schemas that editors use: they accept what the loaders accept, and refuse what those refuse."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from mcp.config import configuration
from mcp.definitions import definitions
from mcp.definitions.schema import config_schema, definition_schema
from mcp.shared.resources import ROOT
from mcp.shared.spec import ServiceSpec
from tests.unit import specs, test_config, test_definitions, test_spec

SCHEMAS = [definition_schema(), config_schema()]
DEFINITION, CONFIG = map(Draft202012Validator, SCHEMAS)
# What a schema cannot say, by a part of the loader's message
BEYOND_SCHEMAS = (
    *("of them are called", "port outside", "does not begin with an IP address", "is longer than"),
    *("is less than", "is for the log driver", "needs a name", "token_path: ", "path cannot contain NUL"),
    *("must not be /", "exclude each other", "the target is that of", "is outside 0s", "is taken by"),
    '\\n" is',  # as Python reads $, and editors do not
)


def example(document: str) -> str:
    """Return the first TOML block of a document that is a whole file."""
    text = (ROOT / "docs" / document).read_text()
    blocks = (part.split("```")[0] for part in text.split("```toml\n")[1:])
    return next(block for block in blocks if "address" in block or "image" in block)


def is_valid(validator: Draft202012Validator, text: str) -> bool:
    """Return whether a schema accepts a document; one that is no TOML is invalid either."""
    try:
        return validator.is_valid(tomllib.loads(text))
    except tomllib.TOMLDecodeError:
        return False


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_schemas_are_schemas(schema: dict[str, object]) -> None:
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", ["mcq", "myservice", "docs"])
def test_the_files_that_operators_have_are_valid(name: str) -> None:
    assert is_valid(DEFINITION, (test_definitions.DATA / f"{name}.toml").read_text())


def test_the_examples_of_the_manual_are_valid_and_have_every_field() -> None:
    definition = definitions.parse(example("services.md"), "x.toml")
    definitions.check_build(definition, "x.toml")
    configuration.parse(example("install.md"), Path("mcp.toml"))
    for document, validator in (("services.md", DEFINITION), ("install.md", CONFIG)):
        values = tomllib.loads(example(document))
        assert list(validator.iter_errors(values)) == []
        assert missing(validator.schema, values) == []


def missing(schema: Any, values: Any, path: str = "") -> list[str]:
    """Return the fields of a schema that a document leaves out."""
    if schema.get("type") == "array":
        return missing(schema["items"], values[0], path)
    found = []
    for name, field in schema.get("properties", {}).items():
        found += missing(field, values[name], f"{path}.{name}") if name in values else [f"{path}.{name}"]
    return found


@given(specs.services)
def test_every_valid_definition_is_valid_for_the_schema(service: ServiceSpec) -> None:
    assert list(DEFINITION.iter_errors(tomllib.loads(specs.as_toml(service)))) == []


@pytest.mark.parametrize(
    ("validator", "text", "problem"),
    [
        *((DEFINITION, text, problem) for text, problem in test_definitions.MISTAKES),
        *((DEFINITION, test_definitions.HEAD + text, problem) for text, problem in test_definitions.BUILD_MISTAKES),
        *((CONFIG, text, problem) for text, problem in test_config.MISTAKES),
    ],
)
def test_what_the_loaders_refuse_the_schemas_refuse(validator: Draft202012Validator, text: str, problem: str) -> None:
    assert is_valid(validator, text) == any(words in problem for words in BEYOND_SCHEMAS)


def with_field(field: str, value: object) -> Any:
    """Return a definition whose component has this value."""
    component = {"name": "web", "image": "localhost/web:1", field: value}
    parts = {"name": "web", "node": "rift", "components": [component]}
    return json.loads(json.dumps(parts, default=vars))


@pytest.mark.parametrize(("field", "value", "problem"), test_spec.BAD_VALUES)
def test_values_that_rules_refuse_the_schema_refuses(field: str, value: object, problem: str) -> None:
    assert DEFINITION.is_valid(with_field(field, value)) == any(words in problem for words in BEYOND_SCHEMAS), problem


@pytest.mark.parametrize(("field", "value"), test_spec.GOOD_VALUES)
def test_values_that_rules_accept_the_schema_accepts(field: str, value: object) -> None:
    assert list(DEFINITION.iter_errors(with_field(field, value))) == []
