"""Finish or undo operations that were interrupted by the agent's end or that podman failed, until that has succeeded.

The steps that are left are in the registry. They are tried at the start of the agent, before the next operation on the
service, and again and again in between.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, repeat

from agent.log import fields, logger
from agent.services.executor import Executor, Key
from agent.services.operations import RECOVERY, Operations
from agent.services.transaction import is_undo, resume
from agent.store.registry import OperationRow, TransactionRow
from agent.tasks import not_cancelled
from mcp.shared.errors import McpError
from mcp.shared.states import DeployResult

USER = "mcp-agent"
DELAYS = (1.0, 2.0, 5.0, 10.0, 30.0)  # seconds between attempts; then one in each round of the monitor


class InterruptedOperations:
    """The operations in progress when the previous agent ended, and those of this one that podman let down."""

    def __init__(self, executor: Executor, operations: Operations) -> None:
        """Hold each service through `operations` while finishing it."""
        self._executor = executor
        self._operations = operations
        self._registry = executor.registry
        self._ended: asyncio.Queue[str] = asyncio.Queue()  # services whose operations may have left something
        self._again: dict[str, asyncio.Event] = {}  # services that are tried again; set by a later operation
        operations.finish_interrupted = self.finish_service
        operations.on_end = self._ended.put_nowait

    async def watch(self, interval: float) -> None:
        """Try again what operations leave, `interval` seconds apart in the end, until cancelled.

        Each service by itself: a podman that hangs for one must not delay the others.
        """
        async with asyncio.TaskGroup() as group:
            while not_cancelled():
                service = await self._ended.get()
                if service in self._again:
                    self._again[service].set()
                else:
                    self._again[service] = asyncio.Event()
                    group.create_task(self._try_again(service, interval))

    async def _try_again(self, service: str, interval: float) -> None:
        """Finish what is left of a service, with growing delays, which begin anew after another operation."""
        another, delays = self._again[service], chain(DELAYS, repeat(interval))
        while (left := await self._left(service)) is None or left:
            if await _is_set_within(another, next(delays)):
                another.clear()
                delays = chain(DELAYS, repeat(interval))
            elif left and not self._operations.is_held(service):
                await self.finish_all(left)
        del self._again[service]

    async def _left(self, service: str) -> list[OperationRow] | None:
        """Return the unfinished operations of a service, also one in progress; None if the registry cannot be read."""
        try:
            return [left for left in await self.unfinished() if left.service == service]
        except McpError as error:
            logger.error("cannot read what is left of operations", extra=fields(service=service, error=error))
            return None

    async def pending(self) -> dict[Key, str]:
        """Say by service and component what is left to be undone or completed, and why."""
        working = set(self._executor.in_progress)
        rows = await self._registry.call(self._registry.operations.transactions)
        working |= self._executor.in_progress
        by_key = {(row.service, row.component): row for row in rows}
        return {key: self._said(key, row) for key, row in by_key.items() if key not in working}

    def _said(self, key: Key, row: TransactionRow) -> str:
        what, why = "undo pending" if is_undo(row) else "completion pending", self._executor.failures.get(key)
        return f"{what}: {why}" if why else what

    async def unfinished(self) -> list[OperationRow]:
        """Return the unfinished operations."""
        return await self._registry.call(self._registry.operations.unfinished)

    async def finish_all(self, left: Sequence[OperationRow]) -> None:
        """Finish or undo operations concurrently; what fails is logged, and tried again by `watch`.

        Commands for these services wait until their operation is finished.
        """
        await asyncio.gather(*(self._finish_alone(operation) for operation in left))

    async def _finish_alone(self, left: OperationRow) -> None:
        work = partial(self.finish, left)
        run = self._operations.run(left.service, USER, RECOVERY, work, awaited=True, noted=False)
        if not await _succeeded(left.service, run) and left.service not in self._again:
            self._ended.put_nowait(left.service)

    async def finish_service(self, service: str) -> None:
        """Finish or undo what is left of a service, before its next operation; log a failure."""
        for left in await self.unfinished():
            if left.service == service:
                await _succeeded(service, self.finish(left))

    async def finish(self, left: OperationRow) -> None:
        """Finish or undo one operation; raises McpError if podman fails."""
        if left not in await self.unfinished():
            return  # another command has finished it meanwhile
        logger.info("interrupted operation", extra=fields(service=left.service, operation=left.operation))
        await self._resume(left.service)
        for deploy in await self._registry.call(self._registry.deploys.select, left.service, 0, DeployResult.RUNNING):
            await self._executor.end_deploy_again(deploy)
        await self._registry.call(self._registry.operations.end, left.service)

    async def _resume(self, service: str) -> None:
        """Finish or undo every component's change; raises the first McpError once all were tried."""
        failure: McpError | None = None
        for row in await self._registry.call(self._registry.operations.transactions, service):
            try:
                await self._resume_one(row)
            except McpError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    async def _resume_one(self, row: TransactionRow) -> None:
        """Finish or undo a change, and write what became of it into the history; raises McpError."""
        key, failures = (row.service, row.component), self._executor.failures
        try:
            outcome = await resume(row, self._executor.context(row.service, row.component, row.deploy))
        except McpError as error:
            failures[key] = error.what
            raise
        except Exception:  # noqa: BLE001 - a bug must not end the attempts for other components; logged whole
            logger.exception("bug in finishing a change", extra=fields(service=row.service, component=row.component))
            failures[key] = "internal error; see the agent's log"
            raise McpError(failures[key]) from None
        failures.pop(key, None)
        if row.undone_on_failure:
            await self._registry.call(self._registry.deploys.add_error, row.deploy, f"{row.component}: {outcome}")


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False


async def _succeeded(service: str, work: Awaitable[None]) -> bool:
    """Await work on an interrupted operation; return False, and log why, if it fails."""
    try:
        await work
    except McpError as error:
        logger.error("cannot finish an interrupted operation", extra=fields(service=service, error=error))
        return False
    return True
