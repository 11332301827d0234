"""Join podman's containers with the registry."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from agent.podman.output import Container
from agent.podman.states import ENDED, ContainerState, Health
from agent.store.registry import ComponentRow
from mcp.shared.image import image_version
from mcp.shared.names import ASIDE_SUFFIX, LABEL_COMPONENT, LABEL_SERVICE
from mcp.shared.states import DesiredState, ObservedState


@dataclass(frozen=True)
class Observed:
    """A component with its desired and observed state; `started` is None unless it is running."""

    service: str
    component: str
    image: str
    desired: DesiredState
    state: ObservedState
    started: datetime | None
    container: Container | None = field(default=None, compare=False)

    @property
    def identifier(self) -> str:
        """The container's id; empty without a container."""
        return self.container.identifier if self.container else ""

    @property
    def drifts(self) -> bool:
        """True if it is not in its desired state; ignored containers never drift."""
        return self.desired != DesiredState.IGNORE and self.desired.value != self.state.value

    @property
    def version(self) -> str:
        """The tag or digest of the image."""
        return image_version(self.image)


def observed_state(container: Container | None, desired: DesiredState) -> ObservedState:
    """Map a container's state to an ObservedState."""
    if container is None:
        return ObservedState.REMOVED
    match container.state:
        case ContainerState.RUNNING:
            return ObservedState.DEGRADED if container.health == Health.UNHEALTHY else ObservedState.RUNNING
        case state if state in ENDED:
            # podman does not distinguish stopped containers from those that exited by themselves.
            return ObservedState.STOPPED if desired is DesiredState.STOPPED else ObservedState.EXITED
        case ContainerState.RESTARTING:
            return ObservedState.RESTARTING
        case ContainerState.PAUSED | ContainerState.STOPPING | ContainerState.REMOVING:
            return ObservedState.DEGRADED
        case _:
            return ObservedState.UNKNOWN


def observe(rows: Sequence[ComponentRow], containers: Sequence[Container]) -> list[Observed]:
    """Return the registered components, then unregistered containers created by MCP (as `ignore`)."""
    by_name = {container.name: container for container in containers}
    known = {row.container for row in rows}
    seen = [
        _observed(row.service, row.name, row.spec.image, row.desired_state, by_name.get(row.container)) for row in rows
    ]
    strays = [
        container
        for container in containers
        if container.labels.get(LABEL_SERVICE) and container.name.removesuffix(ASIDE_SUFFIX) not in known
    ]
    return seen + [
        _observed(
            stray.labels[LABEL_SERVICE],
            stray.labels.get(LABEL_COMPONENT, stray.name),
            stray.image,
            DesiredState.IGNORE,
            stray,
        )
        for stray in strays
    ]


def _observed(service: str, component: str, image: str, desired: DesiredState, container: Container | None) -> Observed:
    running = container is not None and container.running
    return Observed(
        service=service,
        component=component,
        image=image,
        desired=desired,
        state=observed_state(container, desired),
        started=container.started if running and container else None,
        container=container,
    )
