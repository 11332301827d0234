"""How logs look: prefixes and JSON objects that do not depend on where the blocks were cut."""

import io
import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp.logs import blocks
from mcp.logs.blocks import TIME_WIDTH, Origin, is_timed, pieces
from mcp.logs.view import MESSAGE_LIMIT, JsonLines, Labels, LogView, Prefixed, notice
from proto.mcp.v1 import mcp_pb2 as pb

API, WEB = Origin("rift", "site", "api", False), Origin("rift", "site", "web", False)
STAMP = b"2026-11-22T10:19:26.532885487Z "

parts = st.lists(st.binary(max_size=6) | st.sampled_from([b"\n", b"\n\n", b"a\nb", b"api | x\n"]), max_size=8)


def labels(*components: str, colour: bool = False) -> Labels:
    """Labels of components of one service on one node."""
    known = [("rift", "site", name) for name in components]
    return Labels(known, with_node=False, with_service=False, colour=colour)


def prefixed(blocks: list[bytes]) -> bytes:
    """Blocks of one component, with prefixes."""
    view = Prefixed(labels("api", "longer"), one_terminal=False)
    return b"".join(view.render(API, block) for block in blocks)


def test_lines_get_a_prefix_of_one_width() -> None:
    view = Prefixed(labels("api", "worker"), one_terminal=False)
    assert view.render(API, b"one\ntwo\n") == b"api    | one\napi    | two\n"
    assert view.render(API._replace(component="worker"), b"\n") == b"worker | \n"
    assert view.render(API._replace(component="someone-new"), b"x\n") == b"someone-new | x\n"
    assert view.render(API, b"x\n") == b"api         | x\n"


@pytest.mark.parametrize(
    ("with_node", "with_service", "label"),
    [
        (False, False, b"api | "),
        (False, True, b"site/api | "),
        (True, True, b"rift site/api | "),
        (True, False, b"rift api | "),
    ],
)
def test_labels_say_what_has_to_be_told_apart(with_node: bool, with_service: bool, label: bytes) -> None:
    assert Labels([], with_node=with_node, with_service=with_service, colour=False)(API) == label


def test_a_line_that_comes_in_parts_gets_one_prefix_and_is_broken_off_by_others() -> None:
    view = Prefixed(labels("api", "web"), one_terminal=False)
    stderr = API._replace(is_stderr=True)
    shown = [
        view.render(API, b"begin "),
        view.render(stderr, b"stderr\n"),
        view.render(API, b""),
        view.render(API, b"on "),
        view.render(WEB, b"other\n"),
        view.render(API, b"end\nnext\n"),
    ]
    assert shown == [b"api | begin ", b"api | stderr\n", b"", b"on ", b"\nweb | other\n", b"api | end\napi | next\n"]


