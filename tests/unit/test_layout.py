"""Tables on a terminal: no line is wider, wide characters are counted right, and what is cut says so."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from mcp.shared.resources import ROOT
from mcp.terminal.layout import GAP, NARROWEST, cut, display_width, fit, pad
from tests.terminals import on_terminal

PRINT = """
from mcp.terminal import output
output.table(
    ["NUMBER", "IMAGE", "ERROR"],
    [
        ["1", "registry.example.net/team/web:1.0.0", "short"],
        ["2", "漢字漢字", "the new container ended with exit code 3"],
    ],
)
"""


def test_width_of_wide_and_combining_characters() -> None:
    assert [display_width(text) for text in ("", "abc", "漢字", "e\u0301", "\uff41", "a\u200bb")] == [0, 3, 4, 1, 2, 2]


def test_what_is_cut_ends_in_an_ellipsis() -> None:
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdef", 5) == "abcd…"
    assert cut("漢字漢字", 6) == "漢字…"
    assert cut("漢字漢字", 5) == "漢字…"
    assert cut("漢字漢字", 4) == "漢…"
    assert cut("ab cd", 4) == "ab…"
    assert cut("abc", 1) == "…"
    assert cut("abc", 0) == ""


@given(st.text(), st.integers(0, 40))
def test_nothing_is_wider_than_it_may_be(text: str, width: int) -> None:
    assert display_width(cut(text, width)) <= width
    assert display_width(pad(cut(text, width), width)) == width


def test_the_widest_column_gives_way_first() -> None:
    assert fit([4, 50, 20], ["A", "B", "C"], 60) == [4, 32, 20]
    assert fit([4, 50, 20], ["A", "B", "C"], 100) == [4, 50, 20]
    assert sum(fit([4, 50, 50], ["A", "B", "C"], 60)) + 2 * GAP == 60
    assert fit([4, 50, 20], ["A", "B", "C"], 10) == [4, NARROWEST, NARROWEST]
    assert fit([20, 20], ["A LONG HEADER", "B"], 10) == [13, NARROWEST]


def test_names_and_times_give_way_last() -> None:
    headers = ["WHEN", "ERROR", "NODE"]
    assert fit([20, 90, 30], headers, 80) == [20, 26, 30]
    assert fit([20, 90, 30], headers, 60) == [20, NARROWEST, 28]
    assert fit([20, 90, 30], headers, 10) == [NARROWEST] * 3


def test_a_table_fits_the_terminal_and_is_whole_in_a_pipe() -> None:
    argv = [sys.executable, "-c", PRINT]
    shown = on_terminal(argv, {"PYTHONPATH": str(ROOT)}, columns=50)
    assert shown.lines == [
        "NUMBER  IMAGE                 ERROR",
        "1       registry.example.ne…  short",
        "2       漢字漢字              the new container e…",
    ]
    assert max(map(display_width, shown.lines)) <= 50
    whole = on_terminal(argv, {"PYTHONPATH": str(ROOT)}, columns=200)
    assert whole.lines[2].endswith("the new container ended with exit code 3")


def test_columns_of_a_terminal_without_a_size() -> None:
    shown = on_terminal([sys.executable, "-c", PRINT], {"PYTHONPATH": str(ROOT)}, columns=0, rows=0)
    assert max(map(display_width, shown.lines)) <= 80
