"""Finish or undo operations that were interrupted by the agent's end or that podman failed, until that has succeeded.

The steps that are left are in the registry. They are tried at the start of the agent, before the next operation on the
service, and again and again in between.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from functools import partial
from itertools import chain, repeat

from agent.log import fields, logger
from agent.services.executor import Executor
from agent.services.operations import Operations
from agent.services.transaction import is_undo, resume
from agent.store.registry import OperationRow
from mcp.shared.errors import McpError
from mcp.shared.states import DeployResult

USER = "mcp-agent"
DELAYS = (1.0, 2.0, 5.0, 10.0, 30.0)  # seconds between attempts; then one in each round of the monitor


class InterruptedOperations:
    """The operations in progress when the previous agent ended."""

    def __init__(self, executor: Executor, operations: Operations) -> None:
        """Hold each service through `operations` while finishing it."""
        self._executor = executor
        self._operations = operations
        self._registry = executor.registry
        self._ended = asyncio.Event()  # an operation has ended, and may have left something
        self._failures: dict[str, str] = {}  # by service: why the last attempt failed
        operations.finish_interrupted = self.finish_service
        operations.on_end = self._ended.set

    async def watch(self, interval: float) -> None:
        """Try again what is left, `interval` seconds apart in the end, until cancelled."""
        while True:
            self._ended.clear()
            delays = chain(DELAYS, repeat(interval))
            while left := await self._left():
                await asyncio.sleep(next(delays))
                await self.finish_all([each for each in left if not self._operations.is_held(each.service)])
            await self._ended.wait()

    async def _left(self) -> list[OperationRow]:
        """Return the operations that have ended and left something; none if the registry cannot be read."""
        try:
            return [each for each in await self.unfinished() if not self._operations.is_held(each.service)]
        except McpError as error:
            logger.error("cannot read what is left of operations", extra=fields(error=error))
            return []

    async def pending(self) -> dict[tuple[str, str], str]:
        """Say by service and component what is left to be undone or completed, and why."""
        rows = await self._registry.call(self._registry.operations.transactions)
        found = {}
        for row in rows:
            if not self._operations.is_held(row.service):
                what = "undo pending" if is_undo(row) else "completion pending"
                why = self._failures.get(row.service, "")
                found[row.service, row.component] = f"{what}: {why}" if why else what
        return found

    async def unfinished(self) -> list[OperationRow]:
        """Return the unfinished operations."""
        return await self._registry.call(self._registry.operations.unfinished)

    async def finish_all(self, left: Sequence[OperationRow]) -> list[OperationRow]:
        """Finish or undo operations concurrently; log and return those that failed.

        Commands for these services wait until their operation is finished.
        """
        finished = await asyncio.gather(*(self._finished(operation) for operation in left))
        return [operation for operation, done in zip(left, finished, strict=True) if not done]

    async def _finished(self, left: OperationRow) -> bool:
        work = partial(self.finish, left)
        run = self._operations.run(left.service, USER, "recovery", work, awaited=True, noted=False)
        return await self._succeeded(left.service, run)

    async def finish_service(self, service: str) -> None:
        """Finish or undo what is left of a service, before its next operation; log a failure."""
        for left in await self.unfinished():
            if left.service == service:
                await self._succeeded(service, self.finish(left))

    async def finish(self, left: OperationRow) -> None:
        """Finish or undo one operation; raises McpError if podman fails."""
        if left not in await self.unfinished():
            return  # another command has finished it meanwhile
        logger.info("interrupted operation", extra=fields(service=left.service, operation=left.operation))
        await self._resume(left.service)
        deploys = self._registry.deploys
        for deploy in await self._registry.call(deploys.select, left.service, 0, DeployResult.RUNNING):
            await self._executor.end_deploy_again(deploy.number, deploy.digests)
        await self._registry.call(self._registry.operations.end, left.service)

    async def _resume(self, service: str) -> None:
        """Finish or undo every component's change; raises the first McpError once all were tried."""
        failure: McpError | None = None
        for row in await self._registry.call(self._registry.operations.transactions, service):
            try:
                await resume(row, self._executor.context(row.service, row.component, row.deploy))
            except McpError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    async def _succeeded(self, service: str, work: Awaitable[None]) -> bool:
        """Await work on an interrupted operation; return False, and log why, if it fails."""
        try:
            await work
        except McpError as error:
            self._failures[service] = error.what
            logger.error("cannot finish an interrupted operation", extra=fields(service=service, error=error))
            return False
        except Exception:  # noqa: BLE001 - a bug must not end the attempts for other services; logged with traceback
            self._failures[service] = "internal error; the agent's log has the details"
            logger.exception("bug in finishing an operation", extra=fields(service=service))
            return False
        self._failures.pop(service, None)
        return True
