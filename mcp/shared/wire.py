"""Specifications to and from the wire, and to and from JSON (the registry's form); one rule set checks both ways in."""

import dataclasses
import json
from typing import Any

from mcp.shared.errors import InvalidInput
from mcp.shared.spec import LOG_DRIVERS, RESTART_DEFAULT, ComponentSpec, HealthSpec, RouteSpec, ServiceSpec, problems
from proto.mcp.v1 import mcp_pb2 as pb


def service_to_wire(service: ServiceSpec) -> pb.ServiceSpec:
    """The wire form of a specification."""
    return pb.ServiceSpec(
        name=service.name,
        active=service.active,
        components=[component_to_wire(component) for component in service.components],
    )


def service_from_wire(message: pb.ServiceSpec) -> ServiceSpec:
    """The specification in a message; raises InvalidInput with every problem, by field."""
    service = ServiceSpec(
        name=message.name,
        active=message.active,
        components=tuple(_component_from_wire(component) for component in message.components),
    )
    if found := problems(service):
        raise InvalidInput("; ".join(f"service.{problem}" for problem in found))
    return service


# What older agents do not know is left out where it says nothing, so that an upgrade can be undone.
_LATER = {field.name: field.default for field in dataclasses.fields(ComponentSpec) if field.name.startswith("log_")}
_KNOWN = {field.name for field in dataclasses.fields(ComponentSpec)}


def component_to_json(component: ComponentSpec) -> str:
    """A component as JSON, with sorted keys: equal components have equal texts."""
    return json.dumps(_component_to_data(dataclasses.asdict(component)), sort_keys=True)


def _component_to_data(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in _LATER or value != _LATER[key]}


def component_from_json(text: str) -> ComponentSpec:
    """A component from what `component_to_json` wrote."""
    return _component_from_data(json.loads(text))


def service_to_json(service: ServiceSpec) -> str:
    """A whole service as JSON, with sorted keys."""
    data = dataclasses.asdict(service)
    data["components"] = [_component_to_data(part) for part in data["components"]]
    return json.dumps(data, sort_keys=True)


def service_from_json(text: str) -> ServiceSpec:
    """A service from what `service_to_json` wrote."""
    data = json.loads(text)
    return ServiceSpec(data["name"], data["active"], tuple(_component_from_data(part) for part in data["components"]))


def _component_from_data(data: dict[str, Any]) -> ComponentSpec:
    for key in ("ports", "volumes", "cmd", "env"):
        data[key] = tuple(data[key])
    data["routes"] = tuple(RouteSpec(**route) for route in data["routes"])
    if health := data.get("health"):
        data["health"] = HealthSpec(**{**health, "cmd": tuple(health["cmd"])})
    return ComponentSpec(**{key: value for key, value in data.items() if key in _KNOWN})  # a newer agent may know more


def component_to_wire(component: ComponentSpec) -> pb.ComponentSpec:
    """The wire form of one component."""
    return pb.ComponentSpec(
        name=component.name,
        image=component.image,
        network=component.network,
        user=component.user,
        restart=component.restart,
        ports=component.ports,
        volumes=component.volumes,
        cmd=component.cmd,
        routes=[
            pb.RouteSpec(name=route.name, port=route.port, mode=route.mode, hostname=route.hostname)
            for route in component.routes
        ],
        env=component.env,
        health=_health_to_wire(component.health) if component.health else None,
        log_driver=component.log_driver,
        log_max_size=component.log_max_size,
    )


def _health_to_wire(health: HealthSpec) -> pb.HealthSpec:
    return pb.HealthSpec(
        cmd=health.cmd,
        interval=health.interval,
        timeout=health.timeout,
        retries=health.retries,
        start_period=health.start_period,
    )


def _component_from_wire(message: pb.ComponentSpec) -> ComponentSpec:
    return ComponentSpec(
        name=message.name,
        image=message.image,
        network=message.network,
        user=message.user,
        restart=message.restart or RESTART_DEFAULT,
        ports=tuple(message.ports),
        volumes=tuple(message.volumes),
        cmd=tuple(message.cmd),
        routes=tuple(
            RouteSpec(name=route.name, port=route.port, mode=route.mode or "l4", hostname=route.hostname)
            for route in message.routes
        ),
        env=tuple(message.env),
        health=_health_from_wire(message.health) if message.HasField("health") else None,
        log_driver=message.log_driver or LOG_DRIVERS[0],
        log_max_size=message.log_max_size,
    )


def _health_from_wire(message: pb.HealthSpec) -> HealthSpec:
    return HealthSpec(
        cmd=tuple(message.cmd),
        interval=message.interval,
        timeout=message.timeout,
        retries=message.retries,
        start_period=message.start_period,
    )
