"""--grep and --exclude: a reader of only those lines of another reader that are wanted.

Expressions are Python's, for bytes, and are searched in the message alone: without its time and its newline. They run
in a process of their own (grep_worker.py), since no thread can be stopped that one of them keeps for ever.
"""

import asyncio
import json
import struct
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from agent.logs import grep_worker
from agent.logs.model import Batch, LogReader, LogSource, Position, Reading
from agent.tasks import create_guarded_task
from mcp.shared import proc, resources
from mcp.shared.errors import InvalidInput, McpError, Unavailable, shown

PATTERNS = 20
PATTERN_LENGTH = 1000  # characters
START_LIMIT = 10.0  # seconds that the process may take to start
LIMIT = 2.0  # seconds that it may take for one batch


class Filter:
    """What one request wants of lines; used as a context, in which its process runs.

    Raises InvalidInput for expressions that are wrong, or too many or too long, and later for those that take too
    long: then every reader that uses the filter ends so.
    """

    def __init__(self, grep: Sequence[str], exclude: Sequence[str] = (), *, ignore_case: bool = False) -> None:
        """Lines are wanted that one of `grep` is found in, if any are given, and none of `exclude`."""
        for option, patterns in (("grep", grep), ("exclude", exclude)):
            if len(patterns) > PATTERNS:
                raise InvalidInput(f"{option}: {len(patterns)} expressions are too many", f"at most {PATTERNS}")
            for pattern in patterns:
                if len(pattern) > PATTERN_LENGTH:
                    raise InvalidInput(f"{option}: {shown(pattern, 20)} is longer than {PATTERN_LENGTH} characters")
        self._asked = json.dumps({"grep": [*grep], "exclude": [*exclude], "ignore_case": ignore_case}).encode()
        self._option = "grep" if grep else "exclude"
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._questions: set[asyncio.Task[bytes]] = set()
        self._failure: McpError | None = None

    async def __aenter__(self) -> Self:
        """Start the process."""
        self._process = await proc.start(resources.module_argv(grep_worker), pipe_stdin=True, dies_with_us=True)
        try:
            if complaint := await self._ask(self._asked, START_LIMIT):
                raise InvalidInput(complaint.decode(errors="replace"))
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        await self._end()

    async def _end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(asyncio.CancelledError):
                await asyncio.shield(proc.end(self._process))
        for question in self._questions:
            question.cancel()
        await asyncio.gather(*self._questions, return_exceptions=True)

    def over(self, reader: LogReader) -> "FilteredReader":
        """A reader of the lines of `reader` that are wanted."""
        return FilteredReader(self, reader)

    async def wanted(self, batch: Batch, timed: bool, begun: str) -> tuple[Batch, str]:
        """What is wanted of a batch of one source, with its positions as they are.

        `begun` is what became of the line that stdout and stderr, in this order, are within: `k` kept, `d` dropped, `-`
        for none. The first part of a line decides. Returned is the same at the end of the batch.
        """
        if not batch.data:
            return batch, begun
        runs = [length << 1 | is_stderr for length, is_stderr in batch.runs]
        head = f"{'t' if timed else '-'}{begun}".encode() + struct.pack(f">I{len(runs)}I", len(runs), *runs)
        # a task of its own: a reader that is cancelled must not leave an answer that the next one takes for its own
        question = create_guarded_task(self._ask(head + batch.data, LIMIT), self._option, expected=(McpError,))
        self._questions.add(question)
        question.add_done_callback(self._questions.discard)
        answer = await asyncio.shield(question)
        count = int.from_bytes(answer[3:7], "big")
        place = 7 + 4 * count
        kept = [(run >> 1, bool(run & 1)) for run in struct.unpack(f">{count}I", answer[7:place])]
        return replace(batch, data=answer[place:], runs=kept), answer[1:3].decode()

    async def _ask(self, frame: bytes, seconds: float) -> bytes:
        process = self._process
        assert process is not None, "a filter is used as a context"
        assert process.stdin is not None
        assert process.stdout is not None
        async with self._turn:
            if self._failure is not None:
                raise self._failure
            try:
                async with asyncio.timeout(seconds):
                    process.stdin.write(len(frame).to_bytes(4, "big") + frame)
                    await process.stdin.drain()
                    return await process.stdout.readexactly(int.from_bytes(await process.stdout.readexactly(4), "big"))
            except TimeoutError:
                await proc.end(process)
                what = f"{self._option}: the expression takes too long, more than {seconds:g} s for a block of the log"
                self._failure = InvalidInput(what, "make it simpler, without repetitions of repetitions")
            except (asyncio.IncompleteReadError, ConnectionError):
                what = f"{self._option}: the process that looks for it ended"
                self._failure = Unavailable(what, "make the expression simpler: it may have taken too much memory")
            raise self._failure


