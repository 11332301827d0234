"""What an agent that was killed in an operation left: found when it starts again, and finished or undone.

Deploys are undone, but for components whose new container was kept already; all else is simply done again.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from agent.log import fields, logger
from agent.podman.client import Podman
from agent.services.deploy import ComponentResult
from agent.services.lifecycle import Lifecycle
from agent.services.operations import Operations
from agent.services.rollout import discard, log_keeper
from agent.store.registry import AsyncRegistry, ComponentRow, DeployRow, OperationRow
from mcp.shared.errors import McpError, NotFound, NotReady
from mcp.shared.names import aside_name, container_name
from mcp.shared.spec import ComponentSpec


class InterruptedOperations:
    """Finishes or undoes what is left under way."""

    def __init__(self, podman: Podman, registry: AsyncRegistry, lifecycle: Lifecycle) -> None:
        """Works through the same parts that the operations themselves use."""
        self._podman = podman
        self._registry = registry
        self._lifecycle = lifecycle

    async def left(self) -> list[OperationRow]:
        """The operations that were under way when the last agent ended."""
        return await self._registry.call(self._registry.operations.unfinished)

    async def heal(self, left: OperationRow) -> None:
        """Finish or undo one of them; raises McpError where podman does not let us."""
        if left not in await self.left():
            return  # somebody's command has dealt with it meanwhile
        logger.info("healing", extra=fields(service=left.service, operation=left.operation))
        for deploy in await self._registry.call(self._registry.deploys.select, left.service, 0, "running"):
            await self._undo(deploy)
        repeat = {
            "stop": self._lifecycle.stop,
            "start": self._lifecycle.start,
            "restart": self._lifecycle.start,  # it may have got as far as stopping
        }.get(left.operation)
        with suppress(NotFound):  # it had got to its end
            if repeat is not None:
                _check(await repeat(left.service, left.component))
            elif left.operation == "undeploy":
                _check(await self._lifecycle.undeploy(left.service))
        await self._registry.call(self._registry.operations.end, left.service)

    async def _undo(self, deploy: DeployRow) -> None:
        service = deploy.definition
        rows = {row.name: row for row in await self._registry.call(self._registry.components.select, service.name)}
        for component in service.components:
            if deploy.component in ("", component.name):
                await self._undo_component(deploy, component, rows.get(component.name))
        await self._registry.call(
            self._registry.deploys.end,
            deploy.number,
            "interrupted",
            "the agent ended before the deploy did",
            deploy.digests,
        )

    async def _undo_component(self, deploy: DeployRow, component: ComponentSpec, row: ComponentRow | None) -> None:
        service, name = deploy.definition.name, container_name(deploy.definition.name, component.name)
        found = await self._podman.find(name, aside_name(name))
        current, aside = found.get(name), found.get(aside_name(name))
        keep_log = log_keeper(self._podman, self._registry, service, component.name)
        if row is not None and row.deploy == deploy.number:
            if aside is not None:
                await keep_log(aside, "replaced")
                await self._podman.remove_container(aside)
            return
        if current is not None and current.deploy == deploy.number:
            await discard(self._podman, current, keep_log)
            current = None
        if aside is not None and current is None:
            await self._podman.rename(aside.name, name)
            current = aside
        if current is not None and row is not None and row.desired_state == "running":
            await self._podman.start(name)
        kept = {route.name for route in row.spec.routes} if row else set()
        await self._registry.call(self._registry.components.release_ports, service, component.name, kept)


def _check(results: Sequence[ComponentResult]) -> None:
    """Raise NotReady with the first error: what has failed is not healed."""
    for result in results:
        if result.error:
            raise NotReady(f"{result.name}: {result.error}")


async def finish_all(
    healer: InterruptedOperations, operations: Operations, left: Sequence[OperationRow]
) -> list[OperationRow]:
    """Heal every service that needs it; what cannot be healed now is said in the log, and returned.

    All at once: commands for one of them wait until it is healed, and none comes before.
    """
    healed = await asyncio.gather(*(_healed(healer, operations, each) for each in left))
    return [each for each, done in zip(left, healed, strict=True) if not done]


async def _healed(healer: InterruptedOperations, operations: Operations, left: OperationRow) -> bool:
    work = partial(healer.heal, left)
    try:
        await operations.run(left.service, "mcp-agent", "healing", work, awaited=True, noted=False)
    except McpError as error:
        logger.error("healing failed", extra=fields(service=left.service, error=error))
        return False
    return True
