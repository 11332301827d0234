"""Adopt containers that run outside MCP: register them unchanged, without a restart.

Calls podman three times, independent of the number of containers: list, inspect, images.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from agent.files.files import ServiceFiles
from agent.podman import import_spec
from agent.podman.client import Podman
from agent.podman.inspect import ContainerObject
from agent.podman.output import Container
from agent.podman.states import ContainerState
from agent.services import volumes
from agent.services.operations import Operations
from agent.services.steps import refused_mounts
from agent.store.registry import AsyncRegistry, ComponentRow
from mcp.shared.errors import McpError, NotFound
from mcp.shared.fields import problems
from mcp.shared.image import image_problem
from mcp.shared.names import LABEL_COMPONENT, LABEL_SERVICE, NAME_RULE, base_name, container_name, is_name
from mcp.shared.spec import ComponentSpec
from mcp.shared.states import DesiredState


@dataclass(frozen=True)
class Adopted:
    """The result for one container (expected result for a dry run); `error` is empty on success."""

    container: str
    service: str
    component: str
    error: str = ""
    spec: ComponentSpec | None = None
    digest: str = ""
    running: bool = False
    deploy: int = 0  # number of the deploy that created it under an earlier registry
    notes: tuple[str, ...] = ()
    volumes: Mapping[str, str] = field(default_factory=dict)  # its anonymous ones, by target


class Adopter:
    """Adopts containers on this node."""

    def __init__(self, podman: Podman, registry: AsyncRegistry, operations: Operations, files: ServiceFiles) -> None:
        """Hold each service through `operations` while changing it; `files` says what is not to be mounted."""
        self._files = files
        self._podman = podman
        self._registry = registry
        self._operations = operations

    async def adopt(self, service: str, user: str, *, dry_run: bool) -> list[Adopted]:
        """Adopt the containers of one service, or all running unmanaged ones if `service` is empty.

        Leaves registered containers unchanged. Raises NotFound if no container matches the service.
        """
        rows, containers = await asyncio.gather(
            self._registry.call(self._registry.components.select), self._podman.containers()
        )
        matches = candidates(service, rows, containers)
        known = [_registered(row) for row in rows if row.service == service and row.container in _names(containers)]
        if service and not matches and not known:
            names = ", ".join(sorted(_names(containers))) or "none"
            raise NotFound(f"no container is named {service} or {service}-…", f"there are: {names}")
        judged = await self._judge(matches)
        if not dry_run:
            judged = await self._register(judged, user)
        return known + judged

    async def _judge(self, matches: dict[str, tuple[str, str]]) -> list[Adopted]:
        """Evaluate candidates, given as (service, component) by container name."""
        named = {name: place for name, place in matches.items() if is_name(place[0]) and is_name(place[1])}
        misnamed = [
            Adopted(name, *place, error=f"invalid name: names {NAME_RULE}")
            for name, place in matches.items()
            if name not in named
        ]
        inspected = await self._podman.inspect_objects(*sorted(named))
        judged = [await self._with_mounts(judge(container, *named[container.details.name])) for container in inspected]
        return sorted(judged + misnamed, key=lambda adopted: (adopted.service, adopted.container))

    async def _with_mounts(self, adopted: Adopted) -> Adopted:
        """Add a note for each mount with which a deploy of the component would be refused."""
        sources = set(volumes.paths(adopted.spec)) if adopted.spec is not None and not adopted.error else set()
        refused = await refused_mounts(self._podman, self._files, sources)
        return replace(adopted, notes=(*adopted.notes, *(f"no deploy will have {what}" for what in refused.values())))

    async def _register(self, judged: list[Adopted], user: str) -> list[Adopted]:
        results: list[Adopted] = []
        for service in dict.fromkeys(adopted.service for adopted in judged):
            mine = [adopted for adopted in judged if adopted.service == service]
            good = [adopted for adopted in mine if not adopted.error]
            if good:
                results += await self._register_service(service, good, user)
            results += [adopted for adopted in mine if adopted.error]
        return results

    async def _register_service(self, service: str, good: list[Adopted], user: str) -> list[Adopted]:
        try:
            return await self._operations.run(service, user, "adopt", partial(self._put, service, good))
        except McpError as error:
            return [_refused(adopted, str(error)) for adopted in good]

    async def _put(self, service: str, good: list[Adopted]) -> list[Adopted]:
        position = len(await self._registry.call(self._registry.components.select, service))
        if highest := max(adopted.deploy for adopted in good):
            await self._registry.call(self._registry.deploys.begin_after, highest)
        results = []
        for number, adopted in enumerate(good, position):
            assert adopted.spec is not None, "an adoptable container has a specification"
            state = DesiredState.RUNNING if adopted.running else DesiredState.STOPPED
            try:
                await self._registry.call(
                    self._registry.components.put, service, number, adopted.spec, state, adopted.digest, adopted.deploy
                )
            except McpError as error:
                results.append(_refused(adopted, str(error)))
            else:
                await self._registry.call(self._registry.volumes.put, service, adopted.component, adopted.volumes)
                results.append(adopted)
        return results


def candidates(
    service: str, rows: Sequence[ComponentRow], containers: Sequence[Container]
) -> dict[str, tuple[str, str]]:
    """Return the (service, component) of each adoptable container, by container name.

    Selects containers by the name of `service`; if empty, all running containers that are not registered.
    """
    registered = {row.container for row in rows}
    free = [
        container
        for container in containers
        if container.name not in registered and base_name(container.name) not in registered
    ]
    if service:
        return {container.name: place for container in free if (place := _place(container, [service]))[0] == service}
    services = _services([container for container in free if container.running], {row.service for row in rows})
    return {container.name: _place(container, services) for container in free if container.running}


def _services(containers: Sequence[Container], known: set[str]) -> list[str]:
    """Derive service names from registered services, full container names and common prefixes."""
    names = [container.name for container in containers]
    begun = Counter(name.partition("-")[0] for name in names)
    return sorted(known | set(names) | {name for name, count in begun.items() if count > 1}, key=len)


def _place(container: Container, services: Sequence[str]) -> tuple[str, str]:
    """Return a container's service and component, from MCP's labels or the shortest matching service."""
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
    """Return a container as it would be registered, or the reasons against it."""
    details = container.details
    try:
        spec = import_spec.component(component, container)
        reasons = [*import_spec.problems(container), *problems(spec)]
    except (KeyError, TypeError, ValueError, AttributeError):
        return Adopted(details.name, service, component, "unexpected output of podman inspect")
    if image_problem(spec.image):
        tag = f"podman tag {details.image_id[:12]} localhost/NAME:VERSION"
        reasons.append(f"name the image with `{tag}` and create the container from that name")
    if container_name(service, component) != details.name:
        reasons.append(f"the container of {service}/{component} must be named {container_name(service, component)}")
    running = details.state in (ContainerState.RUNNING, ContainerState.PAUSED)
    return Adopted(
        *(details.name, service, component, "; ".join(reasons), spec, details.digest, running, details.deploy),
        notes=()
        if reasons
        else (*import_spec.notes(container), *volumes.notes(service, spec, details.anonymous_volumes)),
        volumes=details.anonymous_volumes,
    )


def _registered(row: ComponentRow) -> Adopted:
    return Adopted(row.container, row.service, row.name, spec=row.spec)


def _refused(adopted: Adopted, error: str) -> Adopted:
    return Adopted(adopted.container, adopted.service, adopted.component, error, adopted.spec)


def _names(containers: Sequence[Container]) -> set[str]:
    return {container.name for container in containers}
