"""The logs of several components as one, in the order of their times.

A line is passed on when no other component can have an earlier one: all of them have a later line to show, or are
caught up (the watermark). One that has nothing to show for PATIENCE seconds counts as caught up, so that it never holds
the others back. Lines that are logged while we follow are gathered for GATHER seconds, to be put in order.
"""

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from heapq import heapify, heapreplace
from itertools import accumulate

from agent.logs.model import TIME_WIDTH, Batch, LogsNowhere, LogSource, Piece, Position
from agent.tasks import create_guarded_task
from mcp.shared.errors import NotReady, Unavailable

PATIENCE = 1.0  # seconds
GATHER = 0.005  # seconds
QUEUE = 2  # batches that wait in front of the merge; then their reader waits, too
BLOCK = 256 * 1024  # bytes of a block that is passed on even though there is more


@dataclass(slots=True)
class LogBlock:
    """Consecutive bytes of `data` come from `parts`: (source, whether it is stderr, length).

    `cursors` has, for the (service, component) of each part, the place after it.
    """

    data: bytes = b""
    parts: list[tuple[LogSource, bool, int]] = field(default_factory=list)
    cursors: dict[tuple[str, str], str] = field(default_factory=dict)
    notice: str = ""
    caught_up: bool = False


def cursor(source: LogSource, position: Position) -> str:
    """A place in the log of a component: which container, and where in its log."""
    return f"{source.identifier}/{position}"


async def single(pieces: AsyncGenerator[Piece]) -> AsyncGenerator[LogBlock]:
    """The log of one component, as it comes."""
    told = False
    async with aclosing(pieces):
        async for piece in pieces:
            batch, source = piece.batch, piece.source
            caught_up = batch.caught_up and not told
            told = told or caught_up
            if batch.data or batch.notice or caught_up:
                yield LogBlock(
                    data=batch.data,
                    parts=[(source, is_stderr, length) for length, is_stderr in batch.runs],
                    cursors={(source.service, source.component): cursor(source, batch.end)},
                    notice=batch.notice,
                    caught_up=caught_up,
                )


async def merged(
    inputs: Sequence[AsyncGenerator[Piece]], names: Sequence[str], *, timed: bool
) -> AsyncGenerator[LogBlock]:
    """The logs of several components, whose readings must be timed; `timed`: keep the times in front of the lines.

    One that cannot be read is a notice, with its name in front, and the others go on; at the end its error is raised.
    """
    wake = asyncio.Event()
    sources = [_Input(name, pieces, wake, timed=timed) for name, pieces in zip(names, inputs, strict=True)]
    try:
        merge = _Merge(sources, wake)
        async for block in merge.blocks():
            yield block
    finally:
        for source in sources:
            source.task.cancel()
        await asyncio.gather(*(source.task for source in sources), return_exceptions=True)


class _Input:
    """One component's lines on their way into the merge."""

    def __init__(self, name: str, pieces: AsyncGenerator[Piece], wake: asyncio.Event, *, timed: bool) -> None:
        self.name = name
        self.done = False  # nothing more comes into the queue
        self.quiet = False  # nothing more for now
        self.error: Exception | None = None
        self.waited_since: float | None = None
        self.queue: deque[Piece] = deque()
        self.times: list[bytes] = []
        self._texts: list[bytes] = []
        self._errs: list[bool] = []
        self._at = 0
        self._taken = 0  # of them, those that had their newline
        self._piece: Piece | None = None
        self.place: tuple[tuple[str, str], str] | None = None  # where its last piece ended, as in Block.cursors
        self._open: dict[bool, bytes] = {}  # the time of a stream's line that has not ended
        self._strip = 0 if timed else TIME_WIDTH
        self._wake = wake
        self._room = asyncio.Event()
        self.task = create_guarded_task(self._pump(pieces), f"the log reader of {name}")

    @property
    def has_lines(self) -> bool:
        return self._at < len(self.times)

    @property
    def head(self) -> bytes:
        return self.times[self._at]

    async def _pump(self, pieces: AsyncGenerator[Piece]) -> None:
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    self.queue.append(piece)
                    self._wake.set()
                    while len(self.queue) >= QUEUE:
                        self._room.clear()
                        await self._room.wait()
        except Exception as error:  # noqa: BLE001 - handed to the merge, which raises it
            self.error = error
        finally:
            self.done = True
            self._wake.set()

    def load(self) -> Piece:
        """Take the next piece from the queue, and its lines."""
        piece = self.queue.popleft()
        self._room.set()
        self.quiet, self.waited_since = piece.batch.caught_up, None
        self._piece, self._at, self._taken = piece, 0, 0
        self._split(piece.batch)
        self.place = (piece.source.service, piece.source.component), cursor(piece.source, piece.batch.end)
        return piece

    def _split(self, batch: Batch) -> None:
        times: list[bytes] = []
        self._texts, self._errs, offset = [], [], 0
        for length, is_stderr in batch.runs:
            lines = batch.data[offset : offset + length].split(b"\n")
            offset += length
            rest = lines.pop()
            continued = self._open.pop(is_stderr, None)
            begin = 0
            if continued is not None and (lines or rest):
                times.append(continued)
                self._texts.append(lines[0] + b"\n" if lines else rest)
                begin = 1
                if not lines:
                    self._open[is_stderr], rest = continued, b""
            times += [line[: TIME_WIDTH - 1] for line in lines[begin:]]
            self._texts += [line[self._strip :] + b"\n" for line in lines[begin:]]
            if rest:
                times.append(rest[: TIME_WIDTH - 1])
                self._texts.append(rest[self._strip :])
                self._open[is_stderr] = times[-1]
            self._errs += [is_stderr] * (len(self._texts) - len(self._errs))
        # the source's own order stays, also where its clock went back
        self.times = list(accumulate(times, max))

    def take(self, bound: bytes | None, out: "_Output") -> None:
        """Move the lines up to the time `bound`, at least one, to the output."""
        assert self._piece is not None
        begin = self._at
        upto = len(self.times) if bound is None else max(begin + 1, bisect_right(self.times, bound, begin))
        source, batch = self._piece.source, self._piece.batch
        errs = self._errs
        while begin < upto:
            end, is_stderr = begin + 1, errs[begin]
            while end < upto and errs[end] is is_stderr:
                end += 1
            out.add(source, is_stderr, b"".join(self._texts[begin:end]))
            begin = end
        whole = sum(text.endswith(b"\n") for text in self._texts[self._at : upto])
        self._at, self._taken = upto, self._taken + whole
        place = batch.end
        if self.has_lines:
            place = Position(batch.begin.place, batch.begin.skip + self._taken)
        else:
            self.times, self._texts, self._errs, self._at, self._piece = [], [], [], 0, None
        out.places[(source.service, source.component)] = source, place


