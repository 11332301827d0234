"""What would have to happen for the node to run what the definitions say: a pure comparison.

Definitions count for what should run; containers and registry rows that no definition names are never removed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

from agent.podman.client import Container
from agent.store.registry import ComponentRow
from mcp.shared.names import LABEL_SERVICE, container_name
from mcp.shared.spec import ComponentSpec, ServiceSpec


@dataclass(frozen=True)
class Change:
    """One thing to do; `action` is create, replace, start, stop, register, ignore or blocked."""

    service: str
    component: str
    action: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reality:
    """What there is on the node: the registry's rows, podman's containers, and the local images' ids by name."""

    rows: Sequence[ComponentRow]
    containers: Sequence[Container]
    image_ids: Mapping[str, str]

    def container(self, name: str) -> Container | None:
        """The container of that name."""
        return next((container for container in self.containers if container.name == name), None)

    def row(self, service: str, component: str) -> ComponentRow | None:
        """The registry's row of a component."""
        return next((row for row in self.rows if (row.service, row.name) == (service, component)), None)


def plan(services: Sequence[ServiceSpec], reality: Reality, *, partial: bool) -> list[Change]:
    """The changes that make reality what the definitions say, in their order.

    With `partial`, the definitions are not all of the node's: what none of them names is not looked at.
    """
    changes = [change for service in services for change in _service(service, reality)]
    if not partial:
        defined = {(service.name, name) for service in services for name in service.component_names()}
        changes += [
            Change(row.service, row.name, "ignore", ("is in no definition; kept as it is",))
            for row in reality.rows
            if (row.service, row.name) not in defined and row.desired_state != "ignore"
        ]
    return changes


def _service(service: ServiceSpec, reality: Reality) -> Iterator[Change]:
    for component in service.components:
        row = reality.row(service.name, component.name)
        container = reality.container(container_name(service.name, component.name))
        found = _active(component, row, container, reality) if service.active else _inactive(row, container)
        if found is not None:
            action, reasons = found
            yield Change(service.name, component.name, action, tuple(reasons))


Found = tuple[str, list[str]]


def _active(
    component: ComponentSpec, row: ComponentRow | None, container: Container | None, reality: Reality
) -> Found | None:
    if row is None:
        if container is None:
            return "create", ["is not deployed"]
        if LABEL_SERVICE in container.labels:
            return "replace", [f"the container {container.name} is not in the registry"]
        return "blocked", [f"there is a container {container.name} that MCP did not make; adopt or remove it"]
    if container is None:
        return "create", ["its container is gone", *differences(row.spec, component)]
    reasons = differences(row.spec, component)
    if container.deploy != row.deploy:
        reasons.append("its container is not the one that was deployed")
    local = reality.image_ids.get(component.image)
    if not reasons and local is not None and local != container.image_id:
        reasons.append(f"{component.image} names another image now")
    if reasons:
        return "replace", reasons
    if not container.running:
        return "start", ["was stopped" if row.desired_state == "stopped" else f"is {container.state}"]
    return None if row.desired_state == "running" else ("register", [f"runs, but was to be {row.desired_state}"])


def _inactive(row: ComponentRow | None, container: Container | None) -> Found | None:
    if row is None or (row.desired_state == "stopped" and (container is None or not container.running)):
        return None
    return "stop", ["the service is not active"]


def differences(old: ComponentSpec, new: ComponentSpec) -> list[str]:
    """What differs between two versions of a component; values of variables are never shown."""
    return [
        _environment(old.env, new.env) if field.name == "env" else _difference(field.name, old, new)
        for field in fields(ComponentSpec)
        if getattr(old, field.name) != getattr(new, field.name)
    ]


def _difference(name: str, old: ComponentSpec, new: ComponentSpec) -> str:
    before, after = getattr(old, name), getattr(new, name)
    if name in ("image", "network", "user", "restart", "log_driver", "log_max_size"):
        return f"{name}: {before or 'default'} -> {after or 'default'}"
    return f"{name} changed"


def _environment(old: Sequence[str], new: Sequence[str]) -> str:
    before, after = (dict(entry.split("=", 1) for entry in entries) for entries in (old, new))
    parts = [
        *(f"{key} added" for key in after if key not in before),
        *(f"{key} removed" for key in before if key not in after),
        *(f"{key} changed" for key in after if key in before and before[key] != after[key]),
    ]
    return f"env: {', '.join(parts) or 'order changed'}"
