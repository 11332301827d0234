"""Adopt containers that run outside MCP: register them as they are, without a restart.

podman is called three times, however many containers there are: for the list, for the containers, for their images.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from agent.podman import import_spec
from agent.podman.client import Podman
from agent.podman.inspect import ContainerObject
from agent.podman.output import Container
from agent.podman.states import ContainerState
from agent.services.operations import Operations
from agent.store.registry import AsyncRegistry, ComponentRow
from mcp.shared.errors import McpError, NotFound
from mcp.shared.fields import problems
from mcp.shared.names import ASIDE_SUFFIX, LABEL_COMPONENT, LABEL_SERVICE, NAME_RULE, container_name, is_name
from mcp.shared.spec import ComponentSpec
from mcp.shared.states import DesiredState


@dataclass(frozen=True)
class Adopted:
    """The outcome (with dry_run: the expected one) for a container; `error` is empty on success."""

    container: str
    service: str
    component: str
    error: str = ""
    spec: ComponentSpec | None = None
    digest: str = ""
    running: bool = False
    deploy: int = 0  # the number of the deploy that created it, if an earlier registry's did


class Adopter:
    """Adopts containers of this node."""

    def __init__(self, podman: Podman, registry: AsyncRegistry, operations: Operations) -> None:
        """Work on a service only while no other operation does."""
        self._podman = podman
        self._registry = registry
        self._operations = operations

    async def adopt(self, service: str, user: str, *, dry_run: bool) -> list[Adopted]:
        """Adopt the containers that match a service's names, or with an empty `service` all that run outside MCP.

        Registered ones are left as they are. Raises NotFound if a service matches no container.
        """
        rows, containers = await asyncio.gather(
            self._registry.call(self._registry.components.select), self._podman.containers()
        )
        found = candidates(service, rows, containers)
        known = [_registered(row) for row in rows if row.service == service and row.container in _names(containers)]
        if service and not found and not known:
            names = ", ".join(sorted(_names(containers))) or "none at all"
            raise NotFound(f"no container is named {service} or {service}-…", f"there are: {names}")
        judged = await self._judge(found)
        if not dry_run:
            judged = await self._register(judged, user)
        return known + judged

    async def _judge(self, found: dict[str, tuple[str, str]]) -> list[Adopted]:
        """Return the outcome for each container in `found`: (service, component) by container name."""
        named = {name: place for name, place in found.items() if is_name(place[0]) and is_name(place[1])}
        misnamed = [
            Adopted(name, *place, error=f"its name does not fit: names {NAME_RULE}")
            for name, place in found.items()
            if name not in named
        ]
        inspected = await self._podman.inspect_objects(*sorted(named))
        judged = [judge(container, *named[container.details.name]) for container in inspected]
        return sorted(judged + misnamed, key=lambda each: (each.service, each.container))

    async def _register(self, judged: list[Adopted], user: str) -> list[Adopted]:
        results: list[Adopted] = []
        for service in dict.fromkeys(each.service for each in judged):
            mine = [each for each in judged if each.service == service]
            good = [each for each in mine if not each.error]
            if good:
                results += await self._register_service(service, good, user)
            results += [each for each in mine if each.error]
        return results

    async def _register_service(self, service: str, good: list[Adopted], user: str) -> list[Adopted]:
        try:
            return await self._operations.run(service, user, "adopt", partial(self._put, service, good))
        except McpError as error:
            return [_refused(each, str(error)) for each in good]

    async def _put(self, service: str, good: list[Adopted]) -> list[Adopted]:
        position = len(await self._registry.call(self._registry.components.select, service))
        if highest := max(each.deploy for each in good):
            await self._registry.call(self._registry.deploys.begin_after, highest)
        results = []
        for number, each in enumerate(good, position):
            assert each.spec is not None, "what is good has a specification"
            state = DesiredState.RUNNING if each.running else DesiredState.STOPPED
            try:
                await self._registry.call(
                    self._registry.components.put, service, number, each.spec, state, each.digest, each.deploy
                )
            except McpError as error:
                results.append(_refused(each, str(error)))
            else:
                results.append(each)
        return results


def candidates(
    service: str, rows: Sequence[ComponentRow], containers: Sequence[Container]
) -> dict[str, tuple[str, str]]:
    """Return the (service, component) of each container that could be adopted, by container name.

    For one service: those with its names. With an empty `service`: all that run and are not registered.
    """
    registered = {row.container for row in rows}
    free = [
        each
        for each in containers
        if each.name not in registered and each.name.removesuffix(ASIDE_SUFFIX) not in registered
    ]
    if service:
        return {each.name: place for each in free if (place := _place(each, [service]))[0] == service}
    services = _services([each for each in free if each.running], {row.service for row in rows})
    return {each.name: _place(each, services) for each in free if each.running}


def _services(containers: Sequence[Container], known: set[str]) -> list[str]:
    """Derive services from container names: registered ones, whole names, and common first words."""
    names = [each.name for each in containers]
    begun = Counter(name.partition("-")[0] for name in names)
    return sorted(known | set(names) | {name for name, count in begun.items() if count > 1}, key=len)


def _place(container: Container, services: Sequence[str]) -> tuple[str, str]:
    """Return a container's service and component: from MCP's labels, or by the shortest service that fits."""
    name, labels = container.name, container.labels
    place = labels.get(LABEL_SERVICE, ""), labels.get(LABEL_COMPONENT, "")
    if all(place) and container_name(*place) == name:
        return place
    for service in services:
        if name.startswith(f"{service}-"):
            return service, name.removeprefix(f"{service}-")
        if name == service:
            return service, service
    return name, name


def judge(container: ContainerObject, service: str, component: str) -> Adopted:
    """Return a container as it would be registered, or with the reasons why it cannot be."""
    details = container.details
    try:
        spec = import_spec.component(component, container)
        found = [*import_spec.problems(container), *problems(spec)]
    except (KeyError, TypeError, ValueError, AttributeError):
        return Adopted(details.name, service, component, "podman describes it in an unexpected form")
    if container_name(service, component) != details.name:
        found.append(f"as {service}/{component} it would be called {container_name(service, component)}")
    running = details.state in (ContainerState.RUNNING, ContainerState.PAUSED)
    return Adopted(
        *(details.name, service, component, "; ".join(found), spec, details.digest), running, deploy=details.deploy
    )


def _registered(row: ComponentRow) -> Adopted:
    return Adopted(row.container, row.service, row.name, spec=row.spec)


def _refused(each: Adopted, error: str) -> Adopted:
    return Adopted(each.container, each.service, each.component, error, each.spec)


def _names(containers: Sequence[Container]) -> set[str]:
    return {container.name for container in containers}
