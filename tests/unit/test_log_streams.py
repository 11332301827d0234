"""The agent's merge of several components' logs."""

import asyncio
import time
from collections.abc import AsyncGenerator

import pytest

from agent.logs.inotify import Inotify
from agent.logs.merge import LogBlock, merged
from agent.logs.model import Batch, LogsNowhere, LogSource, Piece, Position
from agent.logs.readers import Readers
from agent.podman.client import Podman
from mcp.shared.errors import InvalidInput, McpError, NotReady


async def component(name: str, *seconds: int, error: Exception | None = None) -> AsyncGenerator[Piece]:
    """A component with a line for each of `seconds`, one batch each, that may then fail."""
    source = LogSource("web", name, f"web-{name}", f"id-{name}", "k8s-file")
    for at, second in enumerate(seconds):
        line = b"2026-11-22T10:00:%02d.000000000Z %d\n" % (second, second)
        yield Piece(source, Batch(line, [(len(line), False)], Position(str(at)), Position(str(at + 1))))
    if error is not None:
        raise error


def shown(*inputs: AsyncGenerator[Piece]) -> tuple[list[LogBlock], McpError | None]:
    """The blocks of a merge, and the error that ended it."""
    blocks: list[LogBlock] = []

    async def go() -> McpError | None:
        try:
            async for block in merged(inputs, [f"web/c{n}" for n in range(len(inputs))], timed=False):
                blocks.append(block)
        except McpError as error:
            return error
        return None

    return blocks, asyncio.run(go())


def text(blocks: list[LogBlock]) -> bytes:
    return b"".join(block.data for block in blocks)


def test_lines_come_by_time_without_their_times() -> None:
    blocks, error = shown(component("a", 1, 4, 5), component("b", 2, 3, 6))
    assert (text(blocks), error) == (b"1\n2\n3\n4\n5\n6\n", None)
    last = {key: place for block in blocks for key, place in block.cursors.items()}
    assert last == {("web", "a"): "id-a/3+0", ("web", "b"): "id-b/3+0"}


def test_one_alone_is_without_its_times_too() -> None:
    assert text(shown(component("a", 1, 2))[0]) == b"1\n2\n"


async def in_turns(number: int, of: int, lines: int) -> AsyncGenerator[Piece]:
    """One of several components that take turns, line by line: its whole log in one batch."""
    source = LogSource("web", f"c{number}", f"web-c{number}", f"id-{number}", "k8s-file")
    data = b"".join(b"2026-11-22T10:00:00.%09dZ %d\n" % (at, at) for at in range(number, lines, of))
    yield Piece(source, Batch(data, [(len(data), False)], Position("0"), Position("1")))


def test_a_line_costs_the_same_among_many_components_as_among_two() -> None:
    lines, spent = 20_000, {}
    for count in (2, 200):
        began = time.process_time()
        blocks, error = shown(*(in_turns(number, count, lines) for number in range(count)))
        spent[count] = time.process_time() - began
        assert (text(blocks), error) == (b"".join(b"%d\n" % at for at in range(lines)), None)
    assert spent[200] < 8 * spent[2]


def test_it_ends_when_its_last_input_ends_while_a_slow_client_takes_a_block() -> None:
    async def caught_up(seconds: float) -> AsyncGenerator[Piece]:
        place = Position("0")
        yield Piece(LogSource("web", "a", "web-a", "id-a", "k8s-file"), Batch(b"", [], place, place, caught_up=True))
        await asyncio.sleep(seconds)

    async def go() -> list[bool]:
        told = []
        async with asyncio.timeout(60):
            async for block in merged([caught_up(0), caught_up(0.05)], ["a", "b"], timed=False):
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


def test_one_that_logs_nowhere_is_named_and_no_error_beside_others() -> None:
    nowhere = LogsNowhere("web-b logs nowhere")
    blocks, error = shown(component("a", 1), component("b", error=nowhere))
    assert (text(blocks), error) == (b"1\n", None)
    assert [block.notice for block in blocks if block.notice] == ["web/c1: web-b logs nowhere"]
    assert shown(component("a", error=LogsNowhere("a")), component("b", error=nowhere))[1] is nowhere


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
    with pytest.raises(LogsNowhere, match="web-api logs nowhere: its log driver is none; set log_driver"):
        readers.pick(LogSource("web", "api", "web-api", "0" * 64, "none"))
