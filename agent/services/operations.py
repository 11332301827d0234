"""Serialize operations per service, and finish them even if the client disconnects."""

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

REPAIR = "repair"  # the operation of repairs by the agent
RECOVERY = "recovery"  # of its attempts to finish what is left of another operation


@dataclass(frozen=True)
class Holder:
    """The current operation on a service; `since` is monotonic time."""

    user: str
    operation: str
    since: float
    over: asyncio.Event | None = None  # set at the end of an operation that others wait for

    @property
    def is_agents_own(self) -> bool:
        """Tell if the agent repairs or finishes what failed, which is nobody's doing."""
        return self.operation in (REPAIR, RECOVERY)


class Operations:
    """The operations in progress on this agent, held in memory."""

    def __init__(self, registry: AsyncRegistry | None = None) -> None:
        """With a registry, record operations there, so that the next agent can resume interrupted ones."""
        self._registry = registry
        self._holders: dict[str, Holder] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._ended_at: dict[str, float] = {}
        self.finish_interrupted: Callable[[str], Awaitable[None]] | None = None  # called before each noted operation
        self.on_end: Callable[[str], object] | None = None  # called with the service after each but a recovery

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
        """Run `work` exclusively for `service`, to its end even if the client disconnects.

        Args:
            service: The service to lock.
            user: The account named to others that are refused.
            operation: The verb named to others that are refused.
            work: The operation itself.
            component: The component to record with a `noted` operation.
            awaited: Let other operations wait for this one instead of refusing them; for work without a client.
            noted: Record the operation in the registry while it runs (see interrupted.py).

        Raises:
            NotReady: Another operation on the service is in progress.
        """
        while (holder := self._holders.get(service)) and holder.over is not None:
            await holder.over.wait()
        if holder := self._holders.get(service):
            since = ago(time.monotonic() - holder.since)
            raise NotReady(
                f"{service}: {holder.operation} by {holder.user} has been in progress for {since}",
                "try again when it has finished",
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
        # The client may have disconnected, so log the failure here.
        if not task.cancelled() and isinstance(error := task.exception(), McpError):
            logger.warning("operation failed", extra=fields(error=error))

    async def _hold(self, service: str, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await work()
        finally:
            holder = self._holders.pop(service)
            if not holder.is_agents_own:
                self._ended_at[service] = time.monotonic()
            if holder.over is not None:
                holder.over.set()
            if self.on_end is not None and holder.operation != RECOVERY:
                self.on_end(service)

    async def _noted(
        self, registry: AsyncRegistry, row: OperationRow, user: str, work: Callable[[], Awaitable[T]]
    ) -> T:
        if self.finish_interrupted is not None:  # else the end of this operation would drop what is left of another
            await self.finish_interrupted(row.service)
        await registry.call(registry.operations.begin, row, user)
        try:
            result = await work()
        except asyncio.CancelledError:
            raise  # the agent is stopping: the next one resumes the operation
        except BaseException:
            await self._note_end(registry, row.service)
            raise
        await self._note_end(registry, row.service)
        return result

    async def _note_end(self, registry: AsyncRegistry, service: str) -> None:
        """Note the end of an operation; where the registry cannot be written, it stays and is finished later."""
        try:
            await registry.call(registry.operations.end, service)
        except McpError as error:
            logger.error("cannot note the end of an operation", extra=fields(service=service, error=error))

    def is_held(self, service: str) -> bool:
        """Tell if an operation on a service is in progress."""
        return service in self._holders

    def services_since(self, moment: float) -> set[str]:
        """Return the services with operations at or after `moment` (monotonic), without the agent's own.

        Drops older records.
        """
        self._ended_at = {service: ended for service, ended in self._ended_at.items() if ended >= moment}
        return {*(name for name, holder in self._holders.items() if not holder.is_agents_own), *self._ended_at}

    async def finish(self, seconds: float) -> None:
        """Wait for operations in progress, and cancel the rest after `seconds`."""
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=seconds)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
