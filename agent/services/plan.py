"""Compute the changes and steps that bring this node to its desired state. Pure.

The single source of decisions: `mcp plan` prints them; deploy, sync, rollback, recover and agent start carry them out
(see transaction.py). Services without a definition are never removed, and a component that its service's definition no
longer has only with `prune`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property

from agent.monitor.healing import Remedy
from agent.monitor.state import ALWAYS_UP, Boot, container_differences
from agent.podman.client import BUILT_IN_NETWORKS
from agent.podman.output import Container
from agent.podman.states import ContainerState
from agent.services import volumes
from agent.services.steps import (
    AwaitStable,
    CheckPorts,
    CreateNetwork,
    DiscardContainer,
    ForgetComponent,
    ProvideImage,
    ProvideSources,
    RecordComponent,
    RemoveContainer,
    RemoveLeftover,
    RemoveReplaced,
    RemoveVolumes,
    ReservePorts,
    RestoreName,
    RunContainer,
    SetAside,
    SetDesired,
    StartContainer,
    Step,
    StopContainer,
    TryContainer,
)
from agent.store.registry import ComponentRow, UnreadableRow
from mcp.shared.fields import differences, effective
from mcp.shared.image import image_key
from mcp.shared.names import LABEL_SERVICE, aside_name, container_name
from mcp.shared.spec import ComponentSpec, ServiceSpec
from mcp.shared.states import Action, DesiredState

DROPPED = "removed from the definition"
DAMAGED = "its entry in the registry is damaged"
LONG_AGO = Boot(datetime.min.replace(tzinfo=UTC))
# States that recovery leaves alone. Not stopping: a container stays in it if its `podman stop` was killed.
BUSY = (ContainerState.RUNNING, ContainerState.RESTARTING, ContainerState.PAUSED, ContainerState.REMOVING)


@dataclass(frozen=True)
class Change:
    """One change of a component, with its reasons and its steps in phase order.

    With `undone_on_failure`, the change is undone if a step before its commit fails or the agent is killed; otherwise
    the next agent resumes it, and so does this one if a step fails once one has disturbed what was there. What cannot
    be undone or completed is tried again. `deploy` is the number for new containers, or None for the current deploy's.
    """

    service: str
    component: str
    action: Action
    reasons: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    undone_on_failure: bool = False
    deploy: int | None = None
    notes: tuple[str, ...] = ()  # for the user


@dataclass(frozen=True)
class NodeState:
    """The registry's rows, podman's containers, the local images' ids by name and digest, and the run of the machine.

    Containers named in `stuck` cannot be started again: a host port of theirs is taken. `refused_mounts` are sources of
    bind mounts that no new container gets, with the reasons.
    """

    rows: Sequence[ComponentRow]
    containers: Sequence[Container]
    image_ids: Mapping[str, str]
    boot: Boot = LONG_AGO
    stuck: Collection[str] = ()
    refused_mounts: Mapping[str, str] = field(default_factory=dict)
    unreadable: Sequence[UnreadableRow] = ()

    def is_unreadable(self, service: str, component: str) -> bool:
        """Return True if the registry's entry of a component is damaged."""
        return UnreadableRow(service, component) in self.unreadable

    def image_id(self, image: str) -> str | None:
        """Return the id of the local image that podman runs for this name, or None."""
        return self.image_ids.get(image_key(image))

    def container(self, name: str) -> Container | None:
        """Return the container with that name, or None."""
        return self._by_name.get(name)

    def row(self, service: str, component: str) -> ComponentRow | None:
        """Return the registry row of a component, or None."""
        return self._by_component.get((service, component))

    def owner(self, container: str) -> ComponentRow | None:
        """Return the registry row that owns a container, or None."""
        return self._by_container.get(container)

    @cached_property
    def _by_name(self) -> dict[str, Container]:
        return {container.name: container for container in self.containers}

    @cached_property
    def _by_component(self) -> dict[tuple[str, str], ComponentRow]:
        return {(row.service, row.name): row for row in self.rows}

    @cached_property
    def _by_container(self) -> dict[str, ComponentRow]:
        return {row.container: row for row in self.rows}


