"""The logs of several components: as the agent sends them in turns, and as the client then merges them."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.logs import blocks as agent_blocks
from agent.logs.blocks import LogBlock, in_turns, split
from agent.logs.inotify import Inotify
from agent.logs.model import Batch, LoggingDisabled, LogSource, Piece, Position
from agent.logs.readers import Readers
from agent.logs.wire import responses
from agent.podman.client import Podman
from mcp.config.configuration import Node
from mcp.logs.blocks import Origin
from mcp.logs.follow import NodeLogs
from mcp.logs.merge import END, Lane, Merge
from mcp.logs.view import LogView
from mcp.shared import watermark
from mcp.shared.errors import InvalidInput, McpError, NotReady
from proto.mcp.v1 import mcp_pb2 as pb


def line(second: int) -> bytes:
    """A timed line that says its second."""
    return b"2026-11-22T10:%02d:%02d.000000000Z %d\n" % (second // 60, second % 60, second)


def source(name: str) -> LogSource:
    """A component's container."""
    return LogSource("web", name, f"web-{name}", f"id-{name}", "k8s-file")


async def component(
    name: str, *seconds: int, error: Exception | None = None, size: int = 1, pause: float = 0
) -> AsyncGenerator[Piece]:
    """A component with a line for each of `seconds`, `size` of them in a batch, that may then fail."""
    for at in range(0, len(seconds), size):
        data = b"".join(line(second) for second in seconds[at : at + size])
        await asyncio.sleep(pause)
        place, end = Position(str(at)), Position(str(min(at + size, len(seconds))))
        yield Piece(source(name), Batch(data, [(len(data), False)], place, end))
    if error is not None:
        raise error


def shown(*inputs: AsyncGenerator[Piece]) -> tuple[list[LogBlock], McpError | None]:
    """The blocks that the agent sends, and the error that ended it."""
    blocks: list[LogBlock] = []

    async def go() -> McpError | None:
        try:
            async for block in in_turns(inputs, [f"web/c{n}" for n in range(len(inputs))]):
                blocks.append(block)
        except McpError as error:
            return error
        return None

    return blocks, asyncio.run(go())


class Sent:
    """Stands in for NodeLogs: the agent's blocks, as they come from the wire."""

    node = Node("dev", "127.0.0.1:1")
    service = "web"
    answered = True

    def __init__(self, blocks: Sequence[LogBlock]) -> None:
        self._blocks = blocks

    def blocks(self) -> Iterator[pb.LogsResponse]:
        for block in self._blocks:
            yield from responses(block, runs=True, timed=False)

    def close(self) -> None:
        pass


class Shown(LogView):
    """Keeps what is shown."""

    def __init__(self) -> None:
        self.pieces: list[tuple[str, bytes]] = []

    def render(self, origin: Origin, data: bytes) -> bytes:
        self.pieces.append((origin.component, data))
        return b""

    def marker(self, text: str) -> None:
        self.pieces.append(("", text.encode()))


def merged(blocks: list[LogBlock], *, strip: bool = True) -> Shown:
    """The view to which the client shows the blocks."""
    view = Shown()
    assert Merge(cast("list[NodeLogs]", [Sent(blocks)]), view, strip=strip).run() == 0
    return view


def text(blocks: list[LogBlock]) -> bytes:
    """All lines that the client shows of the blocks."""
    return b"".join(data for name, data in merged(blocks).pieces if name)


def test_lines_come_by_time_without_their_times() -> None:
    blocks, error = shown(component("a", 1, 4, 5), component("b", 2, 3, 6))
    assert (text(blocks), error) == (b"1\n2\n3\n4\n5\n6\n", None)
    last = {key: place for block in blocks for key, place in block.cursors.items()}
    assert last == {("web", "a"): "id-a/3+0", ("web", "b"): "id-b/3+0"}


