"""The documents: links lead somewhere, paths exist, and every command line in them can be parsed."""

import ast
import re
import shlex
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import pytest

from agent import main as agent_main
from mcp import main
from mcp.commands.shared import catalogue
from mcp.shared.cli import Parser
from mcp.shared.command import Command
from mcp.shared.resources import ROOT

DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
PLACEHOLDERS = {
    "[SERVICE[/COMPONENT]]": "web/api",
    "SERVICE[/COMPONENT]": "web/api",
    "SERVICE/PATH": "web/a",
    "HOST:PORT": "10.0.0.5:9444",
    "COMMAND": "deploy",
    "SHELL": "bash",
    "DIR": ".",
    "N": "1",
}
PROGRAM = re.compile(r"(?:^|[ /])(mcp|mcp-agent)(?:\.pyz)? ((?:\[?[A-Za-z]|--?[a-z]).*)")
PATH = re.compile(r"`((?:agent|mcp|tests|tools|bench|proto|deploy|docs)/[\w./-]*)`")

NOT_YET = ("agent/platform/",)


# --- links ---


def slug(title: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def broken_links(path: Path) -> Iterator[str]:
    """Find relative links of a document that lead nowhere."""
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


def anchors(path: Path) -> set[str]:
    """The anchors of a document."""
    return {slug(title) for title in re.findall(r"^#+ (.*)$", path.read_text(), re.M)}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    assert list(broken_links(ROOT / name)) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# One `two`\n[x](b.md) [x](a.md#one-two) [x](#one) [x](https://example.net/#x)\n")
    assert list(broken_links(tmp_path / "a.md")) == ["b.md", "#one"]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/development.md"])
def test_files_that_are_named_exist(name: str) -> None:
    named = [path for path in PATH.findall((ROOT / name).read_text()) if "NAME" not in path]
    assert [path for path in named if not (ROOT / path).exists() and path not in NOT_YET] == []


def journeys() -> dict[str, list[str]]:
    """The files of each journey in docs/architecture.md."""
    text = (ROOT / "docs/architecture.md").read_text().partition("\n## Journeys\n")[2].partition("\n## ")[0]
    parts = re.split(r"^\*\*(.+?)\*\*", text, flags=re.M)[1:]
    return {title: PATH.findall(part) for title, part in zip(parts[::2], parts[1::2], strict=True)}


@pytest.mark.parametrize("title", journeys())
def test_a_journey_names_each_file_once(title: str) -> None:
    files = journeys()[title]
    assert len(files) > 10
    assert [path for path in files if files.count(path) > 1 or not (ROOT / path).is_file()] == []


def test_there_are_several_journeys() -> None:
    assert len(journeys()) == 4


# --- command lines ---


def command_lines(text: str) -> Iterator[str]:
    """Find `mcp ...` and `mcp-agent ...` in console blocks and code spans."""
    for block in re.findall(r"```console\n(.*?)```", text, re.S):
        for line in block.splitlines():
            if line.startswith(("$ ", "# ")):
                yield line[2:].partition(" # ")[0].partition("   #")[0]
    for span in re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S)):
        if re.match(r"(\./)?mcp(-agent)?(\.pyz)? ", span):
            yield span.replace("\\|", "|")


def alternatives(words: list[str]) -> Iterator[list[str]]:
    """Yield a line for each of `a|b|c` in one of its words."""
    for index, word in enumerate(words):
        if re.fullmatch(r"[a-z]+(\|[a-z]+)+", word):
            for choice in word.split("|"):
                yield from alternatives([*words[:index], choice, *words[index + 1 :]])
            return
    yield words


def calls(line: str) -> Iterator[list[str]]:
    """Yield the program and arguments of each call in a line, with placeholders filled in."""
    for part in re.split(r" \| | ?<\(| && | ; ", line):
        if (found := PROGRAM.search(part)) is None or part.startswith("install "):
            continue
        text = re.split(r" [<>&]|\)'", found[2])[0]
        for sign, value in PLACEHOLDERS.items():
            text = re.sub(rf"(?<![\w/]){re.escape(sign)}(?![\w/])", value, text)
        text = re.sub(r"[\[\]…]|\.\.\.", "", text)
        text = re.sub(r"\b[A-Z][A-Z-]+\b", "rift", text)
        for words in alternatives(shlex.split(text)):
            yield [found[1], *words]


