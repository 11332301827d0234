"""Finish or undo what an agent was killed in, from the steps that the registry holds, when the next one starts."""

import asyncio
from collections.abc import Sequence
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
    """The operations that were under way when the last agent ended."""

    def __init__(self, executor: Executor, operations: Operations) -> None:
        """Work on a service only while no other operation does."""
        self._executor = executor
        self._operations = operations
        self._registry = executor.registry

    async def unfinished(self) -> list[OperationRow]:
        """Return the operations that have not ended."""
        return await self._registry.call(self._registry.operations.unfinished)

    async def finish_all(self, left: Sequence[OperationRow]) -> list[OperationRow]:
        """Finish or undo operations, all at once; return those for which that failed, which the log says.

        Commands for one of the services wait until it is done, and none comes before.
        """
        finished = await asyncio.gather(*(self._finished(operation) for operation in left))
        return [operation for operation, done in zip(left, finished, strict=True) if not done]

    async def _finished(self, left: OperationRow) -> bool:
        work = partial(self.finish, left)
        try:
            await self._operations.run(left.service, USER, "recovery", work, awaited=True, noted=False)
        except McpError as error:
            logger.error("an interrupted operation is not finished", extra=fields(service=left.service, error=error))
            return False
        return True

    async def finish(self, left: OperationRow) -> None:
        """Finish or undo one operation; raises McpError where podman does not let us."""
        if left not in await self.unfinished():
            return  # somebody's command has dealt with it meanwhile
        logger.info("interrupted operation", extra=fields(service=left.service, operation=left.operation))
        for row in await self._registry.call(self._registry.operations.transactions, left.service):
            await resume(row, self._executor.context(row.service, row.component, row.deploy))
        deploys = self._registry.deploys
        for deploy in await self._registry.call(deploys.select, left.service, 0, DeployResult.RUNNING):
            why = "the agent ended before the deploy did"
            await self._registry.call(deploys.end, deploy.number, DeployResult.INTERRUPTED, why, deploy.digests)
        await self._registry.call(self._registry.operations.end, left.service)
