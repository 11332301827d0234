"""Join podman's containers with the registry."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from agent.podman.output import Container
from agent.podman.states import ENDED, ContainerState, Health
from agent.store.registry import ComponentRow
from mcp.shared.image import image_version
from mcp.shared.names import LABEL_COMPONENT, LABEL_SERVICE, base_name
from mcp.shared.states import DesiredState, ObservedState

ALWAYS_UP = ("always", "unless-stopped")  # restart policies under which no container exits permanently


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
        return is_drift(self.desired, self.state)

    @property
    def version(self) -> str:
        """The tag or digest of the image."""
        return image_version(self.image)


def is_drift(desired: str, state: str) -> bool:
    """Return True if a state differs from the desired one; a completed job is as it should be."""
    if desired == DesiredState.IGNORE or (desired == DesiredState.RUNNING and state == ObservedState.COMPLETED):
        return False
    return desired != state


def is_completed(restart: str, container: Container, booted: datetime) -> bool:
    """Return True for a job that has done its work: its policy `restart` lets it end, and it ended with exit code 0.

    A container that was started before the machine `booted` may have been ended by the shutdown.
    """
    return (
        restart not in ALWAYS_UP
        and container.state in ENDED
        and container.exited
        and container.exit_code == 0
        and container.started is not None
        and container.started > booted
    )


def observed_state(container: Container | None, desired: DesiredState, *, completed: bool = False) -> ObservedState:
    """Map a container's state to an ObservedState; `completed` for a job that has done its work."""
    if container is None:
        return ObservedState.REMOVED
    match container.state:
        case ContainerState.RUNNING:
            is_degraded = container.orphaned or container.health == Health.UNHEALTHY
            return ObservedState.DEGRADED if is_degraded else ObservedState.RUNNING
        case state if state in ENDED:
            # podman does not distinguish stopped containers from those that exited by themselves.
            if desired is DesiredState.STOPPED:
                return ObservedState.STOPPED
            return ObservedState.COMPLETED if completed else ObservedState.EXITED
        case ContainerState.RESTARTING:
            return ObservedState.RESTARTING
        case ContainerState.PAUSED | ContainerState.STOPPING | ContainerState.REMOVING:
            return ObservedState.DEGRADED
        case _:
            return ObservedState.UNKNOWN


def observe(rows: Sequence[ComponentRow], containers: Sequence[Container], booted: datetime) -> list[Observed]:
    """Return the registered components, then unregistered containers created by MCP (as `ignore`).

    `booted` is the time at which this machine started.
    """
    by_name = {container.name: container for container in containers}
    known = {row.container for row in rows}
    seen = [_registered(row, by_name.get(row.container), booted) for row in rows]
    strays = [
        container
        for container in containers
        if container.labels.get(LABEL_SERVICE) and base_name(container.name) not in known
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


def _registered(row: ComponentRow, container: Container | None, booted: datetime) -> Observed:
    completed = container is not None and is_completed(row.spec.restart, container, booted)
    return _observed(row.service, row.name, row.spec.image, row.desired_state, container, completed=completed)


def _observed(
    service: str,
    component: str,
    image: str,
    desired: DesiredState,
    container: Container | None,
    *,
    completed: bool = False,
) -> Observed:
    running = container is not None and container.running
    return Observed(
        service=service,
        component=component,
        image=image,
        desired=desired,
        state=observed_state(container, desired, completed=completed),
        started=container.started if running and container else None,
        container=container,
    )
