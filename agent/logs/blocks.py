"""Blocks of log lines as the agent sends them: of one component, or of several in turns.

The client merges components by time and buffers at most one batch of each: the component that lags behind is always
sent next, and the readers of the others wait. The watermark of a block is the time up to which the client has all
lines. A component without a batch for PATIENCE seconds counts as caught up, so that it does not delay the others.
Lines logged while following are gathered for GATHER seconds, so that the client can sort them.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from agent.logs.model import TIME_WIDTH, Batch, LoggingDisabled, LogSource, Piece, Position
from agent.tasks import create_guarded_task
from mcp.shared import watermark
from mcp.shared.errors import NotReady, Unavailable

PATIENCE = 1.0  # seconds
GATHER = 0.005  # seconds
QUEUE = 2  # batches of a component that wait to be sent; then its reader waits as well
BLOCK = 64 * 1024  # bytes of one of several components, so that fifty fit into the client's processor cache


@dataclass(slots=True)
class LogBlock:
    """Lines of one or more components.

    Attributes:
        data: The lines.
        parts: The origins of consecutive parts of `data`, as (source, True for stderr, length in bytes).
        cursors: For the (service, component) of each part, the position after it.
        notice: A message to show before the data.
        caught_up: True if there is nothing more for now.
        watermark: The time up to which the client has all lines, if it merges several components.
    """

    data: bytes = b""
    parts: list[tuple[LogSource, bool, int]] = field(default_factory=list)
    cursors: dict[tuple[str, str], str] = field(default_factory=dict)
    notice: str = ""
    caught_up: bool = False
    watermark: str = ""

    def add(self, piece: Piece) -> None:
        """Append a batch of a source."""
        batch, source = piece.batch, piece.source
        self.data += batch.data
        self.parts += [(source, is_stderr, length) for length, is_stderr in batch.runs]
        self.cursors[source.service, source.component] = cursor(source, batch.end)
        self.notice = batch.notice


def cursor(source: LogSource, position: Position) -> str:
    """Return a position in a component's log as text: the container, and the position in its log."""
    return f"{source.identifier}/{position}"


async def single(pieces: AsyncGenerator[Piece]) -> AsyncGenerator[LogBlock]:
    """Yield the log of one component as it is read."""
    caught_up = False
    async with aclosing(pieces):
        async for piece in pieces:
            block = LogBlock(caught_up=piece.batch.caught_up and not caught_up)
            block.add(piece)
            caught_up = caught_up or block.caught_up
            if block.data or block.notice or block.caught_up:
                yield block


async def in_turns(inputs: Sequence[AsyncGenerator[Piece]], names: Sequence[str]) -> AsyncGenerator[LogBlock]:
    """Yield the logs of several components in turns, for a client that merges them.

    Watermarks need timed readings. If a component cannot be read, a notice names it, the others continue, and its
    error is raised at the end.
    """
    turns = _Turns(inputs, names)
    try:
        async for block in turns.blocks():
            yield block
    finally:
        await turns.close()


class _Input:
    """The batches of one component that wait to be sent."""

    def __init__(self, name: str, pieces: AsyncGenerator[Piece], wake: asyncio.Event) -> None:
        self.name = name
        self.done = False  # no more pieces will be queued
        self.error: Exception | None = None
        self.queue: deque[Piece] = deque()
        self.sent = watermark.START  # the latest time sent
        self._quiet = False  # nothing more for now
        self._waited_since: float | None = None
        self._wake = wake
        self._room = asyncio.Event()
        self.task = create_guarded_task(self._pump(pieces), f"the log reader of {name}")

    async def _pump(self, pieces: AsyncGenerator[Piece]) -> None:
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    self.queue += [Piece(piece.source, batch) for batch in split(piece.batch, BLOCK)]
                    self._wake.set()
                    while len(self.queue) >= QUEUE:
                        self._room.clear()
                        await self._room.wait()
        except Exception as error:  # noqa: BLE001 - passed to _Turns, which raises it
            self.error = error
        finally:
            self.done = True
            self._wake.set()

    def take(self) -> Piece:
        """Take the next piece from the queue."""
        piece = self.queue.popleft()
        self._room.set()
        self._quiet, self._waited_since = piece.batch.caught_up, None
        self.sent = max(self.sent, last_time(piece.batch))
        return piece

    def is_awaited(self, now: float) -> bool:
        """Tell if a batch is due; after PATIENCE seconds the input counts as quiet."""
        if self.queue or self.done or self._quiet:
            return False
        if self._waited_since is None:
            self._waited_since = now
        self._quiet = now - self._waited_since >= PATIENCE
        return not self._quiet


