"""Merging the logs of nodes: everything comes, each node's lines in its order, and by time as far as clocks allow."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp.config.configuration import Node
from mcp.logs import merge
from mcp.logs.blocks import Origin
from mcp.logs.follow import NodeLogs
from mcp.logs.merge import Lane, Merge
from mcp.logs.view import LogView
from mcp.shared import watermark
from mcp.shared.errors import McpError, Unauthenticated, Unreachable
from proto.mcp.v1 import mcp_pb2 as pb


def at(second: int, text: str = "x") -> bytes:
    """A timed line."""
    return b"2026-11-22T10:%02d:%02d.000000000Z %b\n" % (second // 60, second % 60, text.encode())


@dataclass
class Script:
    """Stands in for NodeLogs: sends what it is told; an event is waited for, a float is a pause, an error its end."""

    name: str
    what: "list[bytes | str | float | threading.Event | McpError | pb.LogsResponse]"
    answered: bool = True
    service: str = "web"
    closed: int = 0
    node: Node = field(init=False)

    def __post_init__(self) -> None:
        """Its node."""
        self.node = Node(self.name, "127.0.0.1:1")

    def close(self) -> None:
        """Count it."""
        self.closed += 1

    def blocks(self) -> "Generator[pb.LogsResponse | str]":
        """What it was told."""
        for each in self.what:
            if isinstance(each, McpError):
                raise each
            if isinstance(each, float):
                time.sleep(each)
            elif isinstance(each, threading.Event):
                each.wait(60)
            elif isinstance(each, bytes):
                yield pb.LogsResponse(data=each, service="web", component="api")
            else:
                yield each
        yield pb.LogsResponse(caught_up=True)


class Seen(LogView):
    """Keeps what it is to show."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.shown: list[tuple[str, bytes]] = []
        self.shown_at: list[float] = []
        self.on_shown: Callable[[bytes], None] = lambda _: None

    def render(self, origin: Origin, data: bytes) -> bytes:
        """Keep it, and write nothing."""
        self.shown.append((origin.node, data))
        self.shown_at.append(time.monotonic())
        self.on_shown(data)
        return b""

    def marker(self, text: str) -> None:
        """Keep it."""
        self.shown.append(("", text.encode()))

    @property
    def text(self) -> bytes:
        """All of it."""
        return b"".join(data for _, data in self.shown)


def merged(*scripts: Script, strip: bool = False) -> tuple[int, Seen]:
    """The exit code, and what is shown."""
    seen = Seen()
    code = Merge(cast("list[NodeLogs]", scripts), seen, strip=strip).run()
    assert all(script.closed == 1 for script in scripts)
    return code, seen