class FilteredReader:
    """A reader of some of the lines of another one.

    Its positions name the place of the reader below before a whole batch, and what became of the line that this place
    may be within; `skip` counts, from there on, the lines (the newlines) that were wanted. They are exact with the same
    filter. A tail is of the lines that are wanted. A batch may be empty: its `end` is news.
    """

    def __init__(self, wanted: Filter, below: LogReader) -> None:
        """Lines of `below` that are `wanted`."""
        self._filter = wanted
        self._below = below

    async def read(self, source: LogSource, reading: Reading) -> AsyncGenerator[Batch]:
        """As Reader; raises also what the filter raises, and InvalidInput for a position that no filter gave."""
        if reading.after is None and reading.window.tail:
            reading = await self._from_tail(source, reading)
        async with aclosing(self._all(source, reading)) as batches:
            async for batch in batches:
                yield batch

    async def _all(self, source: LogSource, reading: Reading) -> AsyncGenerator[Batch]:
        begun, below, skip = "--", reading, 0
        if reading.after is not None:
            begun, after, skip = _unpacked(reading.after)
            below = replace(reading, after=after)
        async with aclosing(self._below.read(source, below)) as batches:
            async for raw in batches:
                before = begun
                batch, begun = await self._filter.wanted(raw, reading.timed, begun)
                batch.begin, batch.end = _packed(before, raw.begin), _packed(begun, raw.end)
                if skip:
                    skip -= cut(batch, skip)
                yield batch

    async def _from_tail(self, source: LogSource, reading: Reading) -> Reading:
        """The reading that begins with the last lines: they are counted first, since nobody knows which are wanted.

        Only places are remembered, and not what is there, however many lines are asked for.
        """
        tail = reading.window.tail or 0
        everything = replace(reading, window=replace(reading.window, tail=None), follow=None)
        starts: deque[tuple[Position, int]] = deque()
        total, unfinished, end = 0, False, None
        async with aclosing(self._all(source, everything)) as batches:
            async for batch in batches:
                end = batch.end
                if not batch.data:
                    continue
                lines = batch.data.count(b"\n")
                starts.append((batch.begin, lines))
                total += lines
                unfinished = not batch.data.endswith(b"\n")
                while len(starts) > 1 and total - starts[0][1] > tail:
                    total -= starts.popleft()[1]
        if end is None:
            return replace(everything, follow=reading.follow)  # all that comes is new
        begin = starts[0][0] if starts else end
        surplus = max(0, total - (tail - unfinished))
        after = Position(begin.place, begin.skip + surplus)
        return replace(everything, follow=reading.follow, after=after)


def cut(batch: Batch, lines: int) -> int:
    """Take the first lines off a batch, at most so many, and say how many these were."""
    left, place, runs = lines, 0, list(batch.runs)
    while runs and left:
        length, is_stderr = runs[0]
        found = batch.data.count(b"\n", place, place + length)
        if found <= left and (found < left or batch.data[place + length - 1] == 10):
            left -= found
            place += length
            del runs[0]
            continue
        end = place
        for _ in range(left):
            end = batch.data.index(b"\n", end) + 1
        runs[0] = (length - (end - place), is_stderr)
        left, place = 0, end
    batch.data, batch.runs = batch.data[place:], runs
    batch.begin = Position(batch.begin.place, batch.begin.skip + lines - left)
    return lines - left


def _packed(begun: str, below: Position) -> Position:
    return Position(begun + str(below))


def _unpacked(position: Position) -> tuple[str, Position, int]:
    begun, below = position.place[:2], position.place[2:]
    try:
        if len(begun) != 2 or not set(begun) <= set("kd-"):
            raise ValueError
        return begun, Position.parse(below), position.skip
    except ValueError:
        raise InvalidInput("cursor: is not of a call with these filters", "begin again without it") from None
