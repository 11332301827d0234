"""Strict TOML: every type, every unknown key, all problems at once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp.shared.errors import InvalidFile, Problem
from mcp.shared.fields import Field, FieldKind
from mcp.shared.toml import Table, kind_of, parse_toml, read_text, read_toml

WRONG = {
    "text": "'a'",
    "integer": "1",
    "number": "1.5",
    "flag": "true",
    "list": "['a']",
    "table": "{ a = 1 }",
    "date": "2026-01-31",
    "time": "12:00:00",
    "moment": "2026-01-31T12:00:00Z",
}
WORDS = {
    "text": "a string",
    "integer": "an integer",
    "number": "a number",
    "flag": "true or false",
    "list": "a list",
    "table": "a table",
    "date": "a date or time",
    "time": "a date or time",
    "moment": "a date or time",
}
READERS: dict[str, tuple[str, Callable[[Table], object]]] = {
    "text": ("a string", lambda table: table.text("key")),
    "flag": ("true or false", lambda table: table.value(Field("", name="key", kind=FieldKind.FLAG))),
    "integer": ("an integer", lambda table: table.integer("key")),
    "list": ("a list", lambda table: table.texts("key")),
    "table": ("a table", lambda table: table.table("key")),
}


def table_of(toml: str) -> tuple[Table, list[Problem]]:
    """The table of a document, and the list that its problems go to."""
    found: list[Problem] = []
    return Table(parse_toml(toml, "t.toml"), found), found


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("value", WRONG)
def test_each_type_takes_only_itself(reader: str, value: str) -> None:
    expected, read = READERS[reader]
    table, found = table_of(f"key = {WRONG[value]}")
    read(table)
    assert found == ([] if reader == value else [f"key: expected {expected}, found {WORDS[value]}"])


def test_a_list_of_tables_takes_only_tables() -> None:
    table, found = table_of("key = [{ a = 1 }, 2, 'x']")
    assert [sub.key("a") for sub in table.tables("key")] == ["key[0].a"]
    assert found == ["key[1]: expected a table, found an integer", "key[2]: expected a table, found a string"]
    table, found = table_of("key = 'x'")
    assert table.tables("key") == []
    assert found == ["key: expected a list, found a string"]


def test_a_list_of_strings_names_each_wrong_one() -> None:
    table, found = table_of("key = ['a', 1, 'b', true]")
    assert table.texts("key") == ("a", "b")
    assert found == ["key[1]: expected a string, found an integer", "key[3]: expected a string, found true or false"]


def test_values_and_defaults() -> None:
    table, found = table_of("text = 'x'\nflag = false\nnumber = 7\n[sub]\nlist = ['a']")
    assert table.text("text") == "x"
    assert table.integer("number") == 7
    assert table.table("sub").texts("list") == ("a",)
    assert table.text("no", "default") == "default"
    assert table.integer("nothing", 5) == 5
    assert table.texts("nowhere") == ()
    assert table.tables("nobody") == []
    assert table.has("text")
    assert not table.has("no")
    assert found == []


def test_required_values_are_missed() -> None:
    table, found = table_of("[sub]")
    table.table("sub").text("a")
    table.table("gone").integer("b")
    assert found == ["sub.a: is missing; expected a string", "gone.b: is missing; expected an integer"]


def test_unknown_keys_come_with_a_suggestion() -> None:
    table, found = table_of("nmae = 'x'\nzzzzzz = 1\n[[list]]\nprot = 1")
    table.text("name", "")
    table.value(Field("", name="active", kind=FieldKind.FLAG, default=True))
    for sub in table.tables("list"):
        sub.integer("port", 0)
        sub.close()
    table.close()
    assert found == [
        "list[0].prot: unknown key; did you mean port?",
        "nmae: unknown key; did you mean name?",
        "zzzzzz: unknown key; known here: active, list, name",
    ]


def test_an_unknown_key_where_none_is_known() -> None:
    table, found = table_of("x = 1")
    table.close()
    assert found == ["x: unknown key"]


def test_free_tables_know_all_their_keys() -> None:
    table, found = table_of("anything = 1")
    assert table.items() == {"anything": 1}
    table.close()
    assert found == []


def test_checked_says_what_was_expected() -> None:
    def even(text: str) -> int:
        if int(text) % 2:
            raise ValueError("is odd")
        return int(text)

    table, found = table_of("good = '4'\nbad = '3'\nempty = ''")
    assert table.checked("good", even) == 4
    assert table.checked("bad", even) is None
    assert table.checked("empty", even) is None
    assert table.checked("absent", even, "6") == 6
    assert table.checked("optional", even, "") is None
    assert found == ['bad: "3": is odd']


@pytest.mark.parametrize(
    ("document", "what"),
    [
        ("a = ", "(at end of document)"),
        ("a = 1\na = 2\n", "Cannot overwrite a value"),
        ("= 1", "line 1, column 1"),
        ("a = 2026-02-30", "line 1"),
        ("a = 1\0", "line 1"),
        ("a = " + "[" * 5000, "too deeply nested"),
        ("a = " + "9" * 5000, "4300 digits"),
    ],
)
def test_broken_documents_are_one_line(document: str, what: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        parse_toml(document, "t.toml")
    assert str(caught.value).startswith("t.toml: is not valid TOML: ")
    assert what in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@given(st.text(max_size=40))
def test_any_text_is_a_table_or_an_error(text: str) -> None:
    try:
        value: dict[str, object] | str = parse_toml(text, "t.toml")
    except InvalidFile as error:
        value = str(error)
    assert isinstance(value, dict) or value.startswith("t.toml: is not valid TOML: ")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"a = '\xe4'")
    for path, what in (
        (tmp_path / "latin", "is not UTF-8 text (byte 5)"),
        (tmp_path / "none", "cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
    ):
        with pytest.raises(InvalidFile) as caught:
            read_text(path)
        assert str(caught.value) == f"{path}: {what}"


def test_read_toml_gathers_every_problem(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text("a = 1\nb = true\nc = 3\n")
    with pytest.raises(InvalidFile) as caught:
        read_toml(path, lambda table: (table.text("a"), table.integer("b"), table.text("d")))
    assert str(caught.value).splitlines() == [
        f"{path}: a: expected a string, found an integer",
        f"{path}: b: expected an integer, found true or false",
        f"{path}: d: is missing; expected a string",
        f"{path}: c: unknown key; known here: a, b, d",
    ]
    assert read_toml(path, lambda table: table.text("a"), "a = 'x'") == "x"


def test_kind_of_every_toml_type() -> None:
    values = parse_toml("\n".join(f"{name} = {value}" for name, value in WRONG.items()), "t.toml")
    assert {name: kind_of(value) for name, value in values.items()} == WORDS
