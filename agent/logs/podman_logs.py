"""Read logs by `podman logs`, for drivers without a reader of their own, in blocks of whole lines."""

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.logs.model import LINE_LIMIT, Batch, LogSource, Position, Reading
from agent.podman.argv import logs_argv
from agent.podman.client import Podman
from agent.tasks import create_guarded_task
from mcp.shared import proc
from mcp.shared.errors import InvalidInput, NotReady

BLOCK = 256 * 1024  # bytes read at once; gRPC's own limit for a message is 4 MiB
POLL = 1.0  # seconds between two reads of a follower: podman's own --follow is known to miss lines
STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})(Z|[+-]\d\d:\d\d) ")  # the prefix of --timestamps
PLACE = re.compile(r"(\d+),(\d+);(\d+),(\d+);([01])", re.A)
QUEUE = 4  # blocks that wait for a slow client; then podman waits as well


@dataclass(frozen=True)
class TimedBlock:
    """Whole timestamped lines of one stream, or a part of a very long one."""

    is_stderr: bool
    data: bytes


Queue = asyncio.Queue[TimedBlock | BaseException | None]


async def read(podman: Podman, source: LogSource, since: str) -> AsyncGenerator[TimedBlock]:
    """Yield the timestamped lines of a source since an RFC 3339 time, or all if empty; only each stream is in order.

    Raises NotReady with podman's error. Closing the iterator ends its process.
    """
    queue: Queue = asyncio.Queue(QUEUE)
    task = create_guarded_task(_run(podman, source, since, queue), f"podman logs {source.container}")
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _run(podman: Podman, source: LogSource, since: str, queue: Queue) -> None:
    """Put the whole log into the queue, then None, or the error that ended the reading."""
    try:
        await _copy(podman, source, since, queue)
    except Exception as error:  # noqa: BLE001 - passed to the reader of the queue, which raises it
        await queue.put(error)
    else:
        await queue.put(None)


async def _copy(podman: Podman, source: LogSource, since: str, queue: Queue) -> None:
    """Put the whole log into the queue. Raises NotReady if podman fails."""
    argv = podman.argv(logs_argv(source.identifier, since))
    process = await proc.start(argv, dies_with_us=True)
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(process.stdout, False, queue))
            errors = group.create_task(_pump(process.stderr, True, queue))
        status = await process.wait()
        if status != 0:
            lines = errors.result().decode(errors="replace").strip().splitlines()
            raise NotReady(f"podman logs {source.container}: {lines[-1] if lines else f'exit status {status}'}")
    finally:
        if process.returncode is None:
            with suppress(asyncio.CancelledError):
                await asyncio.shield(proc.end(process))


async def _pump(stream: asyncio.StreamReader, is_stderr: bool, queue: Queue) -> bytes:
    """Pass a stream on in blocks of whole lines; return the last block, for an error message."""
    rest, last = b"", b""
    while data := await stream.read(BLOCK):
        block, newline, rest = (rest + data).rpartition(b"\n")
        if not newline and len(rest) > LINE_LIMIT:
            block, rest = rest, b""
        if block or newline:
            last = block + newline
            await queue.put(TimedBlock(is_stderr, last))
    if rest:
        last = rest
        await queue.put(TimedBlock(is_stderr, rest))
    return last


class PodmanReader:
    """A model.LogReader for drivers without one of their own.

    A position's `place` has the time of each stream's last line in nanoseconds and the number of lines with that
    time, then the stream to which `skip` applies. Only the lines of each stream are in order. If podman stamps the
    pieces of a line one by one (above 8 KiB), its stamps remain within the line.
    """

    def __init__(self, podman: Podman) -> None:
        """Take the client that runs the command."""
        self._podman = podman

    async def read(self, source: LogSource, reading: Reading) -> AsyncGenerator[Batch]:
        """See model.LogReader. Also raises InvalidInput if `after` is not a position of this reader."""
        progress = _Progress(reading)
        ended = False
        while True:
            since = progress.since()
            progress.restart()
            async with aclosing(read(self._podman, source, since)) as blocks:
                async for block in blocks:
                    if batch := progress.take(block.is_stderr, block.data):
                        yield batch
            for batch in progress.caught_up():
                yield batch
            if ended or reading.follow is None:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL):
                    await reading.follow.wait()
            until = reading.window.until
            ended = reading.follow.is_set() or (until is not None and until <= time.time_ns())


StreamPosition = tuple[int, int]  # the time of a stream's last line, and the number of its lines with that time


@dataclass(frozen=True, slots=True)
class _PositionedLine:
    """A line with the positions of its stream before and after it."""

    time: int
    is_stderr: bool
    line: bytes
    before: StreamPosition
    after: StreamPosition


