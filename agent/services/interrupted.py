"""Finish or undo operations interrupted by the agent's end, from the steps in the registry."""

import asyncio
from collections.abc import Awaitable, Sequence
from functools import partial

from agent.log import fields, logger
from agent.services.executor import Executor
from agent.services.operations import Operations
from agent.services.transaction import resume
from agent.store.registry import OperationRow
from mcp.shared.errors import McpError
from mcp.shared.states import DeployResult

USER = "mcp-agent"


class InterruptedOperations:
    """The operations in progress when the previous agent ended."""

    def __init__(self, executor: Executor, operations: Operations) -> None:
        """Hold each service through `operations` while finishing it."""
        self._executor = executor
        self._operations = operations
        self._registry = executor.registry
        operations.finish_interrupted = self.finish_service

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
        return await _succeeded(left.service, run)

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
        deploys = self._registry.deploys
        for deploy in await self._registry.call(deploys.select, left.service, 0, DeployResult.RUNNING):
            why = "the agent ended during the deploy"
            await self._registry.call(deploys.end, deploy.number, DeployResult.INTERRUPTED, why, deploy.digests)
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


async def _succeeded(service: str, work: Awaitable[None]) -> bool:
    """Await work on an interrupted operation; return False, and log why, if it fails."""
    try:
        await work
    except McpError as error:
        logger.error("cannot finish an interrupted operation", extra=fields(service=service, error=error))
        return False
    return True
