"""--grep and --exclude: which lines are wanted, exactly, and what an expression cannot do to the agent."""

import asyncio
import itertools
import os
import re
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.logs import grep
from agent.logs.grep import Filter, cut
from agent.logs.model import TIME_WIDTH, Batch, LogReader, LogSource, Position, Reading, Window
from mcp.shared.errors import InvalidInput, Unavailable

SOURCE = LogSource("web", "api", "web-api", "f00d", "k8s-file")
TIME = b"2026-11-22T10:19:26.532885487Z "
Pieces = Sequence[tuple[bytes, bool]]  # whole lines, or parts of lines, each with whether it is stderr


@pytest.fixture(autouse=True, scope="module")
def _patience() -> Iterator[None]:
    """How long an expression takes on a busy machine says nothing, but to the tests that set the limit themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grep, "LIMIT", 120.0)
        yield


@dataclass
class Pretended:
    """A reader of given pieces: those of each batch; its places are numbers of batches, as skip counts newlines."""

    batches: Sequence[Pieces]

    async def read(self, source: LogSource, reading: Reading) -> AsyncGenerator[Batch]:
        assert source is SOURCE
        assert reading.window.tail is None or reading.window.tail == 0
        first = int(reading.after.place) if reading.after else 0
        for number in range(first, len(self.batches)):
            data = b"".join(piece for piece, _ in self.batches[number])
            runs = [(len(piece), is_stderr) for piece, is_stderr in self.batches[number]]
            batch = Batch(data, runs, Position(str(number)), Position(str(number + 1)))
            if reading.after and number == first:
                cut(batch, reading.after.skip)
            if reading.window.tail != 0:
                yield batch
        yield Batch(b"", [], Position(str(len(self.batches))), Position(str(len(self.batches))), caught_up=True)


def whole(*lines: bytes, is_stderr: bool = False) -> Pieces:
    return [(line + b"\n", is_stderr) for line in lines]


async def gather(reader: LogReader, reading: Reading) -> list[Batch]:
    async with aclosing(reader.read(SOURCE, reading)) as batches:
        return [batch async for batch in batches]


def read(wanted: Filter, batches: Sequence[Pieces], reading: Reading | None = None) -> list[Batch]:
    async def work() -> list[Batch]:
        async with wanted:
            return await gather(wanted.filtered(Pretended(batches)), reading or Reading())

    return asyncio.run(work())


def text(batches: Sequence[Batch]) -> bytes:
    return b"".join(batch.data for batch in batches)


LINES = (b"GET /a 200", b"get /b 404", b"", b"POST /a 500 \xff\0\r", "größe 7".encode())


@pytest.mark.parametrize(
    ("grep", "exclude", "ignore_case", "found"),
    [
        (["GET"], [], False, (0,)),
        (["GET"], [], True, (0, 1)),
        (["GET", "POST"], [], False, (0, 3)),
        (["/a"], ["POST"], False, (0,)),
        ([], ["/[ab]"], False, (2, 4)),
        ([], ["GET", "404"], False, (2, 3, 4)),
        (["^$"], [], False, (2,)),
        (["00$"], [], False, (0,)),
        (["\\r\\Z"], [], False, (3,)),
        (["^get"], [], False, (1,)),
        (["größe"], [], False, (4,)),
        ([""], [], False, (0, 1, 2, 3, 4)),
        ([r"\n"], [], False, ()),
    ],
)
@pytest.mark.parametrize("timed", [False, True])
def test_the_message_alone_is_searched(
    grep: list[str], exclude: list[str], ignore_case: bool, found: tuple[int, ...], timed: bool
) -> None:
    lines = [(TIME if timed else b"") + line for line in LINES]
    batches = read(Filter(grep, exclude, ignore_case=ignore_case), [whole(*lines)], Reading(timed=timed))
    assert text(batches) == b"".join(lines[number] + b"\n" for number in found)
    assert batches[-1].caught_up


def test_the_width_of_a_time_is_that_of_the_readers() -> None:
    assert len(TIME) == TIME_WIDTH


def test_runs_tell_the_streams_apart() -> None:
    pieces = [
        *whole(b"out 1", b"no"),
        *whole(b"err 1", is_stderr=True),
        *whole(b"no", is_stderr=True),
        *whole(b"out 2"),
    ]
    batches = read(Filter(["[12]"]), [pieces])
    assert batches[0].data == b"out 1\nerr 1\nout 2\n"
    assert batches[0].runs == [(6, False), (6, True), (6, False)]


def test_the_first_part_of_a_line_decides() -> None:
    parts: list[Pieces] = [
        [(b"want", False), (b"not", True)],
        [(b" and", False), (b" want", True)],
        [(b" more\nno\n", False), (b" more\nwant\n", True)],
    ]
    assert [batch.data for batch in read(Filter(["want"]), parts)] == [b"want", b" and", b" more\nwant\n", b""]


def test_notices_pass() -> None:
    async def noted(_source: LogSource, _reading: Reading) -> AsyncGenerator[Batch]:
        yield Batch(b"", [], Position("0"), Position("0"), notice="lines may be missing")

    class Noting:
        read = staticmethod(noted)

    async def work() -> list[Batch]:
        async with Filter(["x"]) as wanted:
            return await gather(wanted.filtered(Noting()), Reading())

    assert [batch.notice for batch in asyncio.run(work())] == ["lines may be missing"]


@pytest.mark.parametrize(("tail", "found"), [(0, b""), (1, b"a6\n"), (3, b"a2\na4\na6\n"), (9, b"a0\na2\na4\na6\n")])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_a_tail_is_of_the_lines_that_are_wanted(tail: int, found: bytes, size: int) -> None:
    lines = [f"{'ab'[number % 2]}{number}".encode() for number in range(8)]
    batches = [whole(*lines[at : at + size]) for at in range(0, 8, size)]
    assert text(read(Filter(["a"]), batches, Reading(Window(tail=tail)))) == found


def test_a_line_without_an_end_is_one_of_the_tail() -> None:
    pieces: list[Pieces] = [whole(b"a1", b"a2"), [(b"a3", False)]]
    assert text(read(Filter(["a"]), pieces, Reading(Window(tail=2)))) == b"a2\na3"
    assert text(read(Filter(["a"]), pieces, Reading(Window(tail=1)))) == b"a3"


def test_a_tail_of_nothing() -> None:
    assert text(read(Filter(["a"]), [], Reading(Window(tail=5)))) == b""
    assert text(read(Filter(["x"]), [whole(b"a")], Reading(Window(tail=5)))) == b""


# --- generated logs, against a plain reference ---

lines = st.lists(
    st.tuples(st.text("ab\r x", max_size=4).map(str.encode), st.booleans(), st.integers(0, 4), st.booleans()),
    max_size=12,
)


def in_batches(generated: list[tuple[bytes, bool, int, bool]]) -> list[Pieces]:
    """Lines as pieces: one that has 2 or more as its third member comes in two parts; the fourth ends the batch."""
    batches: list[list[tuple[bytes, bool]]] = [[]]
    for line, is_stderr, parts, ends in generated:
        if parts > 1:
            batches[-1].append((line[:parts] or b"b", is_stderr))
            batches.append([(line[parts:] + b"\n", is_stderr)])
        else:
            batches[-1].append((line + b"\n", is_stderr))
        if ends:
            batches.append([])
    return list(batches)


def reference(batches: Sequence[Pieces], pattern: bytes) -> bytes:
    """The lines whose first part matches, piece by piece."""
    found, begun = b"", [b"", b""]
    for piece, is_stderr in itertools.chain(*batches):
        decision = begun[is_stderr] or (b"k" if re.search(pattern, piece.removesuffix(b"\n")) else b"d")
        found += piece if decision == b"k" else b""
        begun[is_stderr] = b"" if piece.endswith(b"\n") else decision
    return found


@settings(max_examples=40, deadline=None)
@given(lines, st.sampled_from(["a", "^b", "x$", "[^a]$", "^$"]))
def test_any_log_and_from_any_line_on(generated: list[tuple[bytes, bool, int, bool]], pattern: str) -> None:
    pieces = in_batches(generated)
    expected = reference(pieces, pattern.encode())

    async def work() -> None:
        async with Filter([pattern]) as wanted:
            reader = wanted.filtered(Pretended(pieces))
            batches = await gather(reader, Reading())
            assert text(batches) == expected
            assert all(sum(length for length, _ in batch.runs) == len(batch.data) for batch in batches)
            seen = b""
            for batch in batches:
                ended = [line + b"\n" for line in batch.data.split(b"\n")[:-1]]
                for count in range(len(ended)):
                    after = Position.parse(str(Position(batch.begin.place, batch.begin.skip + count)))
                    resumed = await gather(reader, Reading(after=after))
                    assert seen + b"".join(ended[:count]) + text(resumed) == expected
                seen += batch.data
                assert seen + text(await gather(reader, Reading(after=batch.end))) == expected

    asyncio.run(work())


# --- what an expression cannot do ---

EVIL = "(a+)+$"  # takes for ever on a line of a's that ends otherwise
EVIL_LINE = b"a" * 64 + b"!"


def processes() -> set[int]:
    """Our children."""
    found = set()
    for folder in filter(str.isdigit, (path.name for path in Path("/proc").iterdir())):
        try:
            fields = Path(f"/proc/{folder}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(folder))
    return found


def test_an_expression_that_takes_for_ever_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grep, "LIMIT", 1.0)

    async def work() -> None:
        before = processes()
        async with Filter([EVIL]) as wanted:
            assert len(processes() - before) == 1
            reading = asyncio.gather(
                *(gather(wanted.filtered(Pretended([whole(EVIL_LINE)])), Reading()) for _ in range(3)),
                return_exceptions=True,
            )
            ticks = 0
            began = time.monotonic()
            while not reading.done():
                await asyncio.sleep(0.01)
                ticks += 1
            errors = await reading
            assert {type(error) for error in errors} == {InvalidInput}
            assert str(errors[0]).startswith("grep: the expression takes too long, more than 1 s")
            assert time.monotonic() - began < 10
            assert ticks > 10  # the event loop was free
        assert processes() == before

    asyncio.run(work())


def test_one_that_is_waited_for_no_longer_mixes_nothing_up() -> None:
    async def work() -> None:
        async with Filter(["a"]) as wanted:
            slow = asyncio.create_task(gather(wanted.filtered(Pretended([whole(*[b"a"] * 100_000)])), Reading()))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            slow.cancel()
            assert text(await gather(wanted.filtered(Pretended([whole(b"a 2", b"b")])), Reading())) == b"a 2\n"

    asyncio.run(work())


def test_a_process_that_was_killed_is_said() -> None:
    async def work() -> None:
        before = processes()
        async with Filter(["a"]) as wanted:
            (worker,) = processes() - before
            os.kill(worker, 9)
            await gather(wanted.filtered(Pretended([whole(b"a")])), Reading())

    with pytest.raises(Unavailable, match="grep: the search process ended unexpectedly"):
        asyncio.run(work())


@pytest.mark.parametrize(
    ("grep", "exclude", "error"),
    [
        (["("], [], r"^grep: \(: missing \), unterminated subpattern at position 0$"),
        ([], ["a{2,1}"], r"^exclude: a\{2,1\}: min repeat greater than max repeat"),
        (["(?u)a"], [], "grep: .*bad inline flags"),
        (["a" * 1001], [], 'grep: "a{20}…" is longer than 1000 characters'),
        ([], ["a"] * 21, "exclude: 21 expressions are too many; at most 20"),
        (["\n("], [], r"grep: \\n\(: missing"),
    ],
)
def test_expressions_that_are_wrong(grep: list[str], exclude: list[str], error: str) -> None:
    before = processes()
    with pytest.raises(InvalidInput, match=error):
        read(Filter(grep, exclude), [])
    assert processes() == before


@pytest.mark.parametrize("place", ["", "--", "xx1+0", "k1+0", "--1"])
def test_a_position_that_no_filter_gave(place: str) -> None:
    with pytest.raises(InvalidInput, match="cursors: not of a call with these filters"):
        read(Filter(["a"]), [], Reading(after=Position(place)))
