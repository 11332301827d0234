"""End open-ended streams when the agent stops."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TypeVar

from agent.tasks import create_guarded_task
from mcp.shared.errors import Unavailable

T = TypeVar("T")


@dataclass(eq=False)
class _Follower:
    task: "asyncio.Task[object]"
    waiting: bool = False


class Followers:
    """The active streams. They have no tasks of their own, since there may be a thousand."""

    def __init__(self, stopping: asyncio.Event) -> None:
        """End all streams when `stopping` is set."""
        self._stopping = stopping
        self._followers: set[_Follower] = set()
        self._watch: asyncio.Task[None] | None = None

    async def until_stopping(self, items: AsyncGenerator[T]) -> AsyncGenerator[T]:
        """Yield items to their end; raises Unavailable if the agent stops first."""
        if self._watch is None:
            self._watch = create_guarded_task(self._end_all(), "follower shutdown")
        task = asyncio.current_task()
        assert task is not None
        follower = _Follower(task)
        self._followers.add(follower)
        try:
            while not self._stopping.is_set():
                follower.waiting = True
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    return
                except asyncio.CancelledError:
                    if not self._stopping.is_set():
                        raise
                    task.uncancel()
                    break
                finally:
                    follower.waiting = False
                yield item
            raise Unavailable("the agent is stopping", "run the command again when it is back")
        finally:
            self._followers.discard(follower)
            await items.aclose()

    async def _end_all(self) -> None:
        await self._stopping.wait()
        for follower in self._followers:
            if follower.waiting:  # others notice it after their write, which must not be interrupted
                follower.task.cancel()