def plan(
    services: Sequence[ServiceSpec],
    state: NodeState,
    *,
    partial: bool,
    only: Collection[str] = (),
    force: bool = False,
    prune: bool = False,
    leave: Collection[str] = (),
) -> list[Change]:
    """Return the changes that bring the node to the state in the definitions, in definition order.

    Those of components that were removed from a definition follow the others of their service.

    Args:
        services: The definitions.
        state: The current state of the node.
        partial: Treat `services` as a subset of the node's definitions; ignore components outside of it.
        only: The components to consider; all if empty.
        force: Replace containers that are up to date as well.
        leave: Services that have no definition here and are left as they are.
        prune: Remove components that are no longer in the definition of their service, unless `only` is given.
    """
    changes: list[Change] = []
    for service in services:
        changes += _service(service, state, only, force)
        changes += [] if only else _dropped(service, state, prune)
    if not partial:
        defined = {*leave, *(service.name for service in services)}
        changes += [_ignore(row) for row in state.rows if row.service not in defined and is_managed(row)]
        changes += [unreadable(row) for row in state.unreadable if row.service not in defined]
    return changes


def is_managed(row: ComponentRow) -> bool:
    """Return False for a component that MCP ignores."""
    return row.desired_state is not DesiredState.IGNORE


def _service(service: ServiceSpec, state: NodeState, only: Collection[str], force: bool) -> Iterator[Change]:
    replaced: list[str] = []
    for position, component in enumerate(service.components):
        if only and component.name not in only:
            continue
        if service.active:
            before = tuple(replaced) if component.ports else ()  # only its host ports depend on them
            change = _Comparison(service.name, position, component, state, before).change(force)
            replaced += [container_name(service.name, component.name)] if change is not None else []
        else:
            change = _deactivate(service.name, component.name, state)
        if change is not None:
            yield change


def _deactivate(service: str, component: str, state: NodeState) -> Change | None:
    row, container = state.row(service, component), state.container(container_name(service, component))
    if row is None or (row.desired_state is DesiredState.STOPPED and (container is None or not container.running)):
        return None
    return stop(row, state, reasons=("the service is not active",))


def _dropped(service: ServiceSpec, state: NodeState, prune: bool) -> Iterator[Change]:
    """Yield a change for each registered component that the definition no longer has."""
    for row in state.rows:
        if row.service == service.name and row.name not in service.component_names():
            removal = remove(row.service, row.name, containers_of(row, state))
            kept = Change(row.service, row.name, Action.KEEP)
            yield replace(removal if prune else kept, reasons=(DROPPED,))
    for damaged in state.unreadable:
        if damaged.service == service.name and damaged.name not in service.component_names():
            removal = remove(damaged.service, damaged.name, containers_of(damaged, state))
            kept = Change(damaged.service, damaged.name, Action.KEEP)
            yield replace(removal if prune else kept, reasons=(DROPPED, DAMAGED))


def _ignore(row: ComponentRow) -> Change:
    reasons = ("the service has no definition; left unchanged",)
    return Change(row.service, row.name, Action.IGNORE, reasons, (SetDesired(DesiredState.IGNORE),))


