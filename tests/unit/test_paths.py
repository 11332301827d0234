"""Paths of files below a service's folder."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp.shared.errors import InvalidInput
from mcp.shared.paths import parse_file_target, split_path


@given(st.text(max_size=40) | st.lists(st.sampled_from(["..", ".", "", "a", "é", "a b"]), max_size=5).map("/".join))
def test_every_part_of_a_path_is_a_plain_name(path: str) -> None:
    try:
        parts = split_path(path)
    except InvalidInput as error:
        parts = []
        assert str(error).startswith("path: ")  # noqa: PT017 - either outcome is sound
    assert not {b"", b".", b".."} & set(parts)
    assert not [part for part in parts if b"/" in part or b"\0" in part]
    assert not parts or b"/".join(parts).decode() == path


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("web/x", ("web", "x")),
        ("web/conf/x", ("web", "conf/x")),
        ("web/conf/", ("web", "conf/")),
        ("web/", ("web", "")),
        ("web/a b\n", ("web", "a b\n")),
    ],
)
def test_targets(text: str, parts: tuple[str, str]) -> None:
    assert parse_file_target(text) == parts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("web", "web: no file given; write SERVICE/PATH"),
        ("", "service: is missing"),
        ("/x", "service: is missing"),
        ("Web/x", 'service: "Web" is not a valid name'),
        ("web//", 'path: "/" is absolute'),
        ("web//x", 'path: "/x" is absolute'),
        ("web/a//", 'path: "a/" contains an empty part'),
        ("web/../", 'path: ".." contains ".."'),
    ],
)
def test_what_is_no_target(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_file_target(text)
    assert str(caught.value).startswith(words)
