"""Add and remove nodes in mcp.toml, preserving the rest of the text byte for byte.

A scanner that knows strings, comments and brackets splits the text into statements, which tomllib then parses. The
file is written only if the new text parses to exactly the intended change.
"""

import fcntl
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mcp.config import configuration
from mcp.config.configuration import Node
from mcp.shared.errors import NotReady
from mcp.shared.files import Trust, mode_of, private_folder, write_atomic
from mcp.shared.toml import BOM, parse_toml, quoted, read_text

# Tokens within a statement: strings of four kinds, comments, brackets, line ends, and everything else.
_STRING = r"""'''.*?'{3,5}|""\"(?:\\.|[^\\])*?"{3,5}|'[^'\n]*'|"(?:\\.|[^"\\\n])*\""""
_PIECE = re.compile(_STRING + r"""|#[^\n]*|[\[{\]}\n]|[^'"#\[\]{}\n]+""", re.S)
_BLANK, _COMMENT, _HEADER, _PAIR = "blank", "comment", "header", "pair"


@dataclass(frozen=True)
class _Statement:
    """A blank line, comment, table header or pair, by `kind`, with its line end."""

    kind: str
    text: str


def add_node(path: Path, node: Node) -> None:
    """Add a node, creating the file if necessary.

    Raises InvalidFile if the result would be invalid, NotReady if the text cannot be edited.
    """
    if not path.parent.exists():
        private_folder(path.parent)
    with locked(path):
        _rewrite(path, lambda text: with_node(text, node), lambda nodes: [*nodes, _as_toml(node)])


def remove_node(path: Path, name: str) -> None:
    """Remove an existing node; raises McpError as `add_node` does."""
    with locked(path):
        _rewrite(path, lambda text: without_node(text, name), lambda nodes: [n for n in nodes if _name(n) != name])


def with_node(text: str, node: Node) -> str:
    """Insert a node after the last one, or at the end of the text."""
    statements = _statements(text)
    blocks = _node_blocks(statements)
    end = blocks[-1][1] if blocks else len(statements)
    before = "".join(statement.text for statement in statements[:end])
    after = "".join(statement.text for statement in statements[end:])
    newline = "\r\n" if "\r\n" in text else "\n"
    pairs = [f"{key} = {quoted(value)}" for key, value in _as_toml(node).items()]
    block = "".join(f"{line}{newline}" for line in ["[[nodes]]", *pairs])
    unfinished = newline if before and not before.endswith("\n") else ""
    gap = newline if before.strip() and not _ends_blank(statements[:end]) else ""
    return f"{before}{unfinished}{gap}{block}{after}"


def without_node(text: str, name: str) -> str:
    """Remove the table of a node and the blank lines around it; comments outside the table remain."""
    statements = _statements(text)
    for begin, end in _node_blocks(statements):
        block = "".join(statement.text for statement in statements[begin:end])
        if [_name(table) for table in _nodes_of(tomllib.loads(block))] == [name]:
            return "".join(statement.text for statement in _without(statements, begin, end))
    return text


def _without(statements: list[_Statement], begin: int, end: int) -> list[_Statement]:
    """Remove a block, and the blank lines on one side of it."""
    blank_before = begin == 0 or statements[begin - 1].kind == _BLANK
    if end == len(statements):
        while begin and statements[begin - 1].kind == _BLANK:
            begin -= 1
    elif blank_before:
        while end < len(statements) and statements[end].kind == _BLANK:
            end += 1
    return statements[:begin] + statements[end:]


def _ends_blank(statements: list[_Statement]) -> bool:
    return bool(statements) and statements[-1].kind == _BLANK


def _statements(text: str) -> list[_Statement]:
    """Split a valid document into statements, which joined are the document."""
    statements, start, depth = [], 0, 0
    for match in _PIECE.finditer(text):
        piece = match[0]
        if piece in ("[", "{"):
            depth += 1
        elif piece in ("]", "}"):
            depth -= 1
        elif piece == "\n" and depth == 0:
            statements.append(_statement(text[start : match.end()]))
            start = match.end()
    if start < len(text):
        statements.append(_statement(text[start:]))
    return statements


def _statement(text: str) -> _Statement:
    first = text.lstrip()[:1]
    return _Statement({"": _BLANK, "#": _COMMENT, "[": _HEADER}.get(first, _PAIR), text)


def _node_blocks(statements: list[_Statement]) -> list[tuple[int, int]]:
    """Return begin and end of each [[nodes]] table, up to its last pair and the comments directly below.

    Comments directly above the next header belong to that header.
    """
    headers = [index for index, statement in enumerate(statements) if statement.kind == _HEADER]
    blocks = []
    for index, following in zip(headers, [*headers, len(statements)][1:], strict=True):
        if tomllib.loads(statements[index].text) == {"nodes": [{}]}:
            blocks.append((index, _block_end(statements, index, following)))
    return blocks


def _block_end(statements: list[_Statement], begin: int, following: int) -> int:
    kinds = [statement.kind for statement in statements]
    last = max(index for index in range(begin, following) if kinds[index] in (_PAIR, _HEADER))
    end = last + 1
    while end < following and kinds[end] == _COMMENT:
        end += 1
    return last + 1 if end == following < len(statements) else end


def _rewrite(
    path: Path,
    change: Callable[[str], str],
    expected: Callable[[list[object]], list[object]],
) -> None:
    text = read_text(path, Trust.OWN) if path.exists() else ""
    before = parse_toml(text, str(path))
    bom = BOM if text.startswith(BOM) else ""
    new = change(text.removeprefix(BOM))
    try:
        after = tomllib.loads(new)
    except tomllib.TOMLDecodeError:
        after = {}
    if after != _with_nodes(before, expected(_nodes_of(before))):
        raise NotReady(f"{path}: nodes are not plain [[nodes]] tables", "edit the file by hand")
    configuration.parse(new, path)
    write_atomic(path, f"{bom}{new}".encode(), mode_of(path), follow=True)


def _with_nodes(document: dict[str, object], nodes: list[object]) -> dict[str, object]:
    rest = {key: value for key, value in document.items() if key != "nodes"}
    return {**rest, "nodes": nodes} if nodes else rest


def _nodes_of(document: dict[str, object]) -> list[object]:
    nodes = document.get("nodes", [])
    return list(nodes) if isinstance(nodes, list) else []


def _name(node: object) -> object:
    return node.get("name") if isinstance(node, dict) else None


def _as_toml(node: Node) -> dict[str, str]:
    return {key: value for key, value in vars(node).items() if value}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock `path` against concurrent changes of it and of files beside it."""
    descriptor = os.open(path.resolve().parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
