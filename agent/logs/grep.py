"""Filter the lines of a reader by --grep and --exclude.

Expressions are Python's, for bytes, and are searched in the message alone, without its time and newline. They run in a
process of their own (grep_worker.py), since a thread in a catastrophic expression cannot be stopped.
"""

import asyncio
import json
import struct
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from agent.logs import grep_worker
from agent.logs.model import Batch, LogReader, LogSource, Position, Reading
from agent.tasks import create_guarded_task
from mcp.shared import proc, resources
from mcp.shared.errors import InvalidInput, McpError, Unavailable, shown
from mcp.shared.times import in_seconds

PATTERNS = 20
PATTERN_LENGTH = 1000  # characters
START_LIMIT = 10.0  # seconds for the start of the process
LIMIT = 2.0  # seconds for one batch
WORKERS = 16  # processes that search at once


class Workers:
    """The processes that search: at most WORKERS, others wait. Idle ones are kept while any filter is in use."""

    def __init__(self) -> None:
        """Start none yet."""
        self._places = asyncio.Semaphore(WORKERS)
        self._idle: list[asyncio.subprocess.Process] = []
        self._filters = 0

    def open(self) -> None:
        """Note that a filter is in use."""
        self._filters += 1

    async def close(self) -> None:
        """Note that a filter is in use no longer."""
        self._filters -= 1
        while self._idle and not self._filters:
            await _end(self._idle.pop())

    @asynccontextmanager
    async def one(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """Lend a process for one exchange; it is ended after one that fails. Raises McpError."""
        async with self._places:
            process = self._idle.pop() if self._idle else await _start()
            try:
                yield process
            except BaseException:
                await _end(process)
                raise
            if self._filters:
                self._idle.append(process)
            else:
                await _end(process)


async def _start() -> asyncio.subprocess.Process:
    process = await proc.start(resources.module_argv(grep_worker), pipe_stdin=True, dies_with_us=True)
    try:
        async with asyncio.timeout(START_LIMIT):
            await _exchange(process, NOTHING, b"")  # so that its start is not counted as a search
    except BaseException as error:
        await _end(process)
        if isinstance(error, TimeoutError | asyncio.IncompleteReadError | ConnectionError):
            raise Unavailable("the search process does not start") from None
        raise
    return process


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(asyncio.CancelledError):
            await asyncio.shield(proc.end(process))


async def _exchange(process: asyncio.subprocess.Process, *frames: bytes) -> bytes:
    """Send the frames of a request, and return the answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    for frame in frames:
        process.stdin.write(len(frame).to_bytes(4, "big") + frame)
    await process.stdin.drain()
    return await process.stdout.readexactly(int.from_bytes(await process.stdout.readexactly(4), "big"))


class Filter:
    """The line filter of one request; a context manager.

    Raises InvalidInput for expressions that are malformed, too many or too long; and for one that runs too long, in
    every reader that uses the filter.
    """

    def __init__(
        self,
        grep: Sequence[str],
        exclude: Sequence[str] = (),
        *,
        ignore_case: bool = False,
        workers: Workers | None = None,
    ) -> None:
        """Select the lines that match any of `grep`, if given, and none of `exclude`, in one of the `workers`."""
        for option, patterns in (("grep", grep), ("exclude", exclude)):
            if len(patterns) > PATTERNS:
                raise InvalidInput(f"{option}: {len(patterns)} expressions are too many", f"at most {PATTERNS}")
            for pattern in patterns:
                if len(pattern) > PATTERN_LENGTH:
                    raise InvalidInput(f"{option}: {shown(pattern, 20)} is longer than {PATTERN_LENGTH} characters")
        self._patterns = _patterns(grep, exclude, ignore_case=ignore_case)
        self._option = "grep" if grep else "exclude"
        self._workers = workers or Workers()
        self._lock = asyncio.Lock()
        self._exchanges: set[asyncio.Task[bytes]] = set()
        self._failure: McpError | None = None

    async def __aenter__(self) -> Self:
        """Check the expressions."""
        self._workers.open()
        try:
            await self._exchange(b"")
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the exchanges in progress."""
        await self._end()

    async def _end(self) -> None:
        for exchange in self._exchanges:
            exchange.cancel()
        await asyncio.gather(*self._exchanges, return_exceptions=True)
        await self._workers.close()

    def filtered(self, reader: LogReader) -> "FilteredReader":
        """Return a reader of the matching lines of `reader`."""
        return FilteredReader(self, reader)

    async def select(self, batch: Batch, timed: bool, open_lines: str) -> tuple[Batch, str]:
        """Return the matching lines of a batch, with unchanged positions, and `open_lines` after the batch.

        `open_lines` is the state of the unfinished lines of stdout and stderr before the batch: `k` kept, `d` dropped,
        `-` none. The first part of a line decides.
        """
        if not batch.data:
            return batch, open_lines
        runs = [length << 1 | is_stderr for length, is_stderr in batch.runs]
        head = f"{'t' if timed else '-'}{open_lines}".encode() + struct.pack(f">I{len(runs)}I", len(runs), *runs)
        # a task of its own: a cancelled reader must not leave an answer that the next one takes for its own
        exchange = create_guarded_task(self._exchange(head + batch.data), self._option, expected=(McpError,))
        self._exchanges.add(exchange)
        exchange.add_done_callback(self._exchanges.discard)
        answer = await asyncio.shield(exchange)
        count = int.from_bytes(answer[3:7], "big")
        offset = 7 + 4 * count
        selected = [(run >> 1, bool(run & 1)) for run in struct.unpack(f">{count}I", answer[7:offset])]
        return replace(batch, data=answer[offset:], runs=selected), answer[1:3].decode()

    async def _exchange(self, lines: bytes) -> bytes:
        """Have lines searched, and return the answer. Raises McpError."""
        async with self._lock:
            if self._failure is not None:
                raise self._failure
            try:
                async with self._workers.one() as process, asyncio.timeout(LIMIT):
                    answer = await _exchange(process, self._patterns, lines)
            except TimeoutError:
                what = f"{self._option}: the expression takes too long, more than {in_seconds(LIMIT)} s for a block"
                self._failure = InvalidInput(what, "simplify it, avoiding nested repetitions")
            except (asyncio.IncompleteReadError, ConnectionError):
                what = f"{self._option}: the search process ended unexpectedly"
                self._failure = Unavailable(what, "simplify the expression: it may have used too much memory")
            else:
                if answer.startswith(grep_worker.ERROR):
                    raise InvalidInput(answer.removeprefix(grep_worker.ERROR).decode(errors="replace"))
                return answer
            raise self._failure


def _patterns(grep: Sequence[str], exclude: Sequence[str], *, ignore_case: bool) -> bytes:
    return json.dumps({"grep": [*grep], "exclude": [*exclude], "ignore_case": ignore_case}).encode()


NOTHING = _patterns((), (), ignore_case=False)


class FilteredReader:
    """A model.LogReader of the matching lines of another reader.

    Its positions consist of the inner reader's position before a whole batch and the state of unfinished lines there;
    `skip` counts matching lines (newlines) from there. They are exact with the same filter. A tail counts matching
    lines. A batch without lines may have a new `end`.
    """

    def __init__(self, line_filter: Filter, inner: LogReader) -> None:
        """Filter the lines of `inner`."""
        self._filter = line_filter
        self._inner = inner

    async def read(self, source: LogSource, reading: Reading) -> AsyncGenerator[Batch]:
        """See model.LogReader. Also raises the errors of Filter, and InvalidInput for another reader's position."""
        if reading.after is None and reading.window.tail:
            reading = await self._from_tail(source, reading)
        async with aclosing(self._all(source, reading)) as batches:
            async for batch in batches:
                yield batch

    async def _all(self, source: LogSource, reading: Reading) -> AsyncGenerator[Batch]:
        open_lines, inner_reading, skip = "--", reading, 0
        if reading.after is not None:
            open_lines, after, skip = _unpacked(reading.after)
            inner_reading = replace(reading, after=after)
        async with aclosing(self._inner.read(source, inner_reading)) as batches:
            async for raw in batches:
                before = open_lines
                batch, open_lines = await self._filter.select(raw, reading.timed, open_lines)
                batch.begin, batch.end = _packed(before, raw.begin), _packed(open_lines, raw.end)
                if skip:
                    skip -= cut(batch, skip)
                yield batch

    async def _from_tail(self, source: LogSource, reading: Reading) -> Reading:
        """Return a reading that begins with the last matching lines, found by reading the whole log once.

        Only positions are buffered, not lines, so that memory does not grow with the tail.
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
            return replace(everything, follow=reading.follow)  # the log is empty
        begin = starts[0][0] if starts else end
        surplus = max(0, total - (tail - unfinished))
        after = Position(begin.place, begin.skip + surplus)
        return replace(everything, follow=reading.follow, after=after)


def cut(batch: Batch, lines: int) -> int:
    """Remove the first `lines` lines from a batch, as far as it has them; return their number."""
    remaining, offset, runs = lines, 0, list(batch.runs)
    while runs and remaining:
        length, is_stderr = runs[0]
        newlines = batch.data.count(b"\n", offset, offset + length)
        if newlines <= remaining and (newlines < remaining or batch.data[offset + length - 1] == 10):
            remaining -= newlines
            offset += length
            del runs[0]
            continue
        end = offset
        for _ in range(remaining):
            end = batch.data.index(b"\n", end) + 1
        runs[0] = (length - (end - offset), is_stderr)
        remaining, offset = 0, end
    batch.data, batch.runs = batch.data[offset:], runs
    batch.begin = Position(batch.begin.place, batch.begin.skip + lines - remaining)
    return lines - remaining


def _packed(open_lines: str, inner: Position) -> Position:
    return Position(open_lines + str(inner))


def _unpacked(position: Position) -> tuple[str, Position, int]:
    open_lines, inner = position.place[:2], position.place[2:]
    try:
        if len(open_lines) != 2 or not set(open_lines) <= set("kd-"):
            raise ValueError
        return open_lines, Position.parse(inner), position.skip
    except ValueError:
        raise InvalidInput("cursors: not of a call with these filters", "start again without it") from None
