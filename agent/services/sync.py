"""Reconcile the node with the definitions, service by service."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial as partial_

from agent.services.deploy import Deployer
from agent.services.executor import ComponentResult, Executor
from agent.services.operations import Operations
from agent.services.plan import Change, plan
from agent.tasks import calculate
from mcp.shared.errors import McpError
from mcp.shared.spec import ServiceSpec
from mcp.shared.states import Action

DONE = {
    Action.CREATE: "created",
    Action.REPLACE: "replaced",
    Action.START: "started",
    Action.STOP: "stopped",
    Action.REMOVE: "removed",
    Action.REGISTER: "set to running",
    Action.CLEAN_UP: "cleaned up",
    Action.IGNORE: "ignored",
}
MAKES_CONTAINERS = (Action.CREATE, Action.REPLACE)


@dataclass(frozen=True)
class Synced:
    """The result for a service; `summary` lists changes by component, `error` is empty on success.

    `kept` are the components that its definition no longer has, and that were left as they are.
    """

    name: str
    changed: bool
    summary: str
    error: str = ""
    kept: tuple[str, ...] = ()


class Syncer:
    """Plans and applies the changes of definitions."""

    def __init__(self, executor: Executor, operations: Operations, deployer: Deployer) -> None:
        """Hold each service through `operations` while changing it."""
        self._executor = executor
        self._operations = operations
        self._deployer = deployer

    async def plan(
        self,
        services: Sequence[ServiceSpec],
        *,
        partial: bool,
        only: Collection[str] = (),
        force: bool = False,
        prune: bool = False,
        leave: Collection[str] = (),
        annotated: bool = False,
    ) -> list[Change]:
        """Return the changes (see plan.plan); calls podman twice, independent of the number of services.

        Those that are `annotated` have notes for the user, which takes two more calls.
        """
        state = await self._executor.examine(services)
        changes = await calculate(
            plan, services, state, partial=partial, only=only, force=force, prune=prune, leave=leave
        )
        return await self._executor.annotate(changes, state) if annotated else changes

    async def sync(
        self,
        services: Sequence[ServiceSpec],
        user: str,
        *,
        partial: bool,
        prune: bool = False,
        leave: Collection[str] = (),
    ) -> list[Synced]:
        """Apply the plan by service; a failed service does not stop the others."""
        by_service: dict[str, list[Change]] = {}
        for change in await self.plan(services, partial=partial, prune=prune, leave=leave):
            by_service.setdefault(change.service, []).append(change)
        results = []
        for service in services:
            changes = by_service.get(service.name, [])
            if all(change.action is Action.KEEP for change in changes):
                results.append(_synced(service.name, changes, []))
            else:
                work = partial_(self._service, service, user, prune)
                results.append(await self._alone(service.name, user, work))
        for name, changes in by_service.items():
            if ignored := [change for change in changes if change.action is Action.IGNORE]:
                results.append(await self._alone(name, user, partial_(self._ignore, name, ignored)))
        return results

    async def _alone(self, service: str, user: str, work: Callable[[], Awaitable[Synced]]) -> Synced:
        try:
            return await self._operations.run(service, user, "sync", work)
        except McpError as error:
            return Synced(service, False, "", str(error))

    async def _service(self, service: ServiceSpec, user: str, prune: bool) -> Synced:
        changes = await self.plan([service], partial=True, prune=prune)  # again, now that the service is locked
        made = {change.component for change in changes if change.action in MAKES_CONTAINERS}
        if made:
            return _synced(service.name, changes, await self._deployer.record(service, made, user, changes))
        return _synced(service.name, changes, await self._deployer.apply(changes))

    async def _ignore(self, service: str, changes: Sequence[Change]) -> Synced:
        """Mark components without a definition as ignored; their containers are left unchanged."""
        return _synced(service, changes, await self._executor.apply(changes))


def _synced(service: str, changes: Sequence[Change], results: Sequence[ComponentResult]) -> Synced:
    kept = tuple(change.component for change in changes if change.action is Action.KEEP)
    made = [change for change in changes if change.action is not Action.KEEP]
    errors = [f"{result.name}: {result.error}" for result in results if result.error]
    done = [change for change, result in zip(made, results, strict=True) if not result.error]
    parts = [f"{change.component}: {DONE[change.action]} ({', '.join(change.reasons)})" for change in done]
    parts += [f"{result.name}: {note}" for result in results for note in result.notes]
    return Synced(service, bool(done), "; ".join(parts) if made else "up to date", "; ".join(errors), kept)