def held(blocks: list[LogBlock]) -> int:
    """The most bytes of one component that the client had to hold."""
    lane = Lane(cast("NodeLogs", Sent([])), strip=False, with_node=False)
    most = 0
    for response in Sent(blocks).blocks():
        lane.add(response, lane.parse(response))
        lane.release(END if lane.is_live else lane.sure)
        most = max([most, *(sum(len(item[2]) for item in items) for items in lane._items.values())])
    return most


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 300), max_size=40), st.integers(1, 9)), min_size=2, max_size=5),
    st.booleans(),
)
def test_the_client_sorts_all_and_holds_at_most_one_batch_of_each(
    logs: list[tuple[list[int], int]], clocks_are_right: bool
) -> None:
    logs = [(sorted(seconds) if clocks_are_right else seconds, size) for seconds, size in logs]
    blocks, error = shown(*(component(f"c{n}", *seconds, size=size) for n, (seconds, size) in enumerate(logs)))
    assert error is None
    pieces = merged(blocks, strip=False).pieces
    for number, (seconds, _) in enumerate(logs):
        own = b"".join(data for name, data in pieces if name == f"c{number}")
        assert own == b"".join(map(line, seconds)), "each in its own order"
    if clocks_are_right:
        got = b"".join(data for _, data in pieces).splitlines()
        assert all(one[:30] <= other[:30] for one, other in pairwise(got))
    assert held(blocks) <= max(size for _, size in logs) * len(line(300))


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=9) | st.just(b"\n"), st.booleans()), max_size=20),
    st.integers(1, 30),
)
def test_a_large_batch_is_cut_between_lines(runs: list[tuple[bytes, bool]], size: int) -> None:
    data = b"".join(data for data, _ in runs)
    whole = Batch(data, [(len(data), is_stderr) for data, is_stderr in runs], Position("a", 3), Position("b"), "notice")
    parts = list(split(whole, size))
    assert b"".join(part.data for part in parts) == data
    assert [part.notice for part in parts] == ["notice", *[""] * (len(parts) - 1)]
    assert (parts[0].begin, parts[-1].end) == (whole.begin, whole.end)
    assert all(
        one.end == other.begin == Position("a", one.begin.skip + one.data.count(b"\n"))
        for one, other in pairwise(parts)
    )
    assert all(part.data.endswith(b"\n") and size < len(part.data) for part in parts[:-1])
    streams = [is_stderr for part in parts for length, is_stderr in part.runs for _ in range(length)]
    assert streams == [is_stderr for data, is_stderr in runs for _ in data]
    assert all(sum(length for length, _ in part.runs) == len(part.data) for part in parts)


def test_a_component_that_is_far_ahead_waits_for_one_that_is_slow() -> None:
    blocks, _ = shown(component("a", *range(100, 200)), component("b", *range(5), pause=0.02))
    assert text(blocks) == b"".join(b"%d\n" % second for second in (*range(5), *range(100, 200)))
    assert held(blocks) == len(line(100))


def test_nothing_is_kept_of_lines_that_were_shown() -> None:
    lane = Lane(cast("NodeLogs", Sent([])), strip=True, with_node=False)
    blocks, _ = shown(component("a", *range(50)), component("b", *range(50)))
    for response in Sent(blocks).blocks():
        lane.add(response, lane.parse(response))
        lane.release(END if lane.is_live else lane.sure)
    assert (lane.size, lane.due(float("inf"))) == (0, b"")


def test_one_that_says_nothing_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_blocks, "PATIENCE", 0.2)

    async def go() -> list[LogBlock]:
        blocks: list[LogBlock] = []
        async with asyncio.timeout(60):
            async for block in in_turns([component("a", 5, 6), component("b", 1, pause=600)], ["web/a", "web/b"]):
                blocks.append(block)
                if block.caught_up:
                    break
        return blocks

    blocks = asyncio.run(go())
    assert text(blocks) == b"5\n6\n"
    assert [block.watermark for block in blocks if block.data] == [watermark.START, watermark.END]


def test_a_notice_keeps_its_place_among_the_lines_of_its_component() -> None:
    async def noticed() -> AsyncGenerator[Piece]:
        async for piece in component("a", 2, 4):
            piece.batch.notice = "web/a: replaced" if piece.batch.data == line(4) else ""
            yield piece

    blocks, _ = shown(noticed(), component("b", 1, 3, 5))
    of_a = [data for name, data in merged(blocks).pieces if name != "b"]
    assert of_a == [b"2\n", b"web/a: replaced", b"4\n"]


def test_a_plain_client_gets_blocks_of_one_source_without_watermarks() -> None:
    blocks, _ = shown(component("a", 1, 2), component("b", 3))
    got = [response for block in blocks for response in responses(block, runs=False, timed=False)]
    assert {each.component: each.data for each in got if each.component == "b"} == {"b": line(3)}
    assert b"".join(each.data for each in got if each.component == "a") == line(1) + line(2)
    assert not any(each.watermark or each.run_length for each in got)
    assert all(each.data or each.notice or each.caught_up for each in got)


