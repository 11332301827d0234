"""The log of one component: of its container and, when followed, of its successors.

A call with a cursor resumes in the cursor's container, or in the saved log tail of that container.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from agent.logs.follow import Removed, Run, Tracker
from agent.logs.model import Batch, LogReader, LogSource, Piece, Position, Reading, Window
from agent.logs.previous import PreviousLogReader, previous_source, remaining_log
from agent.store.previous_logs import PreviousLog
from mcp.shared.errors import InvalidInput

NO_POSITION = Position("")
GONE = 3.0  # seconds without a successor after which a container whose exit was not observed is reported as gone


@dataclass(frozen=True)
class ComponentQuery:
    """The arguments of a call for one component; `cursor` is the end of an interrupted call, or empty."""

    window: Window
    timed: bool
    cursor: str = ""


class ComponentLog:
    """The log of one component for one call."""

    def __init__(
        self,
        query: ComponentQuery,
        pick_reader: Callable[[LogReader | LogSource], LogReader],
        find_previous: Callable[[], Awaitable[PreviousLog | None]],
    ) -> None:
        """Take the query and callbacks: the reader for a source or around a reader, and the previous log."""
        self._query = query
        self._pick_reader = pick_reader
        self._find_previous = find_previous
        self._reading = Reading(query.window, query.timed)

    def is_over(self, now: int) -> bool:
        """Tell if the window has ended, so that there is nothing to follow."""
        until = self._query.window.until
        return until is not None and until <= now

    async def once(self, source: LogSource) -> AsyncGenerator[Piece]:
        """Yield the log of the container up to now."""
        async with aclosing(self._resume(source)) as pieces:
            async for piece in pieces:
                yield piece
        async with aclosing(self._read(source, self._pick_reader(source))) as pieces:
            async for piece in pieces:
                yield piece

    async def previous(self, previous: PreviousLog, service: str, component: str) -> AsyncGenerator[Piece]:
        """Yield the saved log tail of the container before the present one."""
        source = previous_source(previous, service, component)
        async with aclosing(self._read(source, self._pick_reader(PreviousLogReader(previous)))) as pieces:
            async for piece in pieces:
                yield piece

    async def follow(self, tracker: Tracker, *, wait: bool) -> AsyncGenerator[Piece]:
        """Follow the log from container to container, with a notice at each change.

        Ends with the window, or when the component is removed. Without a container it waits for one if `wait` is
        given, and raises NotFound otherwise.
        """
        async with tracker.subscribed():
            run = await self._in_window(tracker.first_run(wait=wait))
            if run is None:
                return
            source = run.snapshot.source
            async with aclosing(self._resume(source)) as pieces:
                async for piece in pieces:
                    yield piece
            attached = "" if self._query.cursor else self._attached(run)
            while True:
                source = run.snapshot.source
                self._reading = replace(self._reading, follow=run.over)
                async with aclosing(self._read(source, self._pick_reader(source))) as pieces:
                    async for piece in pieces:
                        if attached:  # with the first batch, whose position a call can resume from
                            piece.batch.notice = "; ".join(filter(None, [attached, piece.batch.notice]))
                            attached = ""
                        yield piece
                if run.end:
                    yield self._notice(source, run.end)
                elif run.over.is_set() and await self._is_gone(tracker, run):
                    yield self._notice(source, f"the container {source.container} is gone")
                try:
                    next_run = await self._in_window(tracker.run_after(run))
                except Removed:
                    yield self._notice(source, "removed")
                    return
                if next_run is None:
                    return
                yield self._notice(next_run.snapshot.source, self._switch(run, next_run))
                run = next_run

    async def _in_window(self, run: Awaitable[Run]) -> Run | None:
        """Wait for a run; return None if the window ends first."""
        until = self._query.window.until
        try:
            async with asyncio.timeout(None if until is None else max(until - time.time_ns(), 0) / 1e9):
                return await run
        except TimeoutError:
            return None

    @staticmethod
    def _attached(run: Run) -> str:
        source = run.snapshot.source
        version = f", {run.snapshot.details.version}" if run.snapshot.details.version else ""
        return f"{source.service}/{source.component}: attached to {source.container}{version}"

    @staticmethod
    async def _is_gone(tracker: Tracker, run: Run) -> bool:
        """Tell if no run follows, within GONE seconds, one whose exit was not observed."""
        try:
            async with asyncio.timeout(GONE):
                await tracker.run_after(run)
        except TimeoutError:
            return True
        except Removed:
            return False
        return False

    def _switch(self, run: Run, next_run: Run) -> str:
        """Prepare reading the next run; return its description for a notice."""
        window = replace(self._query.window, since=None, tail=None)
        if run.snapshot.source.identifier == next_run.snapshot.source.identifier:
            if self._reading.after is not None:
                self._reading = replace(self._reading, window=window)
            return "restarted" if run.end else "exited and restarted"
        self._reading = Reading(window, self._query.timed)
        return f"replaced by {next_run.snapshot.details.version or next_run.snapshot.source.identifier[:12]}"

    async def _read(self, source: LogSource, reader: LogReader) -> AsyncGenerator[Piece]:
        async with aclosing(reader.read(source, self._reading)) as batches:
            async for batch in batches:
                self._reading = replace(self._reading, after=batch.end)
                yield Piece(source, batch)

    async def _resume(self, source: LogSource) -> AsyncGenerator[Piece]:
        """Prepare reading from the cursor; yield the rest of its container's log if that was replaced."""
        if not self._query.cursor:
            return
        identifier, after = parse_cursor(self._query.cursor)
        # the call that gave the cursor applied `since` already: a duration would mean a later time now
        window = replace(self._query.window, since=None, tail=None)
        resumed = replace(self._reading, window=window, after=after if after.place else None)
        if identifier == source.identifier:
            self._reading = resumed
            return
        previous = await self._find_previous()
        remaining = remaining_log(previous) if previous is not None and previous.identifier == identifier else None
        if previous is None or remaining is None:
            yield self._notice(source, "lines may be missing: the container was replaced, and its log was not saved")
        else:
            self._reading = resumed
            old_source = previous_source(previous, source.service, source.component)
            async with aclosing(self._read(old_source, self._pick_reader(remaining))) as pieces:
                async for piece in pieces:
                    piece.batch.caught_up = False
                    yield piece
            yield self._notice(source, "replaced")
        self._reading = Reading(window, self._query.timed)

    def _notice(self, source: LogSource, event: str) -> Piece:
        """Return a notice of an event of the component, with `caught_up` and without lines."""
        text = f"{source.service}/{source.component}: {event}"
        position = self._reading.after or NO_POSITION
        return Piece(source, Batch(b"", [], position, position, notice=text, caught_up=True))


def parse_cursor(text: str) -> tuple[str, Position]:
    """Parse a cursor into a container's id and a position in its log; raises InvalidInput."""
    identifier, _, place = text.partition("/")
    try:
        if not identifier or len(text) > 1000:
            raise ValueError
        return identifier, Position.parse(place)
    except ValueError:
        raise InvalidInput("cursors: not a cursor of this agent", "start again without it") from None
