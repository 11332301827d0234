"""Repair components: start those that failed, restart those that are unhealthy."""

import asyncio
from functools import partial

from agent.log import fields, logger
from agent.monitor.healing import Remedy, Repair
from agent.podman.client import restarters
from agent.podman.output import Container
from agent.podman.states import ENDED, Health
from agent.services import plan
from agent.services.executor import Executor
from agent.services.operations import REPAIR, Operations
from mcp.shared.errors import NotReady
from mcp.shared.states import DesiredState

USER = "mcp-agent"


class Supervisor:
    """Carries out repairs as operations of their services, which a killed agent's successor completes."""

    def __init__(self, executor: Executor, operations: Operations) -> None:
        """Hold each service through `operations` while repairing it."""
        self._executor = executor
        self._operations = operations

    async def repair(self, repair: Repair) -> bool:
        """Carry out a repair; returns False if it is no longer needed, or podman is at it. Raises McpError.

        Commands for the service wait for its end.
        """
        service, component = repair.key
        if self._operations.is_held(service):
            return False
        work = partial(self._alone, repair)
        return await self._operations.run(service, USER, REPAIR, work, component=component, awaited=True)

    async def _alone(self, repair: Repair) -> bool:
        """Repair a component of a service that is held, if it still has to be repaired, and no change of it is left."""
        registry = self._executor.registry
        left = await registry.call(registry.operations.transactions, repair.key[0])
        if repair.key in {(change.service, change.component) for change in left}:
            return False
        state = await self._executor.examine()
        row, container = state.row(*repair.key), state.container(repair.container)
        if row is None or row.desired_state is not DesiredState.RUNNING or container is None:
            return False
        if not await _is_needed(repair.remedy, container):
            return False
        about = fields(service=row.service, component=row.name, reason=repair.reason, attempt=repair.attempt)
        logger.warning(f"{repair.remedy.removesuffix('e')}ing a failed component", extra=about)
        (result,) = await self._executor.apply([plan.repair(row, repair.remedy, repair.reason, state)])
        if result.error:
            raise NotReady(result.error)
        return True


async def _is_needed(remedy: Remedy, container: Container) -> bool:
    """Tell if a container is still as it was, and podman is not about to start it."""
    if remedy is Remedy.REPLACE:
        return container.orphaned
    if remedy is Remedy.RESTART:
        return container.running and container.health == Health.UNHEALTHY
    podmans = await asyncio.to_thread(restarters, container.identifier)
    return container.state in ENDED and not podmans