def test_one_alone_is_without_its_times_too() -> None:
    assert text(shown(component("a", 1, 2))[0]) == b"1\n2\n"


async def striped(number: int, of: int, lines: int) -> AsyncGenerator[Piece]:
    """One of several components that take turns, line by line: its whole log in one batch."""
    data = b"".join(b"2026-11-22T10:00:00.%09dZ %d\n" % (at, at) for at in range(number, lines, of))
    yield Piece(source(f"c{number}"), Batch(data, [(len(data), False)], Position("0"), Position("1")))


def test_a_line_costs_the_same_among_many_components_as_among_two() -> None:
    """A merge that looked at every component for each line would cost a hundred times as much."""
    lines, spent = 20_000, {}
    for count in (2, 200):
        began = time.process_time()
        blocks, error = shown(*(striped(number, count, lines) for number in range(count)))
        shown_text = text(blocks)
        spent[count] = time.process_time() - began
        assert (shown_text, error) == (b"".join(b"%d\n" % at for at in range(lines)), None)
    assert spent[200] < 30 * spent[2]


def test_it_ends_when_its_last_input_ends_while_a_slow_client_takes_a_block() -> None:
    async def caught_up(seconds: float) -> AsyncGenerator[Piece]:
        place = Position("0")
        yield Piece(source("a"), Batch(b"", [], place, place, caught_up=True))
        await asyncio.sleep(seconds)

    async def go() -> list[bool]:
        told = []
        async with asyncio.timeout(60):
            async for block in in_turns([caught_up(0), caught_up(0.05)], ["a", "b"]):
                told.append(block.caught_up)
                await asyncio.sleep(0.2)
        return told

    assert asyncio.run(go()) == [True]


def test_one_that_cannot_be_read_is_named_and_the_others_are_shown_before_it_is_an_error() -> None:
    broken = NotReady("the file is not there")
    blocks, error = shown(component("a", 1, 4), component("b", 2, error=broken), component("c", 3))
    assert text(blocks) == b"1\n2\n3\n4\n"
    assert [block.notice for block in blocks if block.notice] == ["web/c1: the file is not there"]
    assert error is broken


def test_one_that_fails_while_a_slow_client_takes_a_notice_is_not_forgotten() -> None:
    async def fails(error: Exception, pause: float) -> AsyncGenerator[Piece]:
        await asyncio.sleep(pause)
        async for piece in component("a", error=error):
            yield piece

    first, second, third = NotReady("first"), LoggingDisabled("second"), NotReady("third")
    notices: list[str] = []

    async def go() -> None:
        inputs = [fails(first, 0), fails(second, 0.05), fails(third, 0.5)]
        async for block in in_turns(inputs, ["web/a", "web/b", "web/c"]):
            notices.append(block.notice)
            await asyncio.sleep(0.2)

    with pytest.raises(NotReady, match="third"):
        asyncio.run(go())
    assert [notice for notice in notices if notice] == ["web/a: first", "web/b: second"]


def test_one_that_logs_nowhere_is_named_and_no_error_beside_others() -> None:
    nowhere = LoggingDisabled("web-b has no log")
    blocks, error = shown(component("a", 1), component("b", error=nowhere))
    assert (text(blocks), error) == (b"1\n", None)
    assert [block.notice for block in blocks if block.notice] == ["web/c1: web-b has no log"]
    assert shown(component("a", error=LoggingDisabled("a")), component("b", error=nowhere))[1] is nowhere


def test_what_is_wrong_with_the_request_ends_it_at_once() -> None:
    wrong = InvalidInput("grep: the expression takes too long")
    blocks, error = shown(component("a", error=wrong), component("b", 1))
    assert error is wrong
    assert not any(block.notice for block in blocks)


def test_a_reader_that_dies_ends_the_merge_at_once() -> None:
    async def endless() -> AsyncGenerator[Piece]:
        async for piece in component("b", 1):
            yield piece
        await asyncio.sleep(600)

    with pytest.raises(KeyError, match="injected"):
        shown(component("a", error=KeyError("injected")), endless())


def test_a_container_without_a_log_is_said_before_podman_is_asked() -> None:
    readers = Readers(Podman("podman", 1), Inotify())
    with pytest.raises(LoggingDisabled, match="web-api has no log: its log driver is none; set log_driver"):
        readers.pick(LogSource("web", "api", "web-api", "0" * 64, "none"))