def test_on_one_terminal_stderr_and_markers_break_lines_off_too(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    view = Prefixed(labels("api"), one_terminal=True)
    assert view.render(API, b"begin ") == b"api | begin "
    assert view.render(API._replace(is_stderr=True), b"error") == b"\napi | error"
    view.marker("api: it\nends")
    view.marker("again")
    assert capsysbinary.readouterr().err == b"\n--- api: it\\nends ---\n--- again ---\n"
    assert view.render(API, b"x\n") == b"api | x\n"


def test_a_marker_breaks_off_nothing_on_another_stream(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    view = Prefixed(labels("api"), one_terminal=False)
    view.render(API, b"begin ")
    view.marker("so")
    view.render(API._replace(is_stderr=True), b"begin ")
    view.marker("so")
    assert capsysbinary.readouterr().err == b"--- so ---\n\n--- so ---\n"
    assert view.render(API, b"end\n") == b"end\n"


def test_colours() -> None:
    view = Prefixed(labels("api", colour=True), one_terminal=False)
    assert view.render(API, b"x\n") == b"\x1b[36mapi |\x1b[0m x\n"
    assert view.render(WEB, b"x\n") == b"\x1b[33mweb |\x1b[0m x\n"
    assert view.render(API, b"x\n") == b"\x1b[36mapi |\x1b[0m x\n"
    many = labels(*(f"c{number}" for number in range(30)), colour=True)
    assert many(API._replace(component="c29")).startswith(b"\x1b[94mc29 |")


def test_a_marker_is_dim_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    LogView().marker("x")
    monkeypatch.setenv("NO_COLOR", "1")
    LogView().marker("y")
    assert terminal.getvalue() == "\x1b[2m--- x ---\x1b[0m\n--- y ---\n"


@given(parts)
def test_where_the_input_is_cut_makes_no_difference(blocks: list[bytes]) -> None:
    assert prefixed(blocks) == prefixed([b"".join(blocks)])


@given(st.binary(max_size=12), st.integers(0, 12))
def test_one_cut_anywhere_makes_no_difference(data: bytes, cut: int) -> None:
    assert prefixed([data[:cut], data[cut:]]) == prefixed([data])


@given(parts)
def test_without_the_prefixes_the_output_is_the_input(blocks: list[bytes]) -> None:
    prefix = b"api    | "
    lines = prefixed(blocks).split(b"\n")
    last = lines.pop()
    assert all(line.startswith(prefix) for line in lines)
    assert not last or last.startswith(prefix)
    assert b"\n".join(line[len(prefix) :] for line in [*lines, last]) == b"".join(blocks)


def test_each_stream_goes_to_its_own_in_few_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[bytes, bool]] = []
    monkeypatch.setattr("mcp.terminal.output.write_bytes", lambda data, *, to_stderr: written.append((data, to_stderr)))
    stderr = API._replace(is_stderr=True)
    shown = [(API, b"a\n"), (WEB, b"b\n"), (stderr, b"\xff\0c\n"), (stderr, b"d\n"), (API, b"e\n")]
    LogView().show(shown)
    LogView().show([])
    assert written == [(b"a\nb\n", False), (b"\xff\0c\nd\n", True), (b"e\n", False)]


# --- blocks ---


def test_blocks_are_taken_apart() -> None:
    one = pb.LogsResponse(data=b"a\n", service="site", component="api", stream=pb.LOG_STREAM_STDERR)
    assert list(pieces(one, "rift")) == [(API._replace(is_stderr=True), b"a\n")]
    assert list(pieces(pb.LogsResponse(caught_up=True), "rift")) == []
    several = pb.LogsResponse(
        data=b"a\nb\nccc\n",
        sources=[pb.LogSource(service="site", component=name) for name in ("web", "api")],
        run_source=[1, 0, 1],
        run_length=[2, 2, 4],
    )
    assert list(pieces(several, "rift")) == [(API, b"a\n"), (WEB, b"b\n"), (API, b"ccc\n")]


def test_numbers_and_widths_are_the_wire_s() -> None:
    assert blocks.STDERR == pb.LOG_STREAM_STDERR
    assert len(STAMP) == TIME_WIDTH
    assert is_timed(STAMP + b"x\n")
    assert not is_timed(b"2026-11-22T10:19:26.532885487+00:00 x")
    assert not is_timed(b"")


def test_notices_name_what_they_are_about() -> None:
    gone = pb.LogsResponse(service="site", component="api", notice="gone")
    assert notice(gone, "rift", with_node=False) == "site/api: gone"
    assert notice(gone, "rift", with_node=True) == "rift site/api: gone"
    assert notice(pb.LogsResponse(service="site", notice="x"), "rift", with_node=True) == "rift site: x"
    assert notice(pb.LogsResponse(notice="x: y"), "rift", with_node=True) == "rift: x: y"
    named = pb.LogsResponse(notice="site/api: gone")
    assert notice(named, "rift", with_node=False) == "site/api: gone"
    assert notice(named, "rift", with_node=True) == "rift site/api: gone"


# --- JSON ---


def objects(data: bytes) -> list[dict[str, Any]]:
    """The objects of lines."""
    return [json.loads(line) for line in data.splitlines()]


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=6), st.data())
def test_json_does_not_depend_on_where_the_input_is_cut(lines: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(STAMP + line + b"\n" for line in lines)
    # an agent never cuts a time
    cuts = [0, *(at for at in range(len(whole)) if STAMP not in whole[max(0, at - 30) : at + 30]), len(whole)]
    chosen = sorted(data.draw(st.lists(st.sampled_from(cuts), max_size=5)))
    view = JsonLines()
    ends = [*chosen, len(whole)]
    made = b"".join(view.render(API, whole[begin:end]) for begin, end in zip([0, *chosen], ends, strict=True))
    where = {"node": "rift", "service": "site", "component": "api", "stream": "stdout"}
    assert objects(made) == [
        {"time": STAMP.decode().strip(), **where, "message": line.decode("utf-8", "replace")} for line in lines
    ]


def test_a_line_without_end_is_an_object_at_the_end(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    view = JsonLines()
    view.show([(API, STAMP + b"no newline"), (WEB, b"no time\n")])
    view.end()
    view.end()
    got = objects(capsysbinary.readouterr().out)
    assert [(each["time"], each["message"]) for each in got] == [
        (None, "no time"),
        (STAMP.decode().strip(), "no newline"),
    ]


def test_a_very_long_line_is_several_objects_of_one_time(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    view = JsonLines()
    chunk = b"x" * 300_000
    view.show([(API, STAMP + chunk), *((API, chunk) for _ in range(9)), (API, b"end\n" + STAMP + b"next\n")])
    got = objects(capsysbinary.readouterr().out)
    assert [each["message"] for each in got[-1:]] == ["next"]
    assert "".join(each["message"] for each in got[:-1]) == "x" * 3_000_000 + "end"
    assert {each["time"] for each in got} == {STAMP.decode().strip()}
    assert all(len(each["message"]) < MESSAGE_LIMIT + 300_000 for each in got)
    assert len(got) == 4