class _Output:
    """A block that is being put together."""

    def __init__(self) -> None:
        self.size = 0
        self.places: dict[tuple[str, str], tuple[LogSource, Position]] = {}
        self._texts: list[bytes] = []
        self._parts: list[tuple[LogSource, bool, int]] = []

    def add(self, source: LogSource, is_stderr: bool, text: bytes) -> None:
        self._texts.append(text)
        self.size += len(text)
        if self._parts and self._parts[-1][0] is source and self._parts[-1][1] is is_stderr:
            self._parts[-1] = (source, is_stderr, self._parts[-1][2] + len(text))
        else:
            self._parts.append((source, is_stderr, len(text)))

    def flush(self) -> LogBlock:
        cursors = {key: cursor(*place) for key, place in self.places.items()}
        block = LogBlock(b"".join(self._texts), self._parts, cursors)
        self.size, self.places, self._texts, self._parts = 0, {}, [], []
        return block


class _Merge:
    def __init__(self, inputs: Sequence[_Input], wake: asyncio.Event) -> None:
        self._inputs = inputs
        self._wake = wake
        self._out = _Output()
        self._told = False
        self._failures: list[Exception] = []
        self._error: Exception | None = None  # ends it all

    async def blocks(self) -> AsyncGenerator[LogBlock]:  # noqa: C901 - one loop, as one state follows the other
        while True:
            self._wake.clear()  # before we look: also what happens while a client takes a block is to wake us
            for each in self._inputs:
                for notice in self._loaded(each):
                    if self._out.size:
                        yield self._out.flush()
                    yield notice
            if self._error is not None:
                if self._out.size:
                    yield self._out.flush()
                raise self._error
            heads = [each for each in self._inputs if each.has_lines]
            if heads and not self._awaited():
                self._take(heads)
                if self._out.size >= BLOCK:
                    yield self._out.flush()
                continue
            if self._out.size:
                yield self._out.flush()
            if not heads and all(each.done and not each.queue for each in self._inputs):
                if real := [error for error in self._failures if not isinstance(error, LogsNowhere)]:
                    raise real[0]
                return
            if not self._told and not heads and not self._awaited():
                self._told = True
                # the places of the silent ones, too: what they log while a connection is lost is not to be missed
                yield LogBlock(cursors=dict(each.place for each in self._inputs if each.place), caught_up=True)
            await self._sleep()

    def _loaded(self, each: _Input) -> "list[LogBlock]":
        """Load an input that has no lines; returns what it has to say besides."""
        notices = []
        while not each.has_lines and each.queue:
            piece = each.load()
            if piece.batch.notice:
                notices.append(LogBlock(notice=piece.batch.notice))
        if each.error is not None and not each.has_lines:
            error, each.error = each.error, None
            self._failures.append(error)
            if isinstance(error, (NotReady, Unavailable)) and len(self._failures) < len(self._inputs):
                notices.append(LogBlock(notice=f"{each.name}: {error}"))
            else:  # no trouble of this one alone
                self._error = error
        return notices

    def _take(self, heads: "list[_Input]") -> None:
        """Move lines to the output until it is full, or one of these inputs has to be loaded again."""
        heap = [(each.head, number, each) for number, each in enumerate(heads)]
        heapify(heap)
        while self._out.size < BLOCK:
            _, number, first = heap[0]
            # the second is one of the two below the first: looking at all would make it slow where there are many
            bound = min(heap[1:3])[0] if len(heap) > 1 else None
            first.take(bound, self._out)
            if not first.has_lines:
                return
            heapreplace(heap, (first.head, number, first))

    def _awaited(self) -> bool:
        """Whether an input may yet show an earlier line; one that takes too long counts as quiet from then on."""
        now = asyncio.get_running_loop().time()
        found = False
        for each in self._inputs:
            if each.has_lines or each.done or each.quiet:
                continue
            if each.waited_since is None:
                each.waited_since = now
            if now - each.waited_since < PATIENCE:
                found = True
            else:
                each.quiet = True
        return found

    async def _sleep(self) -> None:
        """Wait for more; while all are quiet, gather what comes at about the same time."""
        waiting = self._awaited()
        try:
            async with asyncio.timeout(PATIENCE / 10 if waiting else None):
                await self._wake.wait()
        except TimeoutError:
            return
        if not waiting:
            await asyncio.sleep(GATHER)
