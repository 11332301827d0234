"""Stop, start, restart and undeploy services. Each operation is idempotent and completes an earlier attempt."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

from agent.podman.client import labelled
from agent.podman.output import Container
from agent.services import plan
from agent.services.executor import ComponentResult, Executor
from agent.services.plan import Change, NodeState
from agent.services.transaction import Report, report_nothing
from agent.services.volumes import named_targets
from agent.store.components import ComponentRow, select_deployed
from mcp.shared.names import ASIDE_SUFFIX, LABEL_COMPONENT


class Lifecycle:
    """Operations on deployed services of this node."""

    def __init__(self, executor: Executor) -> None:
        """Apply changes through `executor`."""
        self._executor = executor

    async def stop(self, service: str, component: str, report: Report = report_nothing) -> list[ComponentResult]:
        """Stop containers in reverse order, without removing them."""
        return (await self._change(service, component, plan.stop, report, reverse=True))[::-1]

    async def start(self, service: str, component: str, report: Report = report_nothing) -> list[ComponentResult]:
        """Start containers; recreate missing ones from the registry."""
        return await self._change(service, component, plan.start, report)

    async def restart(self, service: str, component: str, report: Report = report_nothing) -> list[ComponentResult]:
        """Stop and start containers one after the other, including stopped and missing ones."""
        return await self._change(service, component, plan.restart, report)

    async def undeploy(
        self, service: str, component: str = "", report: Report = report_nothing, *, volumes: bool = False
    ) -> list[ComponentResult]:
        """Stop and remove containers of a service and their registry entries; its data is kept.

        Also removes containers labelled with the service, or its component, that are not in the registry, and forgets
        what never came up; with `volumes` also the anonymous volumes of all these containers, but for those that the
        definition names.
        """
        state, registry = await self._executor.examine(), self._executor.registry
        strays = _strays(state, service, component)
        rest = [row.name for row in await registry.call(registry.components.requested, service, component)]
        if volumes:  # also those of what was undeployed before
            rest += await registry.call(registry.volumes.components, service, component)
        rows = [row for row in state.rows if row.service == service and component in ("", row.name)]
        damaged = [row for row in state.unreadable if row.service == service and component in ("", row.name)]
        rows = rows if strays or rest or damaged else select_deployed(state.rows, service, component)
        containers = {row.name: plan.containers_of(row, state) for row in reversed(rows)}
        containers |= {row.name: plan.containers_of(row, state) for row in damaged}
        containers |= {name: [stray.name] for name, stray in _by_unique_name(strays, rows).items()}
        containers |= {name: [] for name in rest if name not in containers}
        found = await self._volumes(service, rows, containers) if volumes else {}
        changes = [plan.remove(service, name, made, found.get(name, ())) for name, made in containers.items()]
        results = await self._executor.apply(changes, report=report)
        return results[: len(rows)][::-1] + results[len(rows) :]

    async def _volumes(
        self, service: str, rows: Sequence[ComponentRow], containers: Mapping[str, Sequence[str]]
    ) -> dict[str, list[str]]:
        """Return the anonymous volumes of components, given their containers, but for those that a definition names."""
        named = {row.name: set(named_targets(row.spec).values()) for row in rows}
        details = await self._executor.podman.inspect(*chain.from_iterable(containers.values()))
        registry, found = self._executor.registry, dict[str, list[str]]()
        for component, names in containers.items():
            known = set((await registry.call(registry.volumes.select, service, component)).values())
            known.update(*(details[name].anonymous_volumes.values() for name in names if name in details))
            found[component] = sorted(known - named.get(component, set()))
        return found

    async def _change(
        self,
        service: str,
        component: str,
        change: Callable[[ComponentRow, NodeState], Change],
        report: Report,
        *,
        reverse: bool = False,
    ) -> list[ComponentResult]:
        state = await self._executor.examine()
        rows = select_deployed(state.rows, service, component, state.unreadable)
        damaged = [row for row in state.unreadable if row.service == service and component in ("", row.name)]
        changes = [*(change(row, state) for row in rows), *map(plan.unreadable, damaged)]
        return await self._executor.apply(changes[::-1] if reverse else changes, report=report)


def _strays(state: NodeState, service: str, component: str) -> list[Container]:
    """Return the containers that are labelled with a service, or its component, and that the registry does not have."""
    made = [
        container
        for container in labelled(state.containers, service)
        if component in ("", container.labels.get(LABEL_COMPONENT, container.name))
    ]
    return [container for container in made if state.owner(container.name.removesuffix(ASIDE_SUFFIX)) is None]


def _by_unique_name(strays: Sequence[Container], rows: Sequence[ComponentRow]) -> dict[str, Container]:
    """Key strays by the component that their label names, or by the container's name if that component is taken."""
    taken, named = {row.name for row in rows}, dict[str, Container]()
    for stray in strays:
        component = stray.labels.get(LABEL_COMPONENT, stray.name)
        named[stray.name if component in taken or component in named else component] = stray
    return named