def problem(call: list[str]) -> str:
    """Return what is wrong with a call; empty if it can be parsed, or only names a command."""
    program, *argv = call
    if program == "mcp":
        parser = main.parser_for(argv)
    else:
        parser = Parser(prog="mcp-agent")
        parser.add_commands(agent_main.COMMANDS)
    names = {tuple(name.split()) for name in COMMANDS[program]}
    if tuple(argv) in names:
        return ""
    try:
        parser.parse_args(argv)
    except SystemExit as end:
        return "" if end.code == 0 else " ".join(call)
    return ""


def names_of(commands: Iterable[Command], prefix: str = "") -> Iterator[str]:
    """Yield the whole names of commands and of the groups that they are in."""
    for command in commands:
        name = f"{prefix}{command.name}"
        yield name
        yield from names_of(command.commands, f"{name} ")


COMMANDS = {
    "mcp": list(names_of(catalogue.load_all())),
    "mcp-agent": list(names_of(agent_main.COMMANDS)),
}


@pytest.mark.parametrize("name", NAMES)
def test_command_lines_can_be_parsed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = [call for line in command_lines((ROOT / name).read_text()) for call in calls(line)]
    wrong = [text for call in found if (text := problem(call))]
    assert wrong == [], capsys.readouterr().err


def test_a_wrong_command_line_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    text = "```console\n$ pg_dump db | mcp push - web/x   # a\n$ mcp ps --wrong\n```\n`mcp-agent cert ca|sing`"
    found = [call for line in command_lines(text) for call in calls(line)]
    assert found == [
        ["mcp", "push", "-", "web/x"],
        ["mcp", "ps", "--wrong"],
        ["mcp-agent", "cert", "ca"],
        ["mcp-agent", "cert", "sing"],
    ]
    assert [bool(problem(call)) for call in found] == [False, True, False, True]
    assert "unknown option" in capsys.readouterr().err


# --- messages ---

OF_OTHERS = {"certificate has expired", "is not yet valid"}  # OpenSSL's
OF_PARTS = {"may not write it", "is registered on A and B"}  # put together of several texts


def texts() -> Iterator[str]:
    """Every text in the programs; where a value is put into it, it has a NUL."""
    for path in chain((ROOT / "agent").rglob("*.py"), (ROOT / "mcp").rglob("*.py"), [ROOT / "deploy/switch-agent.sh"]):
        if path.suffix == ".sh":
            yield path.read_text()
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                yield "".join(str(each.value) if isinstance(each, ast.Constant) else "\0" for each in node.values)


def is_known(fragment: str, known: str) -> bool:
    """Tell whether the programs print most of a fragment; values that they put in may be anything."""
    words = fragment.split()
    parts = [" ".join(words[index : index + 3]) for index in range(max(1, len(words) - 2))]
    return fragment in OF_OTHERS | OF_PARTS or sum(part in known for part in parts) >= 0.4 * len(parts)


def unknown_messages(text: str, known: str) -> Iterator[str]:
    """Find messages in the first cells of tables that no program prints: `ADDRESS does not respond`."""
    for cell in re.findall(r"^\| (`.*?) \| ", text, re.M):
        for message in re.findall(r"`([^`]+)`", cell):
            fragments = [part.strip(" ;") for part in re.split(r"…|\b[A-Z]{2,}\b|\b\d+\b|;", message)]
            if not all(is_known(part, known) for part in fragments):
                yield message


def test_messages_that_are_explained_are_printed() -> None:
    known = "\n".join(texts())
    trouble = (ROOT / "docs/troubleshooting.md").read_text()
    errors = (ROOT / "docs/provisioning.md").read_text().partition("\n## Errors\n")[2]
    assert list(unknown_messages(trouble + errors, known)) == []
    assert list(
        unknown_messages("| `ADDRESS answers with jokes` | x |\n| `ADDRESS does not respond` | x |", known)
    ) == ["ADDRESS answers with jokes"]