class _Comparison:
    """A defined component compared with its state on the node."""

    def __init__(
        self, service: str, position: int, component: ComponentSpec, state: NodeState, replaced: tuple[str, ...] = ()
    ) -> None:
        """`replaced` are the containers that are replaced before this one."""
        self._replaced = replaced
        self._service, self._position, self._component = service, position, component
        self._name = container_name(service, component.name)
        self._row = state.row(service, component.name)
        self._owner = state.owner(self._name)
        self._image_id = state.image_id(component.image)
        self._left = resolve_replacement(self._name, self._row.deploy if self._row else 0, state)
        self._stuck = self._name in state.stuck
        self._refused = [
            state.refused_mounts[path] for path in volumes.paths(component) if path in state.refused_mounts
        ]
        self._unreadable = state.is_unreadable(service, component.name)
        self._state = state

    def change(self, force: bool) -> Change | None:
        """Return the required change, or None."""
        if (blocked := self._blocked()) is not None:
            return self._change(Action.BLOCKED, [blocked])
        container, row = self._left.container, self._row
        if container is None:
            reasons = ["is not deployed"] if row is None else ["its container is gone", *self._differences(row)]
            reasons = [DAMAGED] if self._unreadable else reasons
            return self._replace(Action.CREATE, reasons)
        if reasons := self._outdated(container) or (["forced"] if force else []):
            return self._replace(Action.REPLACE, reasons)
        assert row is not None, "a container without a registry row is outdated"
        return self._up(row, container)

    def _blocked(self) -> str | None:
        owner, container = self._owner, self._left.container
        if owner is not None and owner is not self._row:
            return (
                f"the container {self._name} belongs to {owner.service}/{owner.name}; give one of the two another name"
            )
        if self._unreadable:
            return None
        if self._row is None and container is not None and LABEL_SERVICE not in container.labels:
            return f"the container {self._name} was not created by MCP; run mcp adopt {self._service}, or remove it"
        return None

    def _differences(self, row: ComponentRow) -> list[str]:
        """List the differences in effect: a default that is written out is none."""
        if row.spec == self._component:
            return []
        return differences(effective(row.spec), effective(self._component))

    def _outdated(self, container: Container) -> list[str]:
        """Return the reasons to replace a container; empty if it is up to date."""
        if self._unreadable:
            return [DAMAGED]
        if self._row is None:
            return [f"the container {container.name} is not in the registry"]
        reasons = [*self._differences(self._row), *container_differences(self._row, container)]
        return reasons or self._other_image(container)

    def _other_image(self, container: Container) -> list[str]:
        """Return why a container's image is not that of the definition, which may be missing on the node."""
        image = self._component.image
        if self._image_id is None:
            return [] if image_key(container.image) == image_key(image) else [f"its container runs {container.image}"]
        return [] if container.image_id == self._image_id else [f"{image} refers to another image now"]

    def _up(self, row: ComponentRow, container: Container) -> Change | None:
        """Return the change for a container that is up to date, or None."""
        stopped = row.desired_state is DesiredState.STOPPED
        completed = not stopped and self._state.boot.has_completed(self._component.restart, container)
        if not container.running and not completed:
            reason = "was stopped" if stopped else _ended(container)
            if self._stuck:
                return self._replace(Action.REPLACE, [reason, "its host port is taken"])
            steps = [
                *sources(row.spec),
                StartContainer(self._name),
                SetDesired(DesiredState.RUNNING),
                self._await_stable(is_new=False),
            ]
            return self._change(Action.START, [reason], steps)
        if row.desired_state is not DesiredState.RUNNING:
            return self._change(
                Action.REGISTER,
                [f"is {'completed' if completed else 'running'}, but registered as {row.desired_state}"],
                [SetDesired(DesiredState.RUNNING)],
            )
        return self._change(Action.CLEAN_UP, [self._left.reason]) if self._left.steps else None

    def _replace(self, action: Action, reasons: list[str]) -> Change:
        if self._refused:
            return self._change(Action.BLOCKED, self._refused)
        component, old = self._component, self._left.container
        steps = make_ready(component, self._row, self._image_id, self._replaced)
        if old is not None:
            restart = old.running or self._was_interrupted()
            steps += [TryContainer(self._name, component)] if reasons != ["forced"] else []
            steps += [*self._left.steps, StopContainer(self._name, restart), SetAside(self._name)]
        steps += [
            RunContainer(component, old is not None),
            self._await_stable(),
            RecordComponent(component, self._position),
        ]
        if old is not None:
            steps.append(RemoveReplaced(aside_name(self._name), old.identifier))
        return Change(self._service, component.name, action, tuple(reasons), in_phases(steps), undone_on_failure=True)

    def _await_stable(self, *, is_new: bool = True) -> AwaitStable:
        return AwaitStable(self._name, is_new, may_complete=self._component.restart not in ALWAYS_UP)

    def _was_interrupted(self) -> bool:
        """Return True for a container that should be up: if it is down, an interrupted deploy stopped it."""
        row = self._row
        return row is not None and row.desired_state is DesiredState.RUNNING and row.spec.restart in ALWAYS_UP

    def _change(self, action: Action, reasons: Sequence[str], steps: Sequence[Step] = ()) -> Change:
        steps = () if action is Action.BLOCKED else [*self._left.steps, *steps]
        return Change(self._service, self._component.name, action, tuple(reasons), in_phases(steps))


