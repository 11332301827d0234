"""One line for every error, whatever is in it."""

import importlib
import pkgutil
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import agent
import mcp
from mcp.shared import errors
from mcp.shared.errors import InvalidFile, McpError, NotFound, Problem, one_line, shown


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain text", "plain text"),
        ("two\nlines", r"two\nlines"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("nul\0cr\r", r"nul\x00cr\r"),
        ("a\u2028b\u202ec\u00a0d", r"a\u2028b\u202ec\xa0d"),
        ("größer ✓ 日本", "größer ✓ 日本"),
    ],
)
def test_one_line(text: str, line: str) -> None:
    assert one_line(text) == line


@given(st.text(st.characters()))
def test_one_line_is_always_one_and_printable(text: str) -> None:
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert all(c.isprintable() for c in line)
    assert one_line(line) == line


def test_shown_is_quoted_and_cut() -> None:
    assert shown("a b") == '"a b"'
    assert shown("x" * 81) == '"' + "x" * 80 + '…"'
    assert shown("a\n", 1) == '"a…"'


def test_what_and_hint_become_one_line() -> None:
    assert str(McpError("it\nbroke", "mend it")) == r"it\nbroke; mend it"
    assert str(McpError("it broke")) == "it broke"


def test_the_parts_of_an_error_are_kept_and_joined_in_one_order() -> None:
    error = NotFound("no service web\x07", "it has: api", node="rift")
    assert (error.node, error.what, error.hint) == ("rift", r"no service web\x07", "it has: api")
    assert str(error) == r"rift: no service web\x07; it has: api"
    assert error.without_node() == r"no service web\x07; it has: api"
    assert str(McpError("it broke", node="rift")) == "rift: it broke"


def test_the_tree_in_the_docstring_is_the_tree_of_the_code() -> None:
    """Every class of error in the two programs is listed under its base."""
    for package in (agent, mcp):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    listed, parents = {}, {0: "Exception"}
    for indent, name, home in re.findall(r"^( *)\* (\w+)(?: \((.*)\))?$", errors.__doc__ or "", re.MULTILINE):
        listed[name], parents[len(indent) + 2] = parents[len(indent)], name
        assert hasattr(importlib.import_module(home or errors.__name__), name)
    assert listed == {kind.__name__: kind.__bases__[0].__name__ for kind in _subclasses(McpError)}


def _subclasses(kind: type[Any]) -> list[type[Any]]:
    return [kind, *(each for child in kind.__subclasses__() for each in _subclasses(child))]


def test_a_problem_is_its_line_and_knows_its_key() -> None:
    problem = Problem("nodes[0].name", "is used: twice")
    assert problem == "nodes[0].name: is used: twice"
    assert (problem.key, problem.what) == ("nodes[0].name", "is used: twice")


def test_a_file_has_a_line_for_each_problem() -> None:
    error = InvalidFile("web.toml", ["a: is missing", "b\n: is wrong"])
    assert (error.file, error.problems) == ("web.toml", ["a: is missing", "b\n: is wrong"])
    assert str(error).splitlines() == ["web.toml: a: is missing", r"web.toml: b\n: is wrong"]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.McpError, 1),
        (errors.InvalidInput, 2),
        (errors.NotFound, 1),
        (errors.NotReady, 1),
        (errors.Unavailable, 1),
        (errors.Unauthenticated, 3),
        (errors.Forbidden, 3),
        (errors.Unreachable, 4),
    ],
)
def test_exit_codes_are_the_documented_ones(kind: type[McpError], code: int) -> None:
    assert kind("x").exit_code == code
    assert InvalidFile("f", []).exit_code == 2