class _Progress:
    """The progress of a reading in each stream."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        window = reading.window
        count = window.tail
        # podman prints both streams concurrently: the last lines of both are known only at the end
        self._tail = (
            (deque[_PositionedLine](maxlen=count), deque[_PositionedLine](maxlen=count)) if count is not None else None
        )
        self._at: list[StreamPosition] = [(window.since or 0, 0), (window.since or 0, 0)]
        self._known = [0, 0]  # lines of that time that podman prints once more
        self._skip = [0, 0]
        self._stamp = [0, 0]
        if reading.after is not None:
            match = PLACE.fullmatch(reading.after.place)
            if not match:
                raise InvalidInput("invalid log position: not one of podman logs")
            numbers = [int(group) for group in match.groups()]
            self._at = [(numbers[0], numbers[1]), (numbers[2], numbers[3])]
            self._skip[numbers[4]] = reading.after.skip
            self._tail = None

    def since(self) -> str:
        """Return the --since time for the next `podman logs`."""
        first = min(time for time, _ in self._at)
        return _text(first) if first else ""

    def restart(self) -> None:
        """Prepare for another `podman logs`, which prints some lines once more."""
        self._known = [count for _, count in self._at]

    def take(self, is_stderr: bool, data: bytes) -> Batch | None:
        """Return the new lines in a block of a stream; None if there are none, or the tail is not known yet."""
        begin, skip = self._place(is_stderr), self._skip[is_stderr]
        lines = self._new(is_stderr, data)
        if self._tail is not None:
            self._tail[is_stderr].extend(lines)
            return None
        data = b"".join(line.line for line in lines)
        return self._batch(data, is_stderr, Position(begin, skip)) if data else None

    def caught_up(self) -> Iterator[Batch]:
        """Yield the tail, if any, and an empty batch with `caught_up`."""
        if self._tail is not None:
            both = sorted([*self._tail[0], *self._tail[1]], key=lambda line: line.time)
            count, self._tail = self._reading.window.tail, None
            yield from self._tail_batches(both[-count:] if count else [])
        end = Position(self._place(False), self._skip[False])
        yield Batch(b"", [], end, end, caught_up=True)

    def _tail_batches(self, lines: Sequence[_PositionedLine]) -> Iterator[Batch]:
        """Yield a tail in batches, each with its own positions, so that a disconnected client resumes within it."""
        at_end = self._at.copy()
        for line in reversed(lines):
            self._at[line.is_stderr] = line.before
        run, size, begin = list[bytes](), 0, Position("")
        for number, line in enumerate(lines, 1):
            begin = begin if run else Position(self._place(line.is_stderr))
            run.append(line.line)
            size += len(line.line)
            self._at[line.is_stderr] = line.after
            is_last = number == len(lines) or lines[number].is_stderr != line.is_stderr
            if is_last or size > BLOCK:
                yield self._batch(b"".join(run), line.is_stderr, begin)
                run, size = [], 0
        self._at = at_end

    def _new(self, is_stderr: bool, data: bytes) -> Iterator[_PositionedLine]:
        """Yield the lines that were not read before."""
        window = self._reading.window
        for line in _lines(data):
            stamp = STAMP.match(line)
            time = _nanoseconds(stamp) if stamp else self._stamp[is_stderr]
            self._stamp[is_stderr] = time
            last, count = self._at[is_stderr]
            if time < last:
                continue
            if time == last and self._known[is_stderr]:
                self._known[is_stderr] -= 1
                continue
            self._at[is_stderr] = (time, count + 1 if time == last else 1)
            if self._skip[is_stderr]:
                self._skip[is_stderr] -= 1
            elif window.until is None or time < window.until:
                text = line[stamp.end() :] if stamp else line
                timed = _text(time).encode() + b" " + text if self._reading.timed and stamp else text
                yield _PositionedLine(time, is_stderr, timed, (last, count), self._at[is_stderr])

    def _batch(self, data: bytes, is_stderr: bool, begin: Position) -> Batch:
        return Batch(data, [(len(data), is_stderr)], begin, Position(self._place(is_stderr), self._skip[is_stderr]))

    def _place(self, is_stderr: bool) -> str:
        return ";".join([*(f"{time},{count}" for time, count in self._at), f"{is_stderr:d}"])


def _lines(data: bytes) -> list[bytes]:
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _nanoseconds(stamp: re.Match[bytes]) -> int:
    second, fraction, offset = (group.decode() for group in stamp.groups())
    return int(datetime.fromisoformat(second + offset).timestamp()) * 10**9 + int(fraction)


def _text(nanoseconds: int) -> str:
    seconds, fraction = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"
