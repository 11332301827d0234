"""What is printed."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from mcp.commands.shared import results
from mcp.terminal import output
from proto.mcp.v1 import mcp_pb2 as pb


def test_a_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("NAME", "STATE"), [["web", "running"], ["a-longer-one", ""], ["x\ny", "\x1b[2J"]])
    assert capsys.readouterr().out == (
        "NAME          STATE\n"  #
        "web           running\n"
        "a-longer-one  -\n"
        "x\\ny          \\x1b[2J\n"
    )


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_rows_that_are_marked_are_red_on_a_terminal_only(
    no_color: str, coloured: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def show() -> list[str]:
        output.table(("NAME", "STATE"), [["web", "exited"], ["db", "running"]], {0})
        output.line("drift", marked=True)
        return capsys.readouterr().out.splitlines()

    plain = ["NAME  STATE", "web   exited", "db    running", "drift"]
    assert show() == plain
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr("os.get_terminal_size", lambda _: os.terminal_size((80, 24)))
    red = [f"\x1b[31m{text}\x1b[0m" for text in plain]
    assert show() == ([plain[0], red[1], plain[2], red[3]] if coloured else plain)


def test_an_empty_table_has_its_headers(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("NAME", "STATE"), [])
    assert capsys.readouterr().out == "NAME  STATE\n"


def test_json_lines_notes_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json([{"a": "ä\n"}])
    output.line("one\nline")
    output.note("to\rstderr")
    output.error("first: wrong\nsecond: \x1b wrong")
    output.error("")
    out, err = capsys.readouterr()
    document, _, rest = out.rpartition("]\n")
    assert json.loads(document + "]") == [{"a": "ä\n"}]
    assert rest == "one\\nline\n"
    assert err == "to\\rstderr\nmcp: first: wrong\nmcp: second: \\x1b wrong\nmcp: \n"


def test_an_error_stands_below_what_was_printed_before_it_also_in_a_pipe() -> None:
    code = (
        "from mcp.terminal import output; output.table(('A',), [['b']]); output.error('c'); output.table(('D',), []); "
    )
    code += "output.note('e')"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    assert done.stdout == b"A\nb\nmcp: c\nD\ne\n"


@pytest.mark.parametrize(
    ("terminal", "environment", "colour"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colour(terminal: bool, environment: dict[str, str], colour: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: terminal))
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert output.wants_colour() is colour


RESULTS = [pb.ComponentResult(name="api", success=True), pb.ComponentResult(name="web", error="image\nis gone")]


def test_results_as_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert results.show("web", "rift", "deployed", RESULTS, False) == 1
    out, err = capsys.readouterr()
    assert out == "web/api: deployed on rift\n"
    assert err.startswith("mcp: web/web: image")
    assert results.show("web", "rift", "deployed", RESULTS[:1], False) == 0


FAILED = pb.ComponentResult(
    name="web",
    error="ended",
    last_lines=[
        pb.LogLine(stream=pb.LOG_STREAM_STDOUT, text="starting"),
        pb.LogLine(stream=pb.LOG_STREAM_STDERR, text="no \x1b configuration"),
    ],
)


def test_the_last_lines_of_a_failure_are_marked_by_stream(capsys: pytest.CaptureFixture[str]) -> None:
    assert results.show("web", "rift", "deployed", [FAILED], False) == 1
    assert capsys.readouterr().err.splitlines() == [
        "mcp: web/web: ended",
        "mcp: web/web: last log lines:",
        "    stdout | starting",
        "    stderr | no \\x1b configuration",
    ]
    assert results.show("web", "rift", "deployed", [FAILED], True) == 1
    assert json.loads(capsys.readouterr().out)[0]["last_lines"] == [
        {"stream": "stdout", "message": "starting"},
        {"stream": "stderr", "message": "no \x1b configuration"},
    ]


def test_notes_are_no_errors(capsys: pytest.CaptureFixture[str]) -> None:
    stopped = pb.ComponentResult(name="api", success=True, notes=["had to be killed"])
    assert results.show("web", "rift", "stopped", [stopped], False) == 0
    assert capsys.readouterr() == ("web/api: stopped on rift\n", "web/api: had to be killed\n")
    assert results.show("web", "rift", "stopped", [stopped], True) == 0
    assert json.loads(capsys.readouterr().out)[0]["notes"] == ["had to be killed"]


def test_results_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert results.show("web", "rift", "deployed", RESULTS, True) == 1
    shown: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    where = {"service": "web", "node": "rift", "unchanged": False, "dropped": None, "notes": [], "last_lines": []}
    assert shown == [
        {**where, "component": "api", "success": True, "error": ""},
        {**where, "component": "web", "success": False, "error": "image\nis gone"},
    ]
