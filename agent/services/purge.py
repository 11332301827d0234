"""Purge registry entries that have no definition and no running container.

The CLI sends the defined components, since definitions are not stored on the node. Containers and data are kept.
"""

from collections.abc import Collection
from dataclasses import dataclass

from agent.podman.client import Podman
from agent.podman.output import Container
from agent.podman.states import ENDED
from agent.services.operations import Operations
from agent.store.components import Deployed, RequestedRow
from agent.store.registry import AsyncRegistry, UnreadableRow
from mcp.shared.errors import McpError, NotFound
from mcp.shared.states import DesiredState


@dataclass(frozen=True)
class Purged:
    """The result for one component (expected result for a dry run), and the reason for it.

    `undeploy` is True for one that has no definition, but has to be undeployed instead.
    """

    service: str
    component: str
    purged: bool
    reason: str
    undeploy: bool = False


@dataclass(frozen=True)
class PurgeScope:
    """The components to purge: all if `service` and `component` are empty, except SERVICE/COMPONENT in `defined`."""

    service: str
    component: str
    dry_run: bool
    defined: frozenset[str]


def verdict(
    row: Deployed | RequestedRow, containers: Collection[Container], defined: frozenset[str]
) -> tuple[bool, str]:
    """Return True if a component may be purged, and the reason."""
    if f"{row.service}/{row.name}" in defined:
        return False, "it has a definition"
    if isinstance(row, RequestedRow):
        return True, "no definition; it never came up"
    container = next((container for container in containers if container.name == row.container), None)
    if container is not None:
        if container.state in ENDED:
            return True, f"no definition; the container {row.container} is stopped, and is kept"
        return False, f"the container {row.container} is {container.state}"
    if not containers and (isinstance(row, UnreadableRow) or row.desired_state is DesiredState.RUNNING):
        # podman may have lost its database; then only the registry has the components
        return False, "it should be running, but podman lists no containers: recover the node"
    return True, f"no definition; the container {row.container} is gone"


class Purger:
    """Purges entries of this node's registry."""

    def __init__(self, podman: Podman, registry: AsyncRegistry, operations: Operations) -> None:
        """Hold each service through `operations` while changing it."""
        self._podman = podman
        self._registry = registry
        self._operations = operations

    async def purge(self, request: PurgeScope, user: str) -> list[Purged]:
        """Remove eligible components from the registry; raises NotFound if the scope matches none."""
        rows = await self._rows(request.service, request.component)
        if not rows and request.service:
            asked = f"{request.service}/{request.component}" if request.component else request.service
            raise NotFound(f"{asked} is not registered on this node")
        services = dict.fromkeys(row.service for row in rows)
        results = [await self._service(service, request, user) for service in services]
        return [result for purged in results for result in purged]

    async def _rows(self, service: str, component: str) -> list[Deployed | RequestedRow]:
        """Return the components of a service (of all if empty), also those that never came up."""
        components, call = self._registry.components, self._registry.call
        deployed = await call(components.deployed, service, component)
        return [*deployed, *await call(components.requested, service, component)]

    async def _service(self, service: str, request: PurgeScope, user: str) -> list[Purged]:
        async def work() -> list[Purged]:
            return await self._judge(service, request)

        rows = await self._rows(service, request.component)
        if request.dry_run or all(f"{row.service}/{row.name}" in request.defined for row in rows):
            return await work()
        try:
            return await self._operations.run(service, user, "purge", work)
        except McpError as error:
            return [Purged(row.service, row.name, False, str(error)) for row in rows]

    async def _judge(self, service: str, request: PurgeScope) -> list[Purged]:
        rows = await self._rows(service, request.component)
        containers = await self._podman.containers()
        results = []
        for row in rows:
            may_go, reason = verdict(row, containers, request.defined)
            if may_go and not request.dry_run:
                await self._registry.call(self._registry.components.remove, row.service, row.name)
            undeploy = not may_go and f"{row.service}/{row.name}" not in request.defined
            results.append(Purged(row.service, row.name, may_go, reason, undeploy))
        return results
