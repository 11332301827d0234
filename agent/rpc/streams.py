"""End streams early: when the agent stops, and when their token is no longer valid."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from agent.auth.backends import Identity
from agent.tasks import create_guarded_task, not_cancelled
from mcp.shared.errors import Forbidden, McpError, Unauthenticated, Unavailable

T = TypeVar("T")

TOKEN_SECONDS = 15.0  # between two checks of the tokens of open streams
CHECKS_AT_ONCE = 4  # tokens; a backend refuses what exceeds its own limit


@dataclass(eq=False)
class OpenStream:
    """A stream whose items pass through `items`. It has no task of its own, since there may be a thousand."""

    token: str = ""
    expires_at: datetime | None = None  # of the token
    permit: Callable[[Identity], None] = lambda _identity: None  # raises Forbidden once the account may not have it
    ended: McpError | None = None
    _waiting: "asyncio.Task[object] | None" = None  # the task that waits for the next item

    def end(self, error: McpError) -> None:
        """End the stream with an error: at once, or after a write to the client, which must not be interrupted."""
        self.ended = self.ended or error
        if self._waiting is not None:
            self._waiting.cancel()

    async def items(self, source: AsyncGenerator[T]) -> AsyncGenerator[T]:
        """Yield the items of `source` to its end; raises the error that ended the stream first."""
        task = asyncio.current_task()
        assert task is not None
        try:
            while self.ended is None:
                self._waiting = task
                try:
                    item = await anext(source)
                except StopAsyncIteration:
                    return
                except asyncio.CancelledError:
                    if self.ended is None:
                        raise
                    task.uncancel()
                    break
                finally:
                    self._waiting = None
                yield item
            raise self.ended
        finally:
            await source.aclose()


class Followers:
    """Open-ended streams, which end when the agent stops."""

    def __init__(self, stopping: asyncio.Event) -> None:
        """End all streams when `stopping` is set."""
        self._stopping = stopping
        self._streams: set[OpenStream] = set()
        self._watch: asyncio.Task[None] | None = None

    async def until_stopping(self, source: AsyncGenerator[T]) -> AsyncGenerator[T]:
        """Yield items to their end; raises Unavailable if the agent stops first."""
        if self._watch is None:
            self._watch = create_guarded_task(self._end_all(), "follower shutdown")
        stream = OpenStream()
        if self._stopping.is_set():
            stream.end(_stopping())
        self._streams.add(stream)
        try:
            async for item in stream.items(source):
                yield item
        finally:
            self._streams.discard(stream)

    async def _end_all(self) -> None:
        await self._stopping.wait()
        for stream in list(self._streams):
            stream.end(_stopping())


def _stopping() -> Unavailable:
    return Unavailable("the agent is stopping", "run the command again when it is back")


class TokenWatch:
    """Streams in progress, which end when their token is revoked or expires, or its account may not have them."""

    def __init__(
        self,
        verify: Callable[[str], Awaitable[Identity]],
        seconds: float = TOKEN_SECONDS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Call `verify` every `seconds` with each token in use; it raises Unauthenticated or Forbidden."""
        self._verify = verify
        self._seconds = seconds
        self._now = now
        self._streams: set[OpenStream] = set()
        self._watch: asyncio.Task[None] | None = None

    def add(self, stream: OpenStream) -> None:
        """Watch a stream until it is removed."""
        self._streams.add(stream)
        if self._watch is None:
            self._watch = create_guarded_task(self._check_all(), "token watch")

    def remove(self, stream: OpenStream) -> None:
        """Watch a stream no longer; the check ends with the last one."""
        self._streams.discard(stream)
        if not self._streams and self._watch is not None:
            self._watch.cancel()
            self._watch = None

    async def _check_all(self) -> None:
        while not_cancelled():
            await asyncio.sleep(self._seconds)
            by_token: defaultdict[str, list[OpenStream]] = defaultdict(list)
            for stream in self._streams:
                by_token[stream.token].append(stream)
            limit = asyncio.Semaphore(CHECKS_AT_ONCE)
            await asyncio.gather(*(self._check(token, streams, limit) for token, streams in by_token.items()))

    async def _check(self, token: str, streams: list[OpenStream], limit: asyncio.Semaphore) -> None:
        try:
            async with limit:
                identity = await self._verify(token)
        except (Unauthenticated, Forbidden) as error:
            _end(streams, error)
        except McpError:  # the token cannot be verified now, but it ends when it was to end
            _end([each for each in streams if each.expires_at and each.expires_at <= self._now()], _expired())
        else:
            for stream in streams:
                try:
                    stream.permit(identity)
                except Forbidden as error:
                    stream.end(error)


def _end(streams: list[OpenStream], error: McpError) -> None:
    for stream in streams:
        stream.end(error)


def _expired() -> Unauthenticated:
    return Unauthenticated("the token has expired")
