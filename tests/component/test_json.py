"""The output of --json: each command prints the fields that docs/json.md documents, with their types."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from agent import main as agent_main
from mcp.commands.shared import catalogue
from mcp.shared.command import Command
from mcp.shared.resources import ROOT
from tests.agents import SYSTEM_PATH, Agent, Outcome, agent_env, run_here, write_cli_config
from tests.component.conftest import Rig
from tests.component.definitions import component, route, service
from tests.component.fakes import FAIL, WEB, WORKER
from tests.component.test_adopt import by_hand
from tests.waiting import wait_for

Row = dict[str, Any]
Fields = dict[str, str]  # type by name; names of nested fields have dots

DEFINITION = service(
    "web",
    component("api", WEB, 'env = ["A=b"]\n[components.health]\ncmd = ["/bin/true"]\n' + route()),
    component("work", WORKER),
    more="[build.images]\nmcp-web = 'Dockerfile'\n",
)
CHECKS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "list of strings": lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    "map of strings": lambda value: isinstance(value, dict) and all(isinstance(item, str) for item in value.values()),
    "list of objects": lambda value: isinstance(value, list) and all(isinstance(item, dict) for item in value),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}
OF_TOML = {"table of strings": "map of strings", "table": "object or null", "list of tables": "list of objects"}


def table(text: str) -> Fields:
    """The rows `| field | type | ...` of a part of a document."""
    return dict(re.findall(r"^\| `([a-z_.]+)` \| ([a-z ]+) \|", text, re.M))


def documented() -> dict[tuple[str, ...], Fields]:
    """The fields of each section, by its commands."""
    found = {}
    for part in (ROOT / "docs/json.md").read_text().split("\n## ")[1:]:
        names = re.findall(r"`(?:mcp )?([a-z -]+)`", part.partition("\n")[0])
        found[tuple(names)] = table(part)
    definition = table((ROOT / "docs/services.md").read_text())
    found[("service show",)] |= {name: OF_TOML.get(kind, kind) for name, kind in definition.items()}
    events = {f"events.{name}": kind for name, kind in found[("events",)].items()}
    found[("status",)] |= events
    return found


SECTIONS = documented()
OUTPUTS = [
    ("plan", "web"),
    ("deploy", "web"),
    ("deploy", "bad"),  # does not stay up: has last lines
    ("history", "web"),
    ("history", "web", "show", "1"),
    ("ps",),
    ("list",),
    ("status",),
    ("events",),
    ("logs", "web/work", "-n", "2"),
    ("service", "list"),
    ("service", "show", "web"),
    ("node", "list"),
    ("agent", "status"),
    ("agent", "upgrade", "--from", "."),
    ("agent", "rollback", "rift"),
    ("agent", "recover", "rift"),
    ("doctor",),
    ("whoami",),
    ("version",),
    ("adopt", "--all", "--node", "rift"),
    ("sync", "--node", "rift"),
    ("stop", "web"),
    ("start", "web"),
    ("restart", "web"),
    ("rollback", "web", "--to", "1"),
    ("purge", "web"),
    ("undeploy", "web"),
    ("mcp-agent version",),
    ("mcp-agent token list",),
]
AGENT = "mcp-agent "


def section(*words: str) -> tuple[str, ...]:
    """The section of a command line."""
    return next(names for names in SECTIONS if words[0] in names or " ".join(words[:2]) in names)


def rows(text: str) -> list[Row]:
    """The objects that a command printed: an array, one, or one a line."""
    if text.startswith("{") and not text.startswith("{\n"):
        return [json.loads(line) for line in text.splitlines()]
    found = json.loads(text)
    return found if isinstance(found, list) else [found]


@pytest.fixture(scope="module")
def printed(shared: Rig, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], list[Row]]:
    """The objects that each command line printed, on an agent with two services and a node without one."""
    ssh = tmp_path_factory.mktemp("bin") / "ssh"
    ssh.write_text("#!/bin/sh\nexit 255\n")
    ssh.chmod(0o755)
    shared.agent.stop()
    shared.agent.home.write_config(settle="50ms", runtime_timeout="8s", more='[monitor]\ninterval = "1s"\n')
    shared.restart()
    shared.agent.define("web", DEFINITION)
    shared.agent.define("bad", service("bad", component("api", FAIL)))
    by_hand(shared, "shop-web", WEB)
    write_cli_config(shared.agent.home, shared.agent.address, "127.0.0.1:1")
    found = {}
    for words in OUTPUTS:
        if words == ("status",):
            wait_for(lambda: shared.agent.cli.run("events", "web").stdout, what="an event")
        done = run(shared.agent, words, {"PATH": f"{ssh.parent}:{SYSTEM_PATH}"})
        assert done.stdout, f"{words}: {done.stderr}"
        found[words] = rows(done.stdout)
    return found


def run(agent: Agent, words: Sequence[str], env: Mapping[str, str]) -> Outcome:
    """Run a command line with --json."""
    if not words[0].startswith(AGENT):
        return agent.cli.run(*words, "--json", env=env)
    if words == (f"{AGENT}token list",):
        return agent.home.token("list", "--json")
    return run_here(agent_main.main, ["version", "--json"], env=agent_env(agent.home.folder), cwd=agent.home.cwd)


def flat(value: Row, fields: Fields, prefix: str = "") -> Iterator[tuple[str, Any, Row]]:
    """The fields of an object and of those inside it: name, value, and the object that has it."""
    for name, part in value.items():
        yield f"{prefix}{name}", part, value
        nested = [part] if isinstance(part, dict) else part if isinstance(part, list) else []
        if fields.get(f"{prefix}{name}", "").startswith(("object", "list of objects")):
            for each in nested:
                yield from flat(each, fields, f"{prefix}{name}.")


def is_unanswered(row: Mapping[str, object]) -> bool:
    """Tell the row of a node that did not answer, in which unknown fields are null."""
    return row.get("node") == "rift2"


@pytest.mark.parametrize("words", OUTPUTS, ids=" ".join)
def test_each_object_has_the_documented_fields(words: Sequence[str], printed: dict[Any, list[Row]]) -> None:
    fields = SECTIONS[section(*words)]
    assert printed[words], "an empty list shows nothing"
    for row in printed[words]:
        assert row.keys() == {name for name in fields if "." not in name}
        for name, value, whole in flat(row, fields):
            kinds = fields[name].split(" or ")
            assert any(CHECKS[kind](value) for kind in kinds) or (value is None and is_unanswered(whole)), (name, value)


@pytest.mark.parametrize("names", SECTIONS, ids=", ".join)
def test_every_documented_field_is_printed(names: tuple[str, ...], printed: dict[Any, list[Row]]) -> None:
    fields = SECTIONS[names]
    seen = {
        name
        for words, found in printed.items()
        if section(*words) == names
        for row in found
        for name, _, _ in flat(row, fields)
    }
    assert seen == fields.keys()


def with_json(commands: Sequence[Command], prefix: str = "") -> Iterator[str]:
    """Every command that has --json."""
    for command in commands:
        yield from with_json(command.commands, f"{prefix}{command.name} ")
        if any("--json" in argument.names for argument in command.arguments):
            yield f"{prefix}{command.name}"


def test_every_command_with_json_is_documented() -> None:
    assert sorted(name for names in SECTIONS for name in names) == sorted(
        [*with_json(catalogue.load_all()), *with_json(agent_main.COMMANDS, AGENT)]
    )


def test_a_difference_is_found() -> None:
    fields = table("| `a` | string | x |\n| `b` | list of objects | x |\n| `b.c` | string or null | x |\n")
    assert fields == {"a": "string", "b": "list of objects", "b.c": "string or null"}
    assert [name for name, _, _ in flat({"a": "x", "b": [{"c": 1}]}, fields)] == ["a", "b", "b.c"]
    assert not CHECKS["integer"](True)
    assert rows('{"a": 1}\n{"a": 2}\n') == [{"a": 1}, {"a": 2}]
    assert rows('{\n  "a": 1\n}\n') == [{"a": 1}]