node_lines = st.lists(st.integers(0, 200), max_size=30)


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    """Nobody here is quiet because the machine is busy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge, "QUIET", 60.0)
        yield


@settings(deadline=None, max_examples=40)
@given(st.lists(node_lines, min_size=1, max_size=4), st.integers(1, 7))
def test_histories_come_sorted_however_they_are_cut(nodes: list[list[int]], size: int) -> None:
    scripts: list[Script] = []
    lines: list[bytes] = []
    for number, seconds in enumerate(nodes):
        own = [at(second, f"{number} {index}") for index, second in enumerate(sorted(seconds))]
        blocks = [b"".join(own[begin : begin + size]) for begin in range(0, len(own), size)]
        scripts.append(Script(f"n{number}", [*blocks]))
        lines += own
    code, seen = merged(*scripts)
    got = seen.text.splitlines(keepends=True)
    assert code == 0
    assert sorted(got) == sorted(lines)
    assert all(one[:31] <= other[:31] for one, other in pairwise(got))


@settings(deadline=None, max_examples=40)
@given(node_lines, node_lines)
def test_a_clock_that_goes_back_loses_and_reorders_nothing_of_its_node(one: list[int], other: list[int]) -> None:
    own = [at(second, f"line {index}") for index, second in enumerate(one)]
    code, seen = merged(Script("a", [*own]), Script("b", [at(second) for second in sorted(other)]), strip=False)
    assert code == 0
    assert b"".join(data for node, data in seen.shown if node == "a") == b"".join(own)


def test_times_are_stripped_but_not_from_the_parts_of_a_line() -> None:
    parts: list[bytes | str | float | threading.Event | McpError | pb.LogsResponse] = [
        at(1, "begin")[:-1],
        at(9, "in the line")[:-1],
        b" end\n" + at(3, "y"),
        b"no time\n",
    ]
    _, seen = merged(Script("a", parts), Script("b", [at(2)]), strip=True)
    by_a = b"".join(data for node, data in seen.shown if node == "a")
    assert by_a == b"begin" + at(9, "in the line")[:-1] + b" end\ny\nno time\n"
    assert [node for node, _ in seen.shown] == ["a", "b", "a"]


def test_markers_and_notices_keep_their_place() -> None:
    exited = pb.LogsResponse(service="web", component="api", notice="exited")
    _, seen = merged(Script("a", [at(1), exited, at(3), "a: connection lost", at(5)]), Script("b", [at(2), at(4)]))
    times = [data[17:19] for _, data in seen.shown]
    assert [data for node, data in seen.shown if not node] == [b"a web/api: exited", b"a: connection lost"]
    assert times[0] == b"01"
    assert times[-1] == b"05"


def test_a_node_that_is_silent_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "QUIET", 0.2)
    _, seen = merged(Script("a", [at(5), at(6)]), Script("b", [3.0, at(1)]))
    assert [node for node, _ in seen.shown] == ["a", "b"]
    monkeypatch.setattr(merge, "QUIET", 60.0)
    _, seen = merged(Script("a", [at(5), at(6)]), Script("b", [0.5, at(1)]))
    assert [node for node, _ in seen.shown] == ["b", "a"]


def test_live_lines_are_held_back_for_a_moment_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "HOLD", 2.0)
    live, shown = pb.LogsResponse(caught_up=True), {b"05": threading.Event(), b"08": threading.Event()}
    one = Script("a", [live, 0.2, at(5), shown[b"05"], at(8)])
    other = Script("b", [live, 0.4, at(4), shown[b"08"]])  # it says nothing more, and does not end before
    seen = Seen()
    seen.on_shown = lambda data: shown.get(data[17:19], threading.Event()).set()
    began = time.monotonic()
    Merge(cast("list[NodeLogs]", [one, other]), seen, strip=False).run()
    assert [data[17:19] for _, data in seen.shown] == [b"04", b"05", b"08"]
    assert 2.1 < seen.shown_at[1] - began < 30
    assert seen.shown_at[2] - began < 50, "the other is waited for no longer"


def test_a_node_does_not_run_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "LIMIT", 10_000)
    most = 0
    add = Lane.add

    def watched(self: Lane, block: pb.LogsResponse | str, found: Any) -> None:
        nonlocal most
        add(self, block, found)
        most = max(most, self.size)

    monkeypatch.setattr(Lane, "add", watched)
    _, seen = merged(Script("a", [at(9, "y" * 500)] * 300), Script("b", [0.3, at(1), 0.3, at(2)]))
    assert seen.shown[0][0] == "b"
    assert seen.text.count(b"y\n") == 300
    assert most < 12_000


def sent(component: str, *seconds: int, upto: str, size: int = 1) -> pb.LogsResponse:
    """A block of one of several components, and its watermark: a second, or the end."""
    data = b"".join(at(second, component + "x" * (size - 1)) for second in seconds)
    mark = at(int(upto))[:30].decode() if upto.isdigit() else upto
    return pb.LogsResponse(data=data, service="web", component=component, watermark=mark)


def test_components_and_nodes_are_merged_in_one_place() -> None:
    several = [
        sent("a", 1, 4, 9, upto=watermark.START),
        sent("b", 2, 6, upto="6"),
        sent("b", 10, upto="9"),
        pb.LogsResponse(caught_up=True, watermark=watermark.END),
    ]
    _, seen = merged(Script("one", [*several]), Script("two", [at(3), 0.2, at(5), at(7)]))
    assert [(node, int(data[17:19])) for node, data in seen.shown] == [
        ("one", 1),
        ("one", 2),
        ("two", 3),
        ("one", 4),
        ("two", 5),
        ("one", 6),
        ("two", 7),
        ("one", 9),
        ("one", 10),
    ]


def test_what_a_node_sends_of_one_component_waits_for_its_others_beyond_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(merge, "LIMIT", 10_000)
    ahead = [sent(name, 50, 51, upto=watermark.START, size=9000) for name in "abcd"]
    last: list[Any] = [sent("e", 1, upto="1"), 0.2, sent("e", 59, upto="50"), pb.LogsResponse(watermark=watermark.END)]
    _, seen = merged(Script("one", [*ahead, *last]), Script("two", [at(2)]))
    seconds = [int(line[17:19]) for line in seen.text.splitlines()]
    assert seconds == [1, 2, 50, 50, 50, 50, 51, 51, 51, 51, 59]


def test_the_clock_of_one_component_changes_nothing_for_another() -> None:
    blocks = [sent("a", 9, 3, upto=watermark.START), sent("b", 1, 4, upto="3"), sent("a", 5, upto="4")]
    _, seen = merged(Script("one", [*blocks, pb.LogsResponse(watermark=watermark.END)]))
    assert [line[14:19] + line[-1:] for line in seen.text.splitlines()] == [
        b"00:01b",
        b"00:09a",
        b"00:03a",
        b"00:04b",
        b"00:05a",
    ]


LOST, REFUSED = Unreachable("a: x"), Unauthenticated("a: no")


@pytest.mark.parametrize(
    ("one", "other", "code"), [(LOST, LOST, 4), (LOST, None, 1), (LOST, REFUSED, 1), (None, None, 0)], ids=str
)
def test_the_exit_code_of_several_nodes(
    one: McpError | None, other: McpError | None, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    scripts = [Script(name, [error] if error else [], answered=not error) for name, error in (("a", one), ("b", other))]
    assert merged(*scripts)[0] == code
    assert len(capsys.readouterr().err.splitlines()) == sum(error is not None for error in (one, other))


def test_a_refusal_everywhere_is_raised_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Unauthenticated):
        merged(Script("a", [REFUSED], answered=False), Script("b", [REFUSED], answered=False))
    assert capsys.readouterr().err == ""
