"""`mcp service schema`, which needs no configuration."""

import json
from pathlib import Path

from mcp.definitions.schema import config_schema, definition_schema
from tests.agents import Cli


def test_the_schemas_are_printed_without_a_configuration(tmp_path: Path) -> None:
    cli = Cli(tmp_path / "none.toml")
    for argv, schema in (
        ((), definition_schema()),
        (("definition",), definition_schema()),
        (("config",), config_schema()),
    ):
        done = cli.run("service", "schema", *argv)
        assert (done.code, done.stderr, json.loads(done.stdout)) == (0, "", schema)


def test_there_is_no_schema_of_anything_else(tmp_path: Path) -> None:
    done = Cli(tmp_path / "none.toml").run("service", "schema", "agent")
    assert (done.code, len(done.errors)) == (2, 1)
    assert "invalid choice: 'agent'" in done.stderr
