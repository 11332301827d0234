"""Making the node run what the definitions say: the plan, carried out."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial as partial_

from agent.podman.client import Podman
from agent.services.deploy import Deployer
from agent.services.lifecycle import Lifecycle
from agent.services.operations import Operations
from agent.services.plan import Change, Reality, plan
from agent.store.registry import AsyncRegistry
from mcp.shared.errors import McpError
from mcp.shared.spec import ServiceSpec

DONE = {
    "create": "created",
    "replace": "replaced",
    "start": "started",
    "stop": "stopped",
    "register": "is to run again",
    "ignore": "ignored",
}


@dataclass(frozen=True)
class Synced:
    """What became of a service: in words, by component; `error` is empty where all went well."""

    name: str
    changed: bool
    summary: str
    error: str = ""


class Syncer:
    """Plans and carries out."""

    def __init__(
        self,
        podman: Podman,
        registry: AsyncRegistry,
        operations: Operations,
        deployer: Deployer,
        lifecycle: Lifecycle,
    ) -> None:
        """Works through the parts that single commands use."""
        self._operations = operations
        self._podman = podman
        self._registry = registry
        self._deployer = deployer
        self._lifecycle = lifecycle

    async def plan(self, services: Sequence[ServiceSpec], *, partial: bool) -> list[Change]:
        """What would have to be done; asks podman twice, however many services there are."""
        rows = await self._registry.call(self._registry.components.select)
        containers, image_ids = await self._podman.containers(), await self._podman.image_ids()
        return plan(services, Reality(rows, containers, image_ids), partial=partial)

    async def sync(self, services: Sequence[ServiceSpec], user: str, *, partial: bool) -> list[Synced]:
        """Do what the plan says, service by service; one that fails does not stop the others."""
        changes = await self.plan(services, partial=partial)
        ignored: dict[str, list[Change]] = {}
        for change in changes:
            if change.action == "ignore":
                ignored.setdefault(change.service, []).append(change)
        busy = {change.service for change in changes}
        results = []
        for service in services:
            if service.name not in busy:
                results.append(Synced(service.name, False, "up to date"))
            else:
                results.append(await self._alone(service.name, user, partial_(self._service, service, user)))
        for name, found in ignored.items():
            results.append(await self._alone(name, user, partial_(self._ignore, name, found)))
        return results

    async def _alone(self, service: str, user: str, work: Callable[[], Awaitable[Synced]]) -> Synced:
        try:
            return await self._operations.run(service, user, "sync", work)
        except McpError as error:
            return Synced(service, False, "", str(error))

    async def _service(self, service: ServiceSpec, user: str) -> Synced:
        changes = await self.plan([service], partial=True)  # again, now that nobody else works on the service
        if not changes:
            return Synced(service.name, False, "up to date")
        return await self._carry_out(service, changes, user)

    async def _ignore(self, service: str, changes: Sequence[Change]) -> Synced:
        """Mark components that are in no definition; their containers are left as they are."""
        for change in changes:
            await self._registry.call(self._registry.components.set_desired, service, change.component, "ignore")
        return Synced(service, True, _summary(changes))

    async def _carry_out(self, service: ServiceSpec, changes: Sequence[Change], user: str) -> Synced:
        replace = {change.component for change in changes if change.action in ("create", "replace")}
        errors: dict[str, str] = {}
        if replace:
            results = await self._deployer.deploy(service, replace, user)
            errors = {result.name: result.error for result in results if result.error}
        errors |= {change.component: change.reasons[0] for change in changes if change.action == "blocked"}
        for change in changes:
            if (
                change.component not in replace
                and change.component not in errors
                and (error := await self._simple(change))
            ):
                errors[change.component] = error
        done = [change for change in changes if change.component not in errors]
        return Synced(
            service.name, bool(done), _summary(done), "; ".join(f"{name}: {error}" for name, error in errors.items())
        )

    async def _simple(self, change: Change) -> str:
        work = self._lifecycle.stop if change.action == "stop" else self._lifecycle.start
        try:
            (result,) = await work(change.service, change.component)
        except McpError as error:
            return str(error)
        return result.error


def _summary(changes: Sequence[Change]) -> str:
    return "; ".join(f"{change.component}: {DONE[change.action]} ({', '.join(change.reasons)})" for change in changes)
