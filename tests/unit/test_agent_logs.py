"""The agent's side of logs: blocks of whole lines, whatever the pieces in which podman writes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.logs import podman_logs as logs
from agent.logs.model import LINE_LIMIT, Batch, LogSource, Position, Reading, Window
from agent.logs.podman_logs import PodmanReader, TimedBlock
from agent.podman.client import Podman
from mcp.shared.errors import InvalidInput, NotReady


async def pump(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    """What comes out of the pump for these pieces, and what it returns for an error message."""
    stream = asyncio.StreamReader()
    queue: asyncio.Queue[TimedBlock | BaseException | None] = asyncio.Queue()

    async def feed() -> None:
        for piece in pieces:
            stream.feed_data(piece)
            for _ in range(3):
                await asyncio.sleep(0)
        stream.feed_eof()

    _, last = await asyncio.gather(feed(), logs._pump(stream, True, queue))
    blocks = []
    while not queue.empty():
        block = queue.get_nowait()
        assert isinstance(block, TimedBlock)
        assert block.is_stderr
        blocks.append(block.data)
    return blocks, last


@given(st.lists(st.binary(min_size=1, max_size=5) | st.sampled_from([b"\n", b"a\nb\nc", b"no end"]), max_size=8))
def test_blocks_are_whole_lines_and_nothing_is_lost(pieces: list[bytes]) -> None:
    blocks, last = asyncio.run(pump(pieces))
    assert b"".join(blocks) == b"".join(pieces)
    assert all(block.endswith(b"\n") for block in blocks[:-1])
    assert b"" not in blocks
    assert last == (blocks[-1] if blocks else b"")


def test_a_very_long_line_comes_in_parts() -> None:
    piece = b"x" * (LINE_LIMIT // 2 + 1)
    blocks, _ = asyncio.run(pump([piece, piece, piece, b"\nnext\n"]))
    assert len(blocks) == 2
    assert len(blocks[0]) > LINE_LIMIT
    assert b"".join(blocks) == piece * 3 + b"\nnext\n"


PODMAN = """#!/bin/sh
[ "$1" = logs ] || exit 1
[ -e "$0.fails" ] && { echo 'Error: this container is using the "none" log driver' >&2; exit 125; }
cat "$0.out"; cat "$0.err" >&2
"""
OUT = [
    (b"2026-11-22T10:19:26.000000001+00:00", b"one\r\n"),
    (b"2026-11-22T12:19:27.000000000+02:00", b"two\n"),
    (b"2026-11-22T10:19:27.000000000+00:00", b"2026-11-22T10:19:27.000000000+00:00 three\n"),
    (b"2026-11-22T10:19:29.500000000+00:00", b"five\n"),
]
ERR = [(b"2026-11-22T10:19:28.000000000+00:00", b"four\n")]
SECOND = 1_795_342_766 * 10**9  # 10:19:26


@pytest.fixture
def podman(tmp_path: Path) -> Path:
    """A podman that says OUT and ERR with --timestamps, or fails where a file NAME.fails is there."""
    program = tmp_path / "podman"
    program.write_text(PODMAN)
    program.chmod(0o755)
    for name, lines in (("out", OUT), ("err", ERR)):
        (tmp_path / f"podman.{name}").write_bytes(b"".join(stamp + b" " + line for stamp, line in lines))
    return program


async def collect(podman: Path, reading: Reading) -> list[Batch]:
    source = LogSource("web", "api", "web-api", "0" * 64, "other")
    return [batch async for batch in PodmanReader(Podman(str(podman), 10.0)).read(source, reading)]


def shown(podman: Path, **reading: Any) -> tuple[bytes, bytes]:
    """Standard output and error; every batch of this reader is of one stream."""
    batches = asyncio.run(collect(podman, Reading(**reading)))
    assert [batch.caught_up for batch in batches] == [*[False] * (len(batches) - 1), True]
    parts = [b"".join(b.data for b in batches if b.runs and b.runs[0][1] == stream) for stream in (False, True)]
    return parts[0], parts[1]


def test_podman_s_lines_come_without_its_stamps(podman: Path) -> None:
    assert shown(podman) == (b"".join(line for _, line in OUT), b"four\n")
    timed, _ = shown(podman, timed=True)
    assert timed.startswith(b"2026-11-22T10:19:26.000000001Z one\r\n2026-11-22T10:19:27.000000000Z two\n")


def test_podman_s_lines_have_a_window_and_then_a_tail(podman: Path) -> None:
    assert shown(podman, window=Window(since=SECOND + 2)) == (b"".join(line for _, line in OUT[1:]), b"four\n")
    assert shown(podman, window=Window(until=SECOND + 2 * 10**9)) == (b"".join(line for _, line in OUT[:3]), b"")
    assert shown(podman, window=Window(tail=2)) == (b"five\n", b"four\n")
    assert shown(podman, window=Window(tail=0)) == (b"", b"")


def test_podman_s_lines_go_on_after_a_place(podman: Path) -> None:
    first = next(batch for batch in asyncio.run(collect(podman, Reading())) if not batch.runs[0][1])
    for lines in range(5):
        after = Position(first.begin.place, first.begin.skip + lines)
        assert shown(podman, after=after)[0] == b"".join(line for _, line in OUT[lines:])
    assert shown(podman, after=first.end)[0] == b""
    with pytest.raises(InvalidInput, match="not one of podman logs"):
        shown(podman, after=Position("s=1"))


@pytest.mark.parametrize("tail", [1, 2, 3, 4, 5, 100])
def test_a_client_that_was_cut_off_within_podman_s_tail_gets_the_rest(podman: Path, tail: int) -> None:
    def streams(batches: list[Batch]) -> tuple[bytes, ...]:
        return tuple(b"".join(b.data for b in batches if b.runs and b.runs[0][1] == stream) for stream in (False, True))

    batches = asyncio.run(collect(podman, Reading(Window(tail=tail))))
    data = [batch for batch in batches if batch.data]
    assert sum(batch.data.count(b"\n") for batch in data) == min(tail, len(OUT) + len(ERR))
    for number, batch in enumerate(data):
        lines = batch.data.splitlines(keepends=True)
        for taken in range(len(lines) + 1):
            after = Position(batch.begin.place, batch.begin.skip + taken)
            rest = Batch(b"".join(lines[taken:]), batch.runs, after, batch.end)
            assert shown(podman, after=after) == streams([rest, *data[number + 1 :]])
        assert shown(podman, after=batch.end) == streams(data[number + 1 :])


@pytest.mark.parametrize(("broken", "kind"), [("_pump", ExceptionGroup), ("logs_argv", KeyError)])
def test_a_reader_whose_task_dies_ends_with_its_error(
    podman: Path, monkeypatch: pytest.MonkeyPatch, broken: str, kind: type[Exception]
) -> None:
    def fails(*_args: object, **_options: object) -> None:
        raise KeyError("injected")

    async def read() -> None:
        async with asyncio.timeout(60):
            await collect(podman, Reading())

    monkeypatch.setattr(logs, broken, fails)
    with pytest.raises(kind) as raised:
        asyncio.run(read())
    errors = raised.value.exceptions if isinstance(raised.value, ExceptionGroup) else [raised.value]
    assert [repr(error) for error in errors] == ["KeyError('injected')"]


def test_following_podman_says_only_what_is_new(podman: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "POLL", 0.01)

    async def follow() -> list[Batch]:
        end = asyncio.Event()
        batches: list[Batch] = []
        source = LogSource("web", "api", "web-api", "0" * 64, "other")
        async for batch in PodmanReader(Podman(str(podman), 10.0)).read(source, Reading(Window(tail=0), follow=end)):
            if batch.caught_up and not batches:
                with podman.with_suffix(".out").open("ab") as out:
                    out.write(OUT[-1][0] + b" six\n")
            batches.append(batch)
            if batch.data:
                end.set()
        return batches

    assert b"".join(batch.data for batch in asyncio.run(follow())) == b"six\n"


def test_podman_s_last_words_are_the_error(podman: Path) -> None:
    podman.with_suffix(".fails").touch()
    with pytest.raises(NotReady, match='using the "none" log driver'):
        shown(podman)
