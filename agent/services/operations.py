"""Operations that change a service: one at a time for each service, and finished even if the client goes away."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from agent.log import fields, logger
from agent.store.registry import AsyncRegistry, OperationRow
from agent.tasks import create_guarded_task
from mcp.shared.errors import McpError, NotReady
from mcp.shared.times import ago

T = TypeVar("T")


@dataclass(frozen=True)
class Holder:
    """Who works on a service, and since when by the monotonic clock."""

    user: str
    operation: str
    since: float
    over: asyncio.Event | None = None  # of an operation that others wait for; set at its end


class Operations:
    """The operations under way on this agent. They live in memory, so none outlives the agent."""

    def __init__(self, registry: AsyncRegistry | None = None) -> None:
        """None are under way. With a registry, an agent that is killed in one finds it there when it starts again."""
        self._registry = registry
        self._holders: dict[str, Holder] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._ended_at: dict[str, float] = {}

    async def run(
        self,
        service: str,
        user: str,
        operation: str,
        work: Callable[[], Awaitable[T]],
        *,
        component: str = "",
        awaited: bool = False,
        noted: bool = True,
    ) -> T:
        """Run `work` alone on `service`; raises NotReady, naming the other one, where somebody else is at it.

        A client that is gone does not stop the work half-way: it goes on to its end, or to its undoing. Others wait for
        an `awaited` one instead of being refused: nobody asked for it, so nobody can be told to come back later.
        One that is `noted` is in the registry while it runs (see interrupted.py).
        """
        while (holder := self._holders.get(service)) and holder.over is not None:
            await holder.over.wait()
        if holder := self._holders.get(service):
            since = ago(time.monotonic() - holder.since)
            raise NotReady(
                f"{service}: {holder.operation} by {holder.user} has been under way for {since}",
                "try again when it is done",
            )
        over = asyncio.Event() if awaited else None
        self._holders[service] = Holder(user, operation, time.monotonic(), over)
        if noted and self._registry is not None:
            work = partial(self._noted, self._registry, OperationRow(service, operation, component), user, work)
        task = create_guarded_task(self._hold(service, work), f"{operation} of {service}", expected=(McpError,))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: "asyncio.Task[object]") -> None:
        self._tasks.discard(task)
        # Nobody is told of a failure when the client has gone: the log is.
        if not task.cancelled() and isinstance(error := task.exception(), McpError):
            logger.warning("operation failed", extra=fields(error=error))

    async def _hold(self, service: str, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await work()
        finally:
            holder = self._holders.pop(service)
            self._ended_at[service] = time.monotonic()
            if holder.over is not None:
                holder.over.set()

    async def _noted(
        self, registry: AsyncRegistry, row: OperationRow, user: str, work: Callable[[], Awaitable[T]]
    ) -> T:
        await registry.call(registry.operations.begin, row, user)
        try:
            result = await work()
        except asyncio.CancelledError:
            raise  # the agent is ending: the next one finds what is left
        except BaseException:
            await registry.call(registry.operations.end, row.service)
            raise
        await registry.call(registry.operations.end, row.service)
        return result

    def services_since(self, moment: float) -> set[str]:
        """The services that were worked on at or after `moment` (time.monotonic); what ended before is forgotten."""
        self._ended_at = {service: ended for service, ended in self._ended_at.items() if ended >= moment}
        return {*self._holders, *self._ended_at}

    async def finish(self, seconds: float) -> None:
        """Wait for what is under way, and cancel what is left after `seconds`."""
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=seconds)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