def _ended(container: Container) -> str:
    return f"is {container.state}" + (f" with exit code {container.exit_code}" if container.exit_code else "")


# --- interrupted deploys ---


@dataclass(frozen=True)
class Resolution:
    """The container to keep of a replaced pair, and the steps that keep it (none without a pair)."""

    container: Container | None  # with the name, now or after the steps
    steps: tuple[Step, ...] = ()
    reason: str = ""


def resolve_replacement(name: str, deploy: int, state: NodeState) -> Resolution:
    """Select the container to keep if an interrupted deploy left an old one set aside.

    Keeps the new one if `deploy`, the registered deploy, created it, running or not; otherwise restores the old one.
    """
    current, aside = state.container(name), state.container(aside_name(name))
    if aside is None:
        return Resolution(current)
    reason = f"an interrupted deploy left {aside.name}"
    if current is not None and current.deploy == deploy:
        return Resolution(current, (RemoveLeftover(aside.name, aside.identifier),), reason)
    discarded = (DiscardContainer(name),) if current is not None else ()
    return Resolution(aside, (*discarded, RestoreName(name)), reason)


# --- single commands ---


def stop(row: ComponentRow, state: NodeState, *, reasons: tuple[str, ...] = ()) -> Change:
    """Return the change that stops a component and keeps its container."""
    left = _left(row, state)
    steps = [SetDesired(DesiredState.STOPPED), *left.steps]
    if left.container is not None:
        steps.append(StopContainer(row.container))
    return Change(row.service, row.name, Action.STOP, reasons, in_phases(steps))


def start(row: ComponentRow, state: NodeState) -> Change:
    """Return the change that starts a component, recreating a missing container from the registry."""
    left = _left(row, state)
    steps = [*left.steps, *([] if left.container and left.container.running else bring_up(row, left.container, state))]
    return Change(
        row.service,
        row.name,
        Action.START,
        (),
        in_phases([*steps, SetDesired(DesiredState.RUNNING)]),
        deploy=row.deploy,
    )


def restart(row: ComponentRow, state: NodeState) -> Change:
    """Return the change that stops and starts a component, even if it was stopped or missing."""
    left = _left(row, state)
    stopped = [StopContainer(row.container)] if left.container is not None and not left.container.orphaned else []
    steps = [*left.steps, *stopped, *bring_up(row, left.container, state), SetDesired(DesiredState.RUNNING)]
    return Change(row.service, row.name, Action.RESTART, (), in_phases(steps), deploy=row.deploy)


def repair(row: ComponentRow, remedy: Remedy, reason: str, state: NodeState) -> Change:
    """Return the change by which the agent starts, restarts or replaces the container of a component that failed."""
    if remedy is Remedy.REPLACE:
        steps = in_phases(replace_lost(row, state))
        return Change(row.service, row.name, Action.REPLACE, (reason,), steps, deploy=row.deploy)
    start = [*sources(row.spec), StartContainer(row.container)]
    if remedy is Remedy.START:
        action, steps = Action.START, in_phases(start)
    else:
        action, steps = Action.RESTART, in_phases([StopContainer(row.container), *start])
    return Change(row.service, row.name, action, (reason,), steps, deploy=row.deploy)


def unreadable(row: UnreadableRow) -> Change:
    """Return the refusal to change a component whose entry in the registry is damaged, but for a deploy."""
    return Change(row.service, row.name, Action.BLOCKED, (str(row.refusal),))


