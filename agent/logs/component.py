"""The log of one component: that of its container, and with follow of its containers to come.

Where an earlier call broke off, reading goes on in the container it had come to, or in what was kept of it.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from agent.logs.follow import Removed, Run, Tracker
from agent.logs.model import Batch, LogReader, LogSource, Piece, Position, Reading, Window
from agent.logs.previous import PreviousLogReader, kept_source, what_is_left
from agent.store.previous_logs import PreviousLog
from mcp.shared.errors import InvalidInput

NOWHERE = Position("")
GONE = 3.0  # seconds after which a container whose end nobody saw is said to be gone


@dataclass(frozen=True)
class ComponentQuery:
    """The arguments of a call for one component; `cursor` is where an earlier call broke off, or empty."""

    window: Window
    timed: bool
    cursor: str = ""


class ComponentLog:
    """One component's log for one call."""

    def __init__(
        self,
        wanted: ComponentQuery,
        readers: Callable[[LogReader | LogSource], LogReader],
        kept: Callable[[], Awaitable[PreviousLog | None]],
    ) -> None:
        """`readers` gives the reader for a source, or wraps another one; `kept` what is left of a former container."""
        self._wanted = wanted
        self._readers = readers
        self._kept = kept
        self._reading = Reading(wanted.window, wanted.timed)

    def is_over(self, now: int) -> bool:
        """Return whether the window has ended, so that there is nothing to follow."""
        until = self._wanted.window.until
        return until is not None and until <= now

    async def once(self, source: LogSource) -> AsyncGenerator[Piece]:
        """Yield the log of the container up to now."""
        async with aclosing(self._resume(source)) as pieces:
            async for piece in pieces:
                yield piece
        async with aclosing(self._read(source, self._readers(source))) as pieces:
            async for piece in pieces:
                yield piece

    async def previous(self, kept: PreviousLog, service: str, component: str) -> AsyncGenerator[Piece]:
        """Yield what was kept of the container before the present one."""
        source = kept_source(kept, service, component)
        async with aclosing(self._read(source, self._readers(PreviousLogReader(kept)))) as pieces:
            async for piece in pieces:
                yield piece

    async def follow(self, tracker: Tracker, *, patient: bool) -> AsyncGenerator[Piece]:
        """Follow the log from container to container, with a notice at each change.

        Ends with the window, or when the component is removed. Without a container it waits for one if it is
        `patient`, and else raises NotFound.
        """
        async with tracker.used():
            run = await self._in_window(tracker.first(patient=patient))
            if run is None:
                return
            source = run.seen.source
            async with aclosing(self._resume(source)) as pieces:
                async for piece in pieces:
                    yield piece
            news = "" if self._wanted.cursor else self._attached(run)
            while True:
                source = run.seen.source
                self._reading = replace(self._reading, follow=run.over)
                async with aclosing(self._read(source, self._readers(source))) as pieces:
                    async for piece in pieces:
                        if news:  # with the first batch, whose place is one to go on from
                            piece.batch.notice = "; ".join(filter(None, [news, piece.batch.notice]))
                            news = ""
                        yield piece
                if run.end:
                    yield self._notice(source, run.end)
                elif run.over.is_set() and await self._is_gone(tracker, run):
                    yield self._notice(source, f"the container {source.container} is gone")
                try:
                    following = await self._in_window(tracker.run_after(run))
                except Removed:
                    yield self._notice(source, "removed")
                    return
                if following is None:
                    return
                yield self._notice(following.seen.source, self._go_on(run, following))
                run = following

    async def _in_window(self, run: Awaitable[Run]) -> Run | None:
        """A run that is waited for; None where the window ends first."""
        until = self._wanted.window.until
        try:
            async with asyncio.timeout(None if until is None else max(until - time.time_ns(), 0) / 1e9):
                return await run
        except TimeoutError:
            return None

    @staticmethod
    def _attached(run: Run) -> str:
        source = run.seen.source
        version = f", {run.seen.details.version}" if run.seen.details.version else ""
        return f"{source.service}/{source.component}: attached to {source.container}{version}"

    @staticmethod
    async def _is_gone(tracker: Tracker, run: Run) -> bool:
        """Return whether no run follows one whose end nobody saw."""
        try:
            async with asyncio.timeout(GONE):
                await tracker.run_after(run)
        except TimeoutError:
            return True
        except Removed:
            return False
        return False

    def _go_on(self, run: Run, following: Run) -> str:
        """Prepare for the next run, and say what it is."""
        window = replace(self._wanted.window, since=None, tail=None)
        if run.seen.source.identifier == following.seen.source.identifier:
            if self._reading.after is not None:
                self._reading = replace(self._reading, window=window)
            return "started again" if run.end else "ended, and was started again"
        self._reading = Reading(window, self._wanted.timed)
        return f"replaced by {following.seen.details.version or following.seen.source.identifier[:12]}"

    async def _read(self, source: LogSource, reader: LogReader) -> AsyncGenerator[Piece]:
        async with aclosing(reader.read(source, self._reading)) as batches:
            async for batch in batches:
                self._reading = replace(self._reading, after=batch.end)
                yield Piece(source, batch)

    async def _resume(self, source: LogSource) -> AsyncGenerator[Piece]:
        """Make ready to go on at the cursor; what is left of its container, if it is not the present one, comes now."""
        if not self._wanted.cursor:
            return
        identifier, after = parse_cursor(self._wanted.cursor)
        # `since` had its effect when the cursor was given: a duration would now mean a later time
        window = replace(self._wanted.window, since=None, tail=None)
        rest = replace(self._reading, window=window, after=after if after.place else None)
        if identifier == source.identifier:
            self._reading = rest
            return
        kept = await self._kept()
        left = what_is_left(kept) if kept is not None and kept.identifier == identifier else None
        if kept is None or left is None:
            yield self._notice(source, "lines may be missing: the container was replaced, and nothing of it was kept")
        else:
            self._reading = rest
            old = kept_source(kept, source.service, source.component)
            async with aclosing(self._read(old, self._readers(left))) as pieces:
                async for piece in pieces:
                    piece.batch.caught_up = False
                    yield piece
            yield self._notice(source, "replaced")
        self._reading = Reading(window, self._wanted.timed)

    def _notice(self, source: LogSource, what: str) -> Piece:
        """Something that happened to the component, while there is nothing more for now."""
        text = f"{source.service}/{source.component}: {what}"
        place = self._reading.after or NOWHERE
        return Piece(source, Batch(b"", [], place, place, notice=text, caught_up=True))


def parse_cursor(text: str) -> tuple[str, Position]:
    """A container's id and a place in its log, from a cursor; raises InvalidInput."""
    identifier, _, place = text.partition("/")
    try:
        if not identifier or len(text) > 1000:
            raise ValueError
        return identifier, Position.parse(place)
    except ValueError:
        raise InvalidInput("cursors: one is not of this agent", "begin again without it") from None
