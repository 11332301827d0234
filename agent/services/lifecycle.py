"""Stop, start, restart and undeploy services. Each operation is idempotent and completes an earlier attempt."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from agent.podman.client import labelled
from agent.podman.output import Container
from agent.services import plan
from agent.services.executor import ComponentResult, Executor
from agent.services.plan import Change, NodeState
from agent.services.transaction import Report, report_nothing
from agent.services.volumes import named_targets
from agent.store.components import ComponentRow, select_deployed
from mcp.shared.names import ASIDE_SUFFIX, LABEL_COMPONENT, aside_name


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
        missing = await registry.call(registry.components.requested, service, component)
        rows = [row for row in state.rows if row.service == service and component in ("", row.name)]
        rows = rows if strays or missing else select_deployed(state.rows, service, component)
        unique = _by_unique_name(strays, rows)
        found = await self._volumes(rows, unique)
        chosen = found if volumes else {}
        changes = [plan.undeploy(row, chosen.get(row.name, {}).values()) for row in reversed(rows)]
        named = {stray.labels.get(LABEL_COMPONENT) for stray in strays}
        changes += [plan.forget(service, each.name) for each in missing if each.name not in named]
        changes += [
            plan.remove_stray(service, name, stray, chosen.get(name, {}).values()) for name, stray in unique.items()
        ]
        results = await self._executor.apply(changes, report=report)
        if not volumes:
            results = [_with_kept(result, found.get(result.name, {})) for result in results]
        return results[: len(rows)][::-1] + results[len(rows) :]

    async def _volumes(
        self, rows: Sequence[ComponentRow], strays: Mapping[str, Container]
    ) -> dict[str, dict[str, str]]:
        """Return the anonymous volumes of components and strays, by target, that no definition names."""
        names = [name for row in rows for name in (row.container, aside_name(row.container))]
        details = await self._executor.podman.inspect(*names, *(stray.name for stray in strays.values()))
        found = {
            name: dict(each.anonymous_volumes) for name, stray in strays.items() if (each := details.get(stray.name))
        }
        registry = self._executor.registry
        for row in rows:
            known = await registry.call(registry.volumes.select, row.service, row.name)
            for name in (row.container, aside_name(row.container)):
                known |= details[name].anonymous_volumes if name in details else {}
            sources = named_targets(row.spec).values()
            found[row.name] = {target: volume for target, volume in known.items() if volume not in sources}
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
        rows = select_deployed(state.rows, service, component)
        changes = [change(row, state) for row in (reversed(rows) if reverse else rows)]
        return await self._executor.apply(changes, report=report)


def _strays(state: NodeState, service: str, component: str) -> list[Container]:
    """Return the containers that are labelled with a service, or its component, and that the registry does not have."""
    made = [
        container
        for container in labelled(state.containers, service)
        if component in ("", container.labels.get(LABEL_COMPONENT, container.name))
    ]
    return [container for container in made if state.owner(container.name.removesuffix(ASIDE_SUFFIX)) is None]


def _with_kept(result: ComponentResult, volumes: Mapping[str, str]) -> ComponentResult:
    kept = [f"{target} is kept in the anonymous volume {volume}" for target, volume in sorted(volumes.items())]
    return replace(result, notes=(*result.notes, *kept))


def _by_unique_name(strays: Sequence[Container], rows: Sequence[ComponentRow]) -> dict[str, Container]:
    """Key strays by the component that their label names, or by the container's name if that component is taken."""
    taken, named = {row.name for row in rows}, dict[str, Container]()
    for stray in strays:
        component = stray.labels.get(LABEL_COMPONENT, stray.name)
        named[stray.name if component in taken or component in named else component] = stray
    return named