def containers_of(row: ComponentRow | UnreadableRow, state: NodeState) -> list[str]:
    """Return the names of a component's container, and of a replaced one that an earlier change has left."""
    aside = aside_name(row.container)
    return [row.container] if state.container(aside) is None else [aside, row.container]


def remove(service: str, component: str, containers: Sequence[str], volumes: Collection[str] = ()) -> Change:
    """Return the change that removes containers, these volumes and all that the registry has of a component."""
    removed = [RemoveVolumes(tuple(volumes))] if volumes else []
    steps = (*map(RemoveContainer, containers), *removed, ForgetComponent())
    return Change(service, component, Action.REMOVE, (), steps)


def recover(row: ComponentRow, state: NodeState, *, automatic: bool = False) -> Change | None:
    """Return the change that starts a component which should be running, or None; keeps desired states.

    A job, whose restart policy lets it exit permanently, is started after a reboot, but not once it has completed. One
    that has failed since the reboot is started on request, but not if the recovery is `automatic`.
    """
    left = _left(row, state)
    if needs_start(row, left.container, state, automatic=automatic):
        steps = in_phases([*left.steps, *bring_up(row, left.container, state)])
        action = Action.START if left.container is not None else Action.CREATE
        return Change(row.service, row.name, action, (), steps, deploy=row.deploy)
    return Change(row.service, row.name, Action.CLEAN_UP, (left.reason,), in_phases(left.steps)) if left.steps else None


def needs_start(row: ComponentRow, container: Container | None, state: NodeState, *, automatic: bool) -> bool:
    """Return True for a component that should be running and has not completed."""
    if row.desired_state is not DesiredState.RUNNING:
        return False
    if container is None:
        return True
    if container.state in BUSY or state.boot.has_completed(row.spec.restart, container):
        return False
    may_have_ended = row.spec.restart not in ALWAYS_UP and container.state == ContainerState.EXITED
    return not (automatic and may_have_ended and state.boot.has_seen(container))


def replace_lost(row: ComponentRow, state: NodeState) -> list[Step]:
    """Return the steps that replace a container of which podman has lost the process, and which it cannot start."""
    ready = make_ready(row.spec, row, state.image_id(row.spec.image))
    return [*ready, RemoveContainer(row.container), RunContainer(row.spec)]


def bring_up(row: ComponentRow, container: Container | None, state: NodeState) -> list[Step]:
    """Return the steps that start a container, or recreate a missing, stuck or lost one from the registry."""
    if container is not None and container.orphaned:
        return replace_lost(row, state)
    if container is not None and row.container not in state.stuck:
        return [*sources(row.spec), StartContainer(row.container)]
    ready = make_ready(row.spec, row, state.image_id(row.spec.image))
    if container is None:
        return [*ready, RunContainer(row.spec)]
    old = RemoveReplaced(aside_name(row.container), container.identifier)
    return [*ready, SetAside(row.container), RunContainer(row.spec, replaces=True), old]


def sources(spec: ComponentSpec) -> list[Step]:
    """Return the step that checks the sources of bind mounts, if there are any."""
    paths = volumes.paths(spec)
    return [ProvideSources(paths)] if paths else []


def make_ready(
    spec: ComponentSpec, row: ComponentRow | None, image_id: str | None, replaced: tuple[str, ...] = ()
) -> list[Step]:
    """Return the steps that prepare a new container while the old one, and those `replaced` before, still run."""
    steps: list[Step] = [ProvideImage(spec.image, image_id or "")]
    if spec.network not in BUILT_IN_NETWORKS:
        steps.append(CreateNetwork(spec.network))
    if spec.routes:
        held = tuple(route.name for route in row.spec.routes) if row is not None else ()
        steps.append(ReservePorts(tuple(route.name for route in spec.routes), held))
    steps.append(ProvideSources(volumes.paths(spec)))
    if spec.ports:
        steps.append(CheckPorts(spec.ports, replaced))
    return steps


def in_phases(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return steps sorted by phase, in stable order."""
    return tuple(sorted(steps, key=lambda step: step.phase))


def _left(row: ComponentRow, state: NodeState) -> Resolution:
    return resolve_replacement(row.container, row.deploy, state)