def split(batch: Batch, size: int) -> Iterator[Batch]:
    """Split a batch between lines into parts of slightly more than `size` bytes."""
    runs, begin, offset = deque(batch.runs), batch.begin, 0
    while cut := batch.data.find(b"\n", offset + size) + 1:
        if cut == len(batch.data):
            break
        head = Batch(batch.data[offset:cut], [], begin, begin, batch.notice if offset == 0 else "")
        head.end = begin = Position(begin.place, begin.skip + head.data.count(b"\n"))
        remaining = cut - offset
        while remaining:
            length, is_stderr = runs.popleft()
            head.runs.append((min(length, remaining), is_stderr))
            if length > remaining:
                runs.appendleft((length - remaining, is_stderr))
            remaining -= head.runs[-1][0]
        offset = cut
        yield head
    yield replace(batch, data=batch.data[offset:], runs=list(runs), begin=begin, notice="" if offset else batch.notice)


def last_time(batch: Batch) -> str:
    """Return the time of a timed batch's last line; empty if that line began in an earlier batch."""
    line = batch.data[batch.data.rfind(b"\n", 0, -1) + 1 :][:TIME_WIDTH]
    return line[:-1].decode() if line.endswith(b"Z ") and line.isascii() else ""


class _Turns:
    """Sends the batches of several inputs in turns."""

    def __init__(self, inputs: Sequence[AsyncGenerator[Piece]], names: Sequence[str]) -> None:
        self._wake = asyncio.Event()
        self._inputs = [_Input(name, pieces, self._wake) for name, pieces in zip(names, inputs, strict=True)]
        self._cursors: dict[tuple[str, str], str] = {}
        self._sent_caught_up = False
        self._watermark = watermark.START  # as last sent
        self._failures: list[Exception] = []

    async def blocks(self) -> AsyncGenerator[LogBlock]:
        while True:
            self._wake.clear()  # first: events while the client takes a block must wake this loop, too
            for notice in self._failed():
                yield notice
            if (block := self._next()) is not None:
                yield block
                continue
            if all(component.done and component.error is None for component in self._inputs):
                if errors := [error for error in self._failures if not isinstance(error, LoggingDisabled)]:
                    raise errors[0]
                return
            if (progress := self._progress()) is not None:
                yield progress
            await self._sleep()

    async def close(self) -> None:
        for component in self._inputs:
            component.task.cancel()
        await asyncio.gather(*(component.task for component in self._inputs), return_exceptions=True)

    def _next(self) -> LogBlock | None:
        """Return the next batches in turn, up to about BLOCK bytes; None if there are none."""
        block = LogBlock()
        while len(block.data) < BLOCK and not block.notice and (ready := self._ready(block)):
            piece = ready.take()
            self._cursors[piece.source.service, piece.source.component] = cursor(piece.source, piece.batch.end)
            if piece.batch.data or piece.batch.notice:
                block.add(piece)
        if not block.cursors:
            return None
        block.watermark = self._watermark = self._current()
        return block

    def _ready(self, block: LogBlock) -> _Input | None:
        """Return an input that is ahead of no other and has a batch that fits into the block."""
        low = self._current()
        for component in self._inputs:
            if component.queue and component.sent <= low and not (component.queue[0].batch.notice and block.parts):
                return component
        return None

    def _current(self) -> str:
        """Return the current watermark: no line before this time is still to come."""
        now = asyncio.get_running_loop().time()
        pending = [component.sent for component in self._inputs if component.queue or component.is_awaited(now)]
        return min(pending, default=watermark.END)

    def _failed(self) -> Iterator[LogBlock]:
        """Yield a notice for each failed input; raise errors that concern the whole call."""
        for component in self._inputs:
            if component.error is None or component.queue:
                continue
            error, component.error = component.error, None
            self._failures.append(error)
            if not isinstance(error, (NotReady, Unavailable)) or len(self._failures) == len(self._inputs):
                raise error
            yield LogBlock(notice=f"{component.name}: {error}", watermark=self._watermark)

    def _progress(self) -> LogBlock | None:
        """Return a block with the watermark if it changed, or once with `caught_up` if all inputs have caught up."""
        current = self._current()
        caught_up = current == watermark.END and not self._sent_caught_up
        if current == self._watermark and not caught_up:
            return None
        self._watermark, self._sent_caught_up = current, self._sent_caught_up or caught_up
        # cursors of silent components as well: lines that they log during a lost connection must not be missed
        return LogBlock(cursors=self._cursors if caught_up else {}, caught_up=caught_up, watermark=current)

    async def _sleep(self) -> None:
        """Wait for batches; while all inputs are quiet, gather those of about the same time."""
        now = asyncio.get_running_loop().time()
        waiting = any(component.is_awaited(now) for component in self._inputs)
        try:
            async with asyncio.timeout(PATIENCE / 10 if waiting else None):
                await self._wake.wait()
        except TimeoutError:
            return
        if not waiting:
            await asyncio.sleep(GATHER)
