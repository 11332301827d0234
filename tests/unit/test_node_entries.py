"""Nodes added to and removed from the text of mcp.toml: that node changes, and not one other byte."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp.config import configuration, node_entries
from mcp.config.configuration import Node
from mcp.config.node_entries import with_node, without_node
from mcp.shared.errors import McpError, NotReady

RIFT = '[[nodes]]\nname = "rift"\naddress = "a:1"\n'
ORION = '[[nodes]]\nname = "orion"\naddress = "b:2"\n'
NEW = Node("new", "10.0.0.1:9444", ssh='kyle@"x"', arch="arm64")
NEW_TEXT = '[[nodes]]\nname = "new"\naddress = "10.0.0.1:9444"\nssh = "kyle@\\"x\\""\narch = "arm64"\n'

# Pieces that a scan of lines would trip over.
TRAPS = """\
# [[nodes]]
[auth] # "
token_path = '''
[[nodes]]
name = "rift"
''' # '''
ca_cert = "a\\"[[nodes]]"
"[[nodes]]" = [ # ]
  "]", '[', # "
  [["nodes"]],
]
x = {a = "}", b = [{}]}
s = \"\"\"\\"\"\"
[[nodes]]
\"\"\"\"\"
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", NEW_TEXT),
        ("# my fleet", f"# my fleet\n\n{NEW_TEXT}"),
        (RIFT, f"{RIFT}\n{NEW_TEXT}"),
        (f"{RIFT}\n\n[auth]\nx = 1\n", f"{RIFT}\n{NEW_TEXT}\n\n[auth]\nx = 1\n"),
        (f'{RIFT}# sudo = "doas"\n\n# paths\n[auth]', f'{RIFT}# sudo = "doas"\n\n{NEW_TEXT}\n# paths\n[auth]'),
        (f"{RIFT}# paths\n[auth]\n", f"{RIFT}\n{NEW_TEXT}# paths\n[auth]\n"),
        (RIFT.replace("\n", "\r\n"), f"{RIFT}\n{NEW_TEXT}".replace("\n", "\r\n")),
        (TRAPS + RIFT + "# end", f"{TRAPS}{RIFT}# end\n\n{NEW_TEXT}"),
    ],
)
def test_add(before: str, after: str) -> None:
    assert with_node(before, NEW) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (RIFT, ""),
        (f"{RIFT}\n{ORION}", ORION),
        (f"{ORION}\n{RIFT}", ORION),
        (f"{ORION}{RIFT}[auth]\n", f"{ORION}[auth]\n"),
        (f"[a]\n\n{RIFT}\n\n[b]\n", "[a]\n\n[b]\n"),
        (f"# the attic\n\n{RIFT} # its port\n\n# more\n{ORION}", f"# the attic\n\n# more\n{ORION}"),
        (f"# the attic\n{RIFT}\n{ORION}", f"# the attic\n\n{ORION}"),
        (TRAPS + RIFT + ORION, TRAPS + ORION),
        (
            "[[ 'nodes' ]]#\nname='ri\\\\ft'\n" + "[[ nodes ]]\nname = 'rift' # !\nx = [\n1]\n",
            "[[ 'nodes' ]]#\nname='ri\\\\ft'\n",
        ),
        (f"{ORION}\n{RIFT}".replace("\n", "\r\n"), ORION.replace("\n", "\r\n")),
        (ORION, ORION),
    ],
)
def test_remove(before: str, after: str) -> None:
    assert without_node(before, "rift") == after


comments = st.from_regex(r"(#[ -~]{0,10}\n|\n){0,3}", fullmatch=True)
fleets = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), unique=True, max_size=5)


@given(st.data(), fleets, st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", TRAPS]))
def test_what_was_added_can_be_removed(data: st.DataObject, fleet: list[str], newline: str, head: str) -> None:
    blocks = [f'{data.draw(comments)}[[nodes]]\nname = "{name}"\n{data.draw(comments)}' for name in fleet]
    text = (head + "".join(blocks) + data.draw(comments) + "[build]\nx = 1\n").replace("\n", newline)
    added = with_node(text, NEW)
    nodes = tomllib.loads(added)["nodes"]
    assert [node["name"] for node in nodes] == [*fleet, "new"]
    removed = without_node(added, "new")
    assert tomllib.loads(removed) == tomllib.loads(text)
    assert [line for line in removed.splitlines() if line.strip()] == [
        line for line in text.splitlines() if line.strip()
    ]
    for name in fleet:
        left = tomllib.loads(without_node(text, name))
        assert [node["name"] for node in left.get("nodes", [])] == [other for other in fleet if other != name]


def test_the_first_node_makes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config/mcp/mcp.toml"
    node_entries.add_node(path, NEW)
    assert path.read_text() == NEW_TEXT
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_the_file_keeps_its_mode_and_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.toml", tmp_path / "mcp.toml"
    real.write_text(RIFT)
    real.chmod(0o640)
    link.symlink_to(real)
    node_entries.add_node(link, NEW)
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    node_entries.remove_node(link, "new")
    assert real.read_text() == RIFT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mcp.toml", "real.toml"]


def test_a_bom_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "mcp.toml"
    path.write_text(RIFT, encoding="utf-8-sig")
    node_entries.add_node(path, NEW)
    assert [node.name for node in configuration.load(path).nodes] == ["rift", "new"]
    node_entries.remove_node(path, "new")
    assert path.read_bytes() == b"\xef\xbb\xbf" + RIFT.encode()
    node_entries.remove_node(path, "rift")
    node_entries.add_node(path, NEW)
    assert path.read_bytes() == b"\xef\xbb\xbf" + NEW_TEXT.encode()


@pytest.mark.parametrize("text", ["nodes = []\n", 'nodes = [{name = "new", address = "a:1"}]\n'])
def test_what_is_no_plain_table_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mcp.toml"
    path.write_text(text)
    with pytest.raises(NotReady, match=r"nodes are not plain \[\[nodes\]\] tables; edit the file by hand"):
        node_entries.add_node(path, Node("b", "b:1"))
    assert path.read_text() == text


def test_a_result_that_is_not_valid_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "mcp.toml"
    path.write_text(RIFT)
    with pytest.raises(McpError, match=r'nodes: 2 of them are called "rift"'):
        node_entries.add_node(path, Node("rift", "b:1"))
    with pytest.raises(McpError, match=r"nodes\[1\].address"):
        node_entries.add_node(path, Node("b", "nowhere"))
    assert path.read_text() == RIFT
