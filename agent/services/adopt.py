"""Adopting containers that run outside MCP: registered as they are, without a restart.

Podman is asked three times, however many containers there are: for the list, for the containers, for their images.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from agent.podman import import_spec
from agent.podman.client import Container, Podman
from agent.services.operations import Operations
from agent.store.registry import AsyncRegistry, ComponentRow
from mcp.shared import proc
from mcp.shared.errors import McpError, NotFound
from mcp.shared.names import ASIDE_SUFFIX, LABEL_COMPONENT, LABEL_SERVICE, NAME_RULE, container_name, is_name
from mcp.shared.spec import ComponentSpec, component_problems


@dataclass(frozen=True)
class Adopted:
    """What became (with dry_run: would become) of one container; `error` is empty on success."""

    container: str
    service: str
    component: str
    error: str = ""
    spec: ComponentSpec | None = None
    digest: str = ""
    running: bool = False
    deploy: int = 0  # the number of the deploy that made it, where an earlier registry's did


class Adopter:
    """Adopts containers of this node."""

    def __init__(self, podman: Podman, registry: AsyncRegistry, operations: Operations) -> None:
        """Works on a service only while no other operation does."""
        self._podman = podman
        self._registry = registry
        self._operations = operations

    async def adopt(self, service: str, user: str, *, dry_run: bool) -> list[Adopted]:
        """Adopt what matches a service's names, or with an empty `service` all that runs outside MCP.

        What is registered already is left as it is. Raises NotFound where a service matches nothing.
        """
        rows, containers = await asyncio.gather(
            self._registry.call(self._registry.components.select), self._podman.containers()
        )
        found = candidates(service, rows, containers)
        known = [_registered(row) for row in rows if row.service == service and row.container in _names(containers)]
        if service and not found and not known:
            names = ", ".join(sorted(_names(containers))) or "none at all"
            raise NotFound(f"no container is named {service} or {service}-…", f"there are: {names}")
        judged = await self._judge(found, containers)
        if not dry_run:
            judged = await self._register(judged, user)
        return known + judged

    async def _judge(self, found: dict[str, tuple[str, str]], containers: Sequence[Container]) -> list[Adopted]:
        """Each container (`found`: its service and component by its name) as it would be registered."""
        named = {name: place for name, place in found.items() if is_name(place[0]) and is_name(place[1])}
        misnamed = [
            Adopted(name, *place, error=f"its name does not fit: names {NAME_RULE}")
            for name, place in found.items()
            if name not in named
        ]
        details = import_spec.parse_inspected(await self._podman.inspect(*sorted(named))) if named else []
        deploys = {each.name: each.deploy for each in containers}
        images = {str(row.get("Id")): row for row in await self._images(sorted(_image_ids(details)))}
        judged = [
            replace(judge(row, images.get(str(row.get("Image")), {}), *named[name]), deploy=deploys[name])
            for row in details
            if (name := str(row.get("Name"))) in named
        ]
        return sorted(judged + misnamed, key=lambda each: (each.service, each.container))

    async def _images(self, identifiers: Sequence[str]) -> list[dict[str, Any]]:
        if not identifiers:
            return []
        argv = self._podman.argv(["image", "inspect", *identifiers])
        return import_spec.parse_inspected(await proc.check(argv, seconds=self._podman.timeout * 2))

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
            state = "running" if each.running else "stopped"
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
    """The containers to look at, by name, each with the service and component that it would be.

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
    """Services that container names suggest: registered ones, whole names, and what several names begin with."""
    names = [each.name for each in containers]
    begun = Counter(name.partition("-")[0] for name in names)
    return sorted(known | set(names) | {name for name, count in begun.items() if count > 1}, key=len)


def _place(container: Container, services: Sequence[str]) -> tuple[str, str]:
    """A container's service and component: those that MCP once gave it, or by the shortest service that fits."""
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


def judge(container: dict[str, Any], image: dict[str, Any], service: str, component: str) -> Adopted:
    """A container as it would be registered, or why it cannot be."""
    name = str(container.get("Name"))
    try:
        spec = import_spec.component(component, container, image)
        found = [*import_spec.problems(container, image), *component_problems(spec)]
        running = str(container["State"]["Status"]).lower() in ("running", "paused")
    except (KeyError, TypeError, ValueError, AttributeError):
        return Adopted(name, service, component, "podman describes it in an unexpected form")
    if container_name(service, component) != name:
        found.append(f"as {service}/{component} it would be called {container_name(service, component)}")
    digest = str(container.get("ImageDigest") or "")
    return Adopted(name, service, component, "; ".join(found), spec, digest, running)


def _registered(row: ComponentRow) -> Adopted:
    return Adopted(row.container, row.service, row.name, spec=row.spec)


def _refused(each: Adopted, error: str) -> Adopted:
    return Adopted(each.container, each.service, each.component, error, each.spec)


def _names(containers: Sequence[Container]) -> set[str]:
    return {container.name for container in containers}


def _image_ids(details: Sequence[dict[str, Any]]) -> set[str]:
    return {str(row["Image"]) for row in details if row.get("Image")}
