"""Join podman's containers with the registry."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from agent.podman.output import Container
from agent.podman.states import ENDED, ContainerState, Health
from agent.store.components import Run
from agent.store.registry import ComponentRow, Registered, UnreadableRow
from mcp.shared.image import image_key, image_version, parse_image
from mcp.shared.names import LABEL_COMPONENT, LABEL_SERVICE, base_name
from mcp.shared.states import DesiredState, ObservedState

UNKNOWN = "unknown"  # the desired state of a component whose entry in the registry is damaged
ALWAYS_UP = ("always", "unless-stopped")  # restart policies under which no container exits permanently


@dataclass(frozen=True)
class Observed:
    """A component with its desired and observed state; `started` is None unless it is running."""

    service: str
    component: str
    image: str
    desired: str  # a DesiredState, or unknown
    state: ObservedState
    started: datetime | None
    container: Container | None = field(default=None, compare=False)
    registered_image: str = ""  # empty without an entry in the registry
    differences: tuple[str, ...] = ()  # of the container from the registry

    @property
    def identifier(self) -> str:
        """The container's id; empty without a container."""
        return self.container.identifier if self.container else ""

    @property
    def drifts(self) -> bool:
        """True if it is not in its desired state, or not what is registered; ignored containers never drift."""
        return is_drift(self.desired, self.state) or bool(self.differences)

    @property
    def version(self) -> str:
        """The tag or digest of the image, which is that of the container if there is one."""
        return image_version(self.image)


def container_differences(row: ComponentRow, container: Container) -> list[str]:
    """Return what tells a container from the one that the registry has; `plan` and `status` agree on it.

    A container never changes its image, so the deploy that made it stands for the image's id: a tag that means another
    image now is no difference.
    """
    found = []
    if row.deploy and LABEL_SERVICE not in container.labels:
        found.append("its container was not created by MCP")
    elif container.deploy != row.deploy:
        found.append("its container is from another deploy")
    if image_key(container.image) != image_key(row.spec.image):
        found += _other_image(container.image, row.spec.image)
    return found


def _other_image(image: str, registered: str) -> list[str]:
    """Return the difference of two image names, if they tell: a tag and a digest of one repository do not."""
    one, other = parse_image(image), parse_image(registered)
    runs, known = _last_part(image) or "an image without a name", _last_part(registered)
    if runs == known:  # of different registries
        runs, known = image, registered
    if one is not None and other is not None and one.repository == other.repository:
        if bool(one.digest) != bool(other.digest):
            return []
        known = other.version
    return [f"runs {runs}, registered {known}"]


def _last_part(image: str) -> str:
    return image.rpartition("/")[2]


def is_drift(desired: str, state: str) -> bool:
    """Return True if a state differs from the desired one; a completed job is as it should be."""
    if desired == DesiredState.IGNORE or (desired == DesiredState.RUNNING and state == ObservedState.COMPLETED):
        return False
    return desired != state


@dataclass(frozen=True)
class Boot:
    """The present run of the machine: its start by the clock, which may have been set since, and jobs that ended in it.

    Without the record of those, a job would run again once the clock was set and the agent restarted.
    """

    since: datetime
    ended: Collection[Run] = ()

    def has_seen(self, container: Container) -> bool:
        """Return True for a container whose last run began since the start of the machine."""
        if container.started is None:
            return False
        return Run(container.identifier, container.started) in self.ended or container.started > self.since

    def has_completed(self, restart: str, container: Container) -> bool:
        """Return True for a job that has done its work: its policy `restart` lets it end, with exit code 0."""
        return (
            restart not in ALWAYS_UP and has_ended(container) and container.exit_code == 0 and self.has_seen(container)
        )


def has_ended(container: Container) -> bool:
    """Return True if podman has seen the end of a container's last run."""
    return container.state in ENDED and container.exited


def unrecorded_runs(
    rows: Sequence[ComponentRow], containers: Mapping[str, Container], boot: Boot
) -> dict[tuple[str, str], Run]:
    """Return the runs of jobs that have ended and are not recorded yet, by service and component."""
    found = {}
    for row in rows:
        container = containers.get(row.container)
        if container is None or container.started is None or row.spec.restart in ALWAYS_UP:
            continue
        if has_ended(container) and boot.has_seen(container):
            found[row.service, row.name] = Run(container.identifier, container.started)
    return {place: run for place, run in found.items() if run not in boot.ended}


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


def observe(registered: Registered, containers: Sequence[Container], boot: Boot) -> list[Observed]:
    """Return the registered components, then unregistered containers created by MCP (as `ignore`)."""
    by_name = {container.name: container for container in containers}
    known = {row.container for row in registered.rows} | {row.container for row in registered.unreadable}
    seen = [_registered(row, by_name.get(row.container), boot) for row in registered.rows]
    seen += [_unreadable(row, by_name.get(row.container)) for row in registered.unreadable]
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


def _unreadable(row: UnreadableRow, container: Container | None) -> Observed:
    observed = _observed(row.service, row.name, "", DesiredState.RUNNING, container)
    return replace(observed, desired=UNKNOWN, state=ObservedState.UNREADABLE)


def _registered(row: ComponentRow, container: Container | None, boot: Boot) -> Observed:
    completed = container is not None and boot.has_completed(row.spec.restart, container)
    image = row.spec.image
    observed = _observed(row.service, row.name, image, row.desired_state, container, completed=completed)
    managed = container if row.desired_state is not DesiredState.IGNORE else None
    different = tuple(container_differences(row, managed)) if managed is not None else ()
    return replace(observed, registered_image=image, differences=different)


def _observed(
    service: str,
    component: str,
    image: str,
    desired: DesiredState,
    container: Container | None,
    *,
    completed: bool = False,
) -> Observed:
    """Return a component; `image` is shown if it has no container."""
    running = container is not None and container.running
    return Observed(
        service=service,
        component=component,
        image=container.image if container is not None else image,
        desired=desired,
        state=observed_state(container, desired, completed=completed),
        started=container.started if running and container else None,
        container=container,
    )
