"""Deploy a service: plan the changes, apply them, and record the deploy in the history."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from agent.services.executor import ComponentResult, DeployEnd, Dropped, Executor
from agent.services.plan import Change, NodeState, plan
from agent.services.transaction import Report, report_nothing
from agent.tasks import calculate
from mcp.shared.errors import NotFound, NotReady
from mcp.shared.spec import ServiceSpec
from mcp.shared.states import Action, DeployResult

DROPS = (Action.REMOVE, Action.KEEP)
NOT_REMOVED = "kept, although it was removed from the definition, because another component failed"


class Deployer:
    """Deploys services on this node."""

    def __init__(self, executor: Executor) -> None:
        """Apply changes through `executor`."""
        self._executor = executor
        self._registry = executor.registry

    async def deploy(
        self,
        service: ServiceSpec,
        only: Collection[str],
        user: str,
        *,
        force: bool = False,
        prune: bool = False,
        report: Report = report_nothing,
    ) -> list[ComponentResult]:
        """Deploy a service or some of its components; a failed component does not stop the others.

        Replaces containers in definition order and waits for all of them concurrently. The results of components that
        the definition no longer has follow those of the others.
        """
        check_deployable(service, only)
        state = await self._executor.examine([service])
        changes = await calculate(plan, [service], state, partial=True, only=only, force=force, prune=prune)
        changed = {result.name: result for result in await self.record(service, only, user, changes, report)}
        names = [name for name in service.component_names() if not only or name in only]
        results = [changed.pop(name) if name in changed else _unchanged(service.name, name, state) for name in names]
        kept = [change.component for change in changes if change.action is Action.KEEP]
        return [*results, *changed.values(), *(ComponentResult(name, dropped=Dropped.KEPT) for name in kept)]

    async def record(
        self,
        service: ServiceSpec,
        only: Collection[str],
        user: str,
        changes: Sequence[Change],
        report: Report = report_nothing,
    ) -> list[ComponentResult]:
        """Apply changes as one deploy in the service's history."""
        component = next(iter(only)) if len(only) == 1 else ""
        deploys = self._registry.deploys
        number = await self._registry.call(deploys.begin, service, component, user)
        results = await self.apply(changes, number, report)
        errors = [f"{result.name}: {result.error}" for result in results if result.error]
        digests = {result.name: result.digest for result in results if result.digest}
        outcome = DeployResult.FAILED if errors else DeployResult.DONE
        await self._executor.end_deploy(DeployEnd(number, outcome, "; ".join(errors), digests))
        return results

    async def apply(
        self, changes: Sequence[Change], number: int = 0, report: Report = report_nothing
    ) -> list[ComponentResult]:
        """Apply changes of one service; remove dropped components last, and only if all others have succeeded."""
        results = await self._executor.apply([each for each in changes if each.action not in DROPS], number, report)
        removals = [change for change in changes if change.action is Action.REMOVE]
        if any(result.error for result in results):
            return [*results, *(ComponentResult(change.component, NOT_REMOVED) for change in removals)]
        removed = await self._executor.apply(removals, number, report)
        return [*results, *(replace(result, dropped=Dropped.REMOVED) for result in removed)]


def _unchanged(service: str, component: str, state: NodeState) -> ComponentResult:
    row = state.row(service, component)
    return ComponentResult(component, unchanged=True, digest=row.digest if row is not None else "")


def check_deployable(service: ServiceSpec, only: Collection[str]) -> None:
    """Raise NotReady for an inactive service, NotFound for an unknown component."""
    if not service.active:
        raise NotReady(f"{service.name} is not active", "set active = true in its definition to deploy it")
    for name in only:
        if name not in service.component_names():
            names = ", ".join(service.component_names())
            raise NotFound(f"{service.name} has no component {name}", f"it has: {names}")
