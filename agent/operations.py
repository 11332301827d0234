"""Operations that change a service: one at a time for each service, and finished even if the client goes away."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from agent.log import fields, logger
from mcp.shared.errors import NotReady
from mcp.shared.times import ago

T = TypeVar("T")


@dataclass(frozen=True)
class Holder:
    """Who works on a service, and since when."""

    user: str
    operation: str
    since: datetime


class Operations:
    """The operations under way on this agent. They live in memory, so none outlives the agent."""

    def __init__(self) -> None:
        """None are under way."""
        self._holders: dict[str, Holder] = {}
        self._tasks: set[asyncio.Task[object]] = set()

    async def run(self, service: str, user: str, operation: str, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` alone on `service`; raises NotReady, naming the other one, where somebody else is at it.

        A client that is gone does not stop the work half-way: it goes on to its end, or to its undoing.
        """
        if holder := self._holders.get(service):
            since = ago((datetime.now(UTC) - holder.since).total_seconds())
            raise NotReady(
                f"{service}: {holder.operation} by {holder.user} has been under way for {since}",
                "try again when it is done",
            )
        self._holders[service] = Holder(user, operation, datetime.now(UTC))
        task = asyncio.ensure_future(self._hold(service, work))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: "asyncio.Task[object]") -> None:
        self._tasks.discard(task)
        # Nobody is told of a failure when the client has gone: the log is.
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("operation failed", extra=fields(error=error))

    async def _hold(self, service: str, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await work()
        finally:
            del self._holders[service]

    async def finish(self, seconds: float) -> None:
        """Wait for what is under way, and cancel what is left after `seconds`."""
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=seconds)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
