"""Commands in messages, which users paste: what comes from elsewhere is quoted for a shell."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp.shared.errors import shell_word
from mcp.shared.resources import ROOT

# Quoted with backticks, or recognized by the program.
COMMAND = re.compile(
    r"`[^`]*`|\b(?:chmod|chown|install -d|ssh-copy-id|login --authfile|hand: ssh|key: ssh|log: ssh) [^;,]*"
)
QUOTED = re.compile(r"shell_word\(.*\)|shlex\.join\(.*\)")
# Names that were checked, of nodes, services and components, and what the programs make themselves.
SAFE = {
    *("node", "name", "service", "self.service", "self._node", "copy.node", "copy.service", "change.service"),
    *("node.name", "self.node.name", "service.name", "inspection.node.name", "args.target", "row['service']"),
    *(
        "user",
        "port.number",
        "lists",
        "tag",
        "target",
        "names",
        "USER",
        "HOME",
        "SERVICE",
        "TMPFILES",
        "' '.join(missing)",
    ),
}


def words() -> Iterator[tuple[str, str]]:
    """Every expression within a command of a message, with its place."""
    for path in sorted([*(ROOT / "agent").rglob("*.py"), *(ROOT / "mcp").rglob("*.py")]):
        for found in ast.walk(ast.parse(path.read_text())):
            if isinstance(found, ast.JoinedStr):
                yield from ((f"{path.relative_to(ROOT)}:{found.lineno}", word) for word in _in_commands(found))


def _in_commands(message: ast.JoinedStr) -> Iterator[str]:
    text, values = "", list[str]()
    for part in message.values:
        if isinstance(part, ast.Constant):
            text += str(part.value)
        elif isinstance(part, ast.FormattedValue):
            text += f"\0{len(values)}\0"
            values.append(ast.unparse(part.value))
    for command in COMMAND.finditer(text):
        yield from (values[int(number)] for number in re.findall("\0([0-9]+)\0", command[0]))


def test_what_is_pasted_is_quoted() -> None:
    found = list(words())
    assert len(found) > 20
    assert [(where, word) for where, word in found if word not in SAFE and not QUOTED.fullmatch(word)] == []


@pytest.mark.parametrize("message", ['f"run: chmod 600 {path}"', 'f"use `mcp push {path}`"', 'f"by hand: ssh {where}"'])
def test_what_is_not_quoted_is_found(message: str) -> None:
    (expression,) = [found for found in ast.walk(ast.parse(message)) if isinstance(found, ast.JoinedStr)]
    assert not any(QUOTED.fullmatch(word) for word in _in_commands(expression))
    assert list(_in_commands(expression))


def test_words() -> None:
    assert shell_word("/srv/mcp/mcp.toml") == "/srv/mcp/mcp.toml"
    assert shell_word(str(Path("/it's here/$(x)"))) == "'/it'\"'\"'s here/$(x)'"
