"""Purging: forgetting components that nobody defines any more and whose container is gone or stopped.

The agent does not know the definitions; the CLI says which components of this node have one. Containers and data are
not touched.
"""

from collections.abc import Collection
from dataclasses import dataclass

from agent.podman.client import Podman
from agent.podman.output import Container
from agent.podman.states import ENDED
from agent.services.operations import Operations
from agent.store.registry import AsyncRegistry, ComponentRow
from mcp.shared.errors import McpError, NotFound
from mcp.shared.states import DesiredState


@dataclass(frozen=True)
class Purged:
    """What became (with dry_run: would become) of one component; `reason` says why it may go, or why it may not."""

    service: str
    component: str
    purged: bool
    reason: str


@dataclass(frozen=True)
class PurgeScope:
    """What to purge: `service` and `component` empty for all; `defined` has SERVICE/COMPONENT of each definition."""

    service: str
    component: str
    dry_run: bool
    defined: frozenset[str]


def verdict(row: ComponentRow, containers: Collection[Container], defined: frozenset[str]) -> tuple[bool, str]:
    """Whether a component may be purged, and why."""
    if f"{row.service}/{row.name}" in defined:
        return False, "it is in a definition"
    container = next((each for each in containers if each.name == row.container), None)
    if container is not None:
        if container.state in ENDED:
            return True, f"in no definition, and its container {row.container} is stopped; that stays"
        return False, f"its container {row.container} is {container.state}; stop or undeploy it first"
    if not containers and row.desired_state is DesiredState.RUNNING:
        # podman loses its containers now and then; then the registry is all that knows what ran
        return False, "it should run, and podman knows no container at all: recover the node, or undeploy it"
    return True, f"in no definition, and its container {row.container} is gone"


class Purger:
    """Purges this node's registry."""

    def __init__(self, podman: Podman, registry: AsyncRegistry, operations: Operations) -> None:
        """Works on a service only while no other operation does."""
        self._podman = podman
        self._registry = registry
        self._operations = operations

    async def purge(self, request: PurgeScope, user: str) -> list[Purged]:
        """Judge the components asked for, and forget those that may go; raises NotFound where there is none."""
        rows = await self._registry.call(self._registry.components.select, request.service, request.component)
        if not rows and request.service:
            asked = f"{request.service}/{request.component}" if request.component else request.service
            raise NotFound(f"{asked} is not registered on this node")
        services = dict.fromkeys(row.service for row in rows)
        results = [await self._service(service, request, user) for service in services]
        return [result for found in results for result in found]

    async def _service(self, service: str, request: PurgeScope, user: str) -> list[Purged]:
        async def work() -> list[Purged]:
            return await self._judge(service, request)

        rows = await self._registry.call(self._registry.components.select, service, request.component)
        if request.dry_run or all(f"{row.service}/{row.name}" in request.defined for row in rows):
            return await work()
        try:
            return await self._operations.run(service, user, "purge", work)
        except McpError as error:
            return [Purged(row.service, row.name, False, str(error)) for row in rows]

    async def _judge(self, service: str, request: PurgeScope) -> list[Purged]:
        rows = await self._registry.call(self._registry.components.select, service, request.component)
        containers = await self._podman.containers()
        results = []
        for row in rows:
            may_go, reason = verdict(row, containers, request.defined)
            if may_go and not request.dry_run:
                await self._registry.call(self._registry.components.remove, row.service, row.name)
            results.append(Purged(row.service, row.name, may_go, reason))
        return results
