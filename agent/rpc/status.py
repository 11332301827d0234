"""Answer queries for registered components and their current state."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.monitor.boots import present_boot
from agent.monitor.event_log import EventLog
from agent.monitor.healing import Key
from agent.monitor.state import UNKNOWN, Observed, observe
from agent.podman.client import Podman
from agent.podman.inspect import ContainerDetails
from agent.store.components import RequestedRow
from agent.store.events import Event
from agent.store.registry import AsyncRegistry, ComponentRow
from mcp.shared.errors import NotFound
from mcp.shared.fields import without_values
from mcp.shared.image import image_version
from mcp.shared.spec import ServiceSpec
from mcp.shared.states import DesiredState, ObservedState
from mcp.shared.wire import service_to_wire
from proto.mcp.v1 import mcp_pb2 as pb

RECENT = 20  # events in a status
YOUNG = 60.0  # seconds that a restarted container must run for not to be in a crash loop


@dataclass(frozen=True)
class Efforts:
    """The work of the agent on components: the number of its repairs, and what failed changes have left to do.

    With the problems of the registry, which it can do nothing about.
    """

    repairs: Mapping[Key, int]
    pending: Mapping[Key, str]
    registry_problems: Sequence[str] = ()


async def list_services(registry: AsyncRegistry, *, with_env: bool) -> pb.ListServicesResponse:
    """Return the registered services with definitions and the states last observed by the monitor.

    Definitions have the values of variables only `with_env`.
    """
    registered, last = await asyncio.gather(
        registry.call(registry.components.read), registry.call(registry.events.latest)
    )
    states = {(event.service, event.component): event.state for event in last}
    by_service: dict[str, list[ComponentRow]] = {}
    for row in registered.rows:
        by_service.setdefault(row.service, []).append(row)
    services = {name: _registered(name, rows, states, with_env=with_env) for name, rows in by_service.items()}
    for damaged in registered.unreadable:
        service = services.setdefault(damaged.service, pb.ServiceInfo(name=damaged.service))
        service.components.add(name=damaged.name, desired_state=UNKNOWN, observed_state=ObservedState.UNREADABLE)
    return pb.ListServicesResponse(services=services.values())


def _registered(
    name: str, rows: list[ComponentRow], states: Mapping[tuple[str, str], str], *, with_env: bool
) -> pb.ServiceInfo:
    active = any(row.desired_state is DesiredState.RUNNING for row in rows)
    components = [
        pb.ComponentInfo(
            name=row.name,
            image=row.spec.image,
            desired_state=row.desired_state,
            observed_state=states.get((name, row.name), ObservedState.UNKNOWN),
            version=image_version(row.spec.image),
            digest=row.digest,
            registered_image=row.spec.image,
        )
        for row in rows
    ]
    spec = ServiceSpec(name=name, active=active, components=tuple(row.spec for row in rows))
    definition = service_to_wire(spec if with_env else without_values(spec))
    return pb.ServiceInfo(name=name, active=active, components=components, definition=definition)


async def service_status(
    podman: Podman, registry: AsyncRegistry, events: EventLog, service: str, efforts: Efforts
) -> pb.GetServiceStatusResponse:
    """Return the current state of a service, or of all if empty; calls podman twice.

    Includes components of failed deploys that never came up. Raises NotFound if the service is neither in the registry
    nor in podman.
    """
    containers, registered, requested, boot = await asyncio.gather(
        podman.containers(),
        registry.call(registry.components.read),
        registry.call(registry.components.requested),
        present_boot(registry),
    )
    everything = [*observe(registered, containers, boot), *map(_missing, requested)]
    chosen = [component for component in everything if service in ("", component.service)]
    if service and not chosen:
        raise not_deployed(service, {component.service for component in everything})
    names = [component.container.name for component in chosen if component.container is not None]
    details, recent = await asyncio.gather(podman.inspect(*names), events.last(service, RECENT))
    chosen = [_with_crash_loop(component, details) for component in chosen]
    return pb.GetServiceStatusResponse(
        services=services_info(chosen, details, efforts),
        drift=[
            pb.DriftInfo(
                service=component.service,
                component=component.component,
                desired_state=component.desired,
                observed_state=component.state,
            )
            for component in chosen
            if component.drifts
        ],
        recent_events=[event_info(event) for event in recent],
        registry_problems=efforts.registry_problems,
    )


def _missing(requested: RequestedRow) -> Observed:
    """Return the state of a component that never came up."""
    desired, state = DesiredState.RUNNING, ObservedState.REMOVED
    return Observed(requested.service, requested.name, requested.image, desired, state, None)


def _with_crash_loop(component: Observed, details: Mapping[str, ContainerDetails]) -> Observed:
    """Return a running component as restarting if it was restarted a moment ago: podman lists it as running."""
    known = details.get(component.container.name) if component.container else None
    if component.state is not ObservedState.RUNNING or known is None or not known.restarts:
        return component
    is_young = time.time() - known.started < YOUNG
    return replace(component, state=ObservedState.RESTARTING) if is_young else component


async def check_known(registry: AsyncRegistry, service: str) -> None:
    """Raise NotFound for a service that is not deployed and has no events."""
    rows, last = await asyncio.gather(
        registry.call(registry.components.deployed), registry.call(registry.events.latest)
    )
    if service not in {row.service for row in rows} | {event.service for event in last}:
        raise not_deployed(service, {row.service for row in rows})


def not_deployed(service: str, services: set[str]) -> NotFound:
    """Return the error for an unknown service; `services` are the deployed ones."""
    hint = f"deployed here: {', '.join(sorted(services))}" if services else "nothing is deployed here"
    return NotFound(f"{service} is not deployed on this node", hint)


def services_info(
    components: Iterable[Observed], details: Mapping[str, ContainerDetails], efforts: Efforts
) -> list[pb.ServiceInfo]:
    """Group components by service.

    Args:
        components: The components.
        details: Their containers' details by name; may be incomplete.
        efforts: The agent's repairs, which are added to the restarts by podman, and its pending changes.
    """
    services: dict[str, pb.ServiceInfo] = {}
    for component in components:
        service = services.setdefault(component.service, pb.ServiceInfo(name=component.service))
        service.active = service.active or component.desired is DesiredState.RUNNING
        known = details.get(component.container.name) if component.container else None
        info = _component_info(component, known)
        key = component.service, component.component
        info.restarts += efforts.repairs.get(key, 0)
        info.pending = efforts.pending.get(key, "")
        service.components.append(info)
    return list(services.values())


def _component_info(component: Observed, known: ContainerDetails | None) -> pb.ComponentInfo:
    info = pb.ComponentInfo(
        name=component.component,
        image=component.image,
        desired_state=component.desired,
        observed_state=component.state,
        version=component.version,
        registered_image=component.registered_image,
        differences=component.differences,
    )
    if component.started is not None:
        info.started.FromDatetime(component.started)
    if component.container is not None:
        info.restarts, info.health = component.container.restarts, component.container.health
        info.exit_code = component.container.exit_code
    if known is not None:
        info.restarts, info.digest, info.exit_code = known.restarts, known.digest, known.exit_code
        info.health = known.health
        info.ports.extend(known.ports)
    return info


def event_info(event: Event) -> pb.EventInfo:
    """Return the wire form of an event."""
    info = pb.EventInfo(
        service=event.service,
        component=event.component,
        prev_state=event.previous,
        new_state=event.state,
        number=event.number,
        detail=event.detail,
    )
    info.timestamp.FromDatetime(event.at)
    return info
