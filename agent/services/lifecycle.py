"""Stopping, starting and removing what is deployed. Each can be run again, and then finishes what was left."""

from collections.abc import Awaitable

from agent.podman.client import Podman, labelled
from agent.services.deploy import ComponentResult, no_component
from agent.services.recover import bring_up
from agent.services.rollout import resolve_replacement
from agent.store.registry import AsyncRegistry, ComponentRow
from mcp.shared.errors import McpError, NotFound
from mcp.shared.names import ASIDE_SUFFIX, LABEL_COMPONENT, aside_name


class Lifecycle:
    """What can be done with deployed services on this node."""

    def __init__(self, podman: Podman, registry: AsyncRegistry) -> None:
        """Works on what `registry` knows, through `podman`."""
        self._podman = podman
        self._registry = registry

    async def rows(self, service: str, component: str = "") -> list[ComponentRow]:
        """The deployed components asked for; raises NotFound with what there is."""
        rows = await self._registry.call(self._registry.components.select, service)
        if not rows:
            there = {row.service for row in await self._registry.call(self._registry.components.select)}
            hint = f"deployed here: {', '.join(sorted(there))}" if there else "nothing is deployed here"
            raise NotFound(f"{service} is not deployed on this node", hint)
        chosen = [row for row in rows if component in ("", row.name)]
        if not chosen:
            raise no_component(service, component, [row.name for row in rows])
        return chosen

    async def stop(self, service: str, component: str) -> list[ComponentResult]:
        """Stop containers, in reverse order, and keep them."""
        rows = await self.rows(service, component)
        return [await _result(row.name, self._stop(row)) for row in reversed(rows)][::-1]

    async def start(self, service: str, component: str) -> list[ComponentResult]:
        """Start containers; one that is gone is made again from the registry."""
        return [await _result(row.name, self._start(row)) for row in await self.rows(service, component)]

    async def restart(self, service: str, component: str) -> list[ComponentResult]:
        """Stop and start containers, one after the other; what was stopped, or is gone, runs afterwards as well."""
        return [await _result(row.name, self._restart(row)) for row in await self.rows(service, component)]

    async def undeploy(self, service: str) -> list[ComponentResult]:
        """Stop and remove a service's containers and forget them; its data stays.

        Containers that MCP made for the service go too where the registry does not know them.
        """
        made = list(labelled(await self._podman.containers(), service))
        rows = [] if made else await self.rows(service)
        rows = rows or await self._registry.call(self._registry.components.select, service)
        known = {row.container for row in rows}
        strays = [container for container in made if container.name.removesuffix(ASIDE_SUFFIX) not in known]
        results = [await _result(row.name, self._undeploy(row)) for row in reversed(rows)][::-1]
        return results + [
            await _result(stray.labels.get(LABEL_COMPONENT, stray.name), self._podman.remove(stray.name))
            for stray in strays
        ]

    async def _stop(self, row: ComponentRow) -> None:
        await self._registry.call(self._registry.components.set_desired, row.service, row.name, "stopped")
        current = await resolve_replacement(self._podman, self._registry, row)
        if current is not None:  # what does not run may be between two runs of a crash loop
            await self._podman.stop(row.container)

    async def _start(self, row: ComponentRow) -> None:
        current = await resolve_replacement(self._podman, self._registry, row)
        if current is None or not current.running:
            await bring_up(self._podman, self._registry, row, current)
        await self._registry.call(self._registry.components.set_desired, row.service, row.name, "running")

    async def _restart(self, row: ComponentRow) -> None:
        current = await resolve_replacement(self._podman, self._registry, row)
        if current is not None:  # what does not run may be between two runs of a crash loop
            await self._podman.stop(row.container)
        await self._start(row)

    async def _undeploy(self, row: ComponentRow) -> None:
        await self._podman.remove(aside_name(row.container))
        await self._podman.remove(row.container)
        await self._registry.call(self._registry.components.remove, row.service, row.name)


async def _result(name: str, work: Awaitable[None]) -> ComponentResult:
    try:
        await work
    except McpError as error:
        return ComponentResult(name, str(error))
    return ComponentResult(name)
