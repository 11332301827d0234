"""The steps of changes.

A step performs one idempotent action through podman or the registry, and can undo it. Steps are data: the registry
stores them during a transaction (see transaction.py), so that the agent can resume them after a restart.
"""

import asyncio
import errno
import platform
from abc import ABC, abstractmethod
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from typing import Any, ClassVar

from agent.files.files import ServiceFiles
from agent.files.mounts import mount_problem
from agent.files.sources import provide_sources
from agent.log import fields as log_fields
from agent.log import logger
from agent.logs import previous, tail
from agent.logs.tail import TailLine
from agent.podman.client import Podman
from agent.podman.inspect import ContainerDetails
from agent.podman.output import Container, Image
from agent.podman.states import ENDED, CheckResult, ContainerState
from agent.services import ports, volumes
from agent.services.container import new_container
from agent.services.ports import HostPort
from agent.store.database import CannotWrite
from agent.store.previous_logs import PreviousReason
from agent.store.registry import AsyncRegistry
from mcp.shared import proc
from mcp.shared.errors import McpError, NotReady
from mcp.shared.names import LABEL_COMPONENT, LABEL_SERVICE, aside_name, base_name, container_name, trial_name
from mcp.shared.spec import ComponentSpec
from mcp.shared.states import DesiredState
from mcp.shared.times import in_seconds
from mcp.shared.wire import component_from_json, component_to_json

LAST_LINES = 20
POLL = 0.25  # seconds between two checks of a settling container
CHECK_OUTPUT_LIMIT = 300  # characters of what a health check printed, in an error
HEALTH_POLL = 0.5  # the same for containers with a health check, which each check runs
REMOVE_AGAIN = (0.5, 2.0)  # seconds between attempts to remove a container
PASSWD, GROUP = "/etc/passwd", "/etc/group"
UNCHANGED = "correct the definition; nothing was changed"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # uname(2) machine to image architecture


class Phase(IntEnum):
    """The phase of a step; all components of a service pass through the phases together."""

    PREPARE = 0  # while the old container is still running
    REPLACE = 1
    SETTLE = 2
    FINISH = 3

    @property
    def is_concurrent(self) -> bool:
        """True if components pass it concurrently, False if one after the other in plan order."""
        return self in (Phase.PREPARE, Phase.SETTLE)


@dataclass
class StepContext:
    """The context of the steps of one component.

    New containers are labelled with `deploy` and must stay up for `settle` seconds. ProvideImage sets `digest`; any
    step may add `notes` for the user.
    """

    podman: Podman
    registry: AsyncRegistry
    service: str
    component: str
    deploy: int
    settle: float
    files: ServiceFiles
    digest: str = ""
    unfinished: McpError | None = None  # why something is left that the agent has to try again
    notes: list[str] = field(default_factory=list)  # for the user
    settled: ContainerDetails | None = None  # the container that AwaitStable has seen last
    replaced_volumes: Mapping[str, str] = field(default_factory=dict)  # anonymous ones of the old container, by target

    async def find(self, name: str) -> Container | None:
        """Return the container with that name, or None."""
        return (await self.podman.find(name)).get(name)

    async def stop(self, name: str) -> None:
        """Stop a container, and note if it had to be killed."""
        if note := await self.podman.stop(name):
            self.notes.append(note)
            logger.warning("container killed", extra=log_fields(container=name, detail=note))

    async def stop_to_remove(self, container: Container) -> None:
        """Stop a container that is about to be removed; a failure is only logged, as removal ends it by force."""
        if container.state not in (ContainerState.RUNNING, ContainerState.STOPPING):
            return
        try:
            await self.stop(container.name)
        except McpError as error:
            logger.warning("cannot stop the container", extra=log_fields(container=container.name, error=error))

    async def record_volumes(self, container: Container, *, failed: bool) -> None:
        """Record the anonymous volumes of a container that is about to be removed, so that the next one gets them.

        Those of one that `failed` do not take the place of others.
        """
        table, names = self.registry.volumes, (self.service, self.component)
        for details in (await self.podman.inspect(container.identifier)).values():
            known, found = await self.registry.call(table.select, *names), details.anonymous_volumes
            wanted = {**found, **known} if failed else {**known, **found}
            if wanted != known:  # else a full disk need not stop what is going on
                await self.registry.call(table.put, *names, wanted)

    async def keep_log(self, identifier: str, reason: PreviousReason) -> None:
        """Save a container's log tail before its removal."""
        await previous.capture(self.podman, self.registry, self.service, self.component, identifier, reason)


class DidNotStayUpError(NotReady):
    """A container exited or did not become healthy; `last_lines` is the end of its log."""

    def __init__(self, what: str, last_lines: list[TailLine]) -> None:
        """Attach the last lines to the message."""
        super().__init__(what)
        self.last_lines = last_lines


@dataclass(frozen=True)
class Step(ABC):
    """One action of a change; all methods may raise McpError."""

    kinds: ClassVar[dict[str, type["Step"]]] = {}  # subclasses by name
    phase: ClassVar[Phase] = Phase.REPLACE
    commits: ClassVar[bool] = False  # after this step the change is completed instead of undone
    disturbs: ClassVar[bool] = False  # it stops, renames or removes what is there: its change must come to an end
    leaves_nothing: ClassVar[bool] = False  # once it is done: only an interrupted attempt has to be undone
    starts_over: ClassVar[bool] = False  # what an attempt left that failed or was killed is undone before the next one
    may_wait: ClassVar[bool] = False  # a failure sets `unfinished`, and the other steps go on

    template: ClassVar[str] = ""  # format string of the title, over the fields

    def __init_subclass__(cls) -> None:
        """Register the subclass for `from_data`."""
        Step.kinds[cls.__name__] = cls

    @property
    def title(self) -> str:
        """A description for people: imperative, lower case, no full stop."""
        return self.template.format_map(vars(self))

    @abstractmethod
    async def do(self, context: StepContext) -> None:
        """Perform the action, or complete an earlier attempt."""

    async def undo(self, context: StepContext) -> str:  # noqa: ARG002 - most steps leave nothing to undo
        """Undo the action as far as it was performed; return a note for the user, or an empty string."""
        return ""

    async def is_done(self, context: StepContext) -> bool:  # noqa: ARG002 - most steps can simply be repeated
        """Return True if an interrupted attempt had completed the action."""
        return False

    def as_data(self) -> dict[str, object]:
        """Return the step as JSON data for `from_data`."""
        values = {own.name: getattr(self, own.name) for own in fields(self)}
        if isinstance(spec := values.get("spec"), ComponentSpec):
            values["spec"] = component_to_json(spec)
        return {"kind": type(self).__name__, **values}

    @staticmethod
    def from_data(data: Mapping[str, Any]) -> "Step":
        """Return the step from the result of `as_data`."""
        kind = Step.kinds[data["kind"]]
        values = {key: _value(key, value) for key, value in data.items() if key != "kind"}
        return kind(**values)


async def refused_mounts(podman: Podman, files: ServiceFiles, sources: Set[str]) -> dict[str, str]:
    """Return the sources of bind mounts that no new container gets, with the reasons; raises McpError."""
    if not sources:
        return {}
    places = await podman.places()

    def judge() -> dict[str, str]:
        return {path: problem for path in sorted(sources) if (problem := mount_problem(files, path, places))}

    return await asyncio.to_thread(judge)


def _value(key: str, value: Any) -> Any:
    if key == "spec":
        return component_from_json(value)
    return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True)
class ProvideImage(Step):
    """Pull the image if missing, and check its architecture."""

    image: str
    image_id: str  # empty if it is not on the node

    phase = Phase.PREPARE

    @property
    def title(self) -> str:
        return f"check the image {self.image}" if self.image_id else f"pull the image {self.image}"

    async def do(self, context: StepContext) -> None:
        image = await context.podman.ensure_image(self.image, self.image_id)
        check_architecture(image, self.image)
        context.digest = image.digest or image.identifier


@dataclass(frozen=True)
class CreateNetwork(Step):
    """Create a network if missing; undo keeps it."""

    network: str

    phase = Phase.PREPARE

    template = "create the network {network} if missing"

    async def do(self, context: StepContext) -> None:
        await context.podman.ensure_network(self.network)


@dataclass(frozen=True)
class ReservePorts(Step):
    """Reserve a host port for each route; undo releases those of routes not in `held`."""

    routes: tuple[str, ...]
    held: tuple[str, ...]

    phase = Phase.PREPARE

    @property
    def title(self) -> str:
        named = ", ".join(name for name in self.routes if name)
        return f"reserve host ports for {named}" if named else "reserve a host port"

    async def do(self, context: StepContext) -> None:
        components, names = context.registry.components, (context.service, context.component)
        reserved = await context.registry.call(components.ports, *names)
        taken = await self._taken(context, {reserved[route] for route in self.routes if route in reserved})
        for route in self.routes:
            old = reserved.get(route)
            if old not in taken:
                await context.registry.call(components.reserve_port, *names, route, ports.candidates())
                continue
            new = await context.registry.call(components.move_port, *names, route, ports.candidates())
            what = f"route {route}: host port" if route else "host port"
            context.notes.append(f"{what} {old} is taken, moved to {new}")

    async def _taken(self, context: StepContext, reserved: set[int]) -> set[int]:
        """Return the ports that something else than the component's own container holds."""
        name = container_name(context.service, context.component)
        if not (taken := await ports.taken(reserved)):
            return taken
        own = [container for container in await context.podman.containers() if base_name(container.name) == name]
        return taken - {port for container in own if container.state not in ENDED for port, _ in container.published}

    async def undo(self, context: StepContext) -> str:
        await context.registry.call(
            context.registry.components.release_ports, context.service, context.component, set(self.held)
        )
        return ""


@dataclass(frozen=True)
class ProvideSources(Step):
    """Create the service's folder, and missing folders in it that are bind mounted; refuse other missing sources."""

    sources: tuple[str, ...]  # absolute paths

    phase = Phase.PREPARE

    template = "create missing folders of the service"

    async def do(self, context: StepContext) -> None:
        await asyncio.to_thread(provide_sources, context.files, context.service, self.sources)


@dataclass(frozen=True)
class CheckPorts(Step):
    """Check that explicit host ports are free, or are those of its own container or of one that is replaced before."""

    ports: tuple[str, ...]
    freed: tuple[str, ...] = ()  # containers that this deploy replaces before

    phase = Phase.PREPARE

    template = "check that its host ports are free"

    async def do(self, context: StepContext) -> None:
        for wanted in map(ports.parse_port, self.ports):
            if refusal := wanted.refusal():
                await self._judge(context, wanted, refusal)

    async def _judge(self, context: StepContext, wanted: HostPort, refusal: int) -> None:
        if refusal != errno.EADDRINUSE:
            raise ports.unusable(wanted, refusal)
        freed = {container_name(context.service, context.component), *self.freed}
        for container in await context.podman.containers():
            if container.state not in ENDED and (wanted.number, wanted.protocol) in container.published:
                if base_name(container.name) in freed:
                    return
                raise _published(wanted, container, context.service)
        raise ports.unusable(wanted, refusal)


@dataclass(frozen=True)
class TryContainer(Step):
    """Create the new container under another name and remove it, to find what podman refuses."""

    container: str
    spec: ComponentSpec

    phase = Phase.PREPARE

    leaves_nothing = True
    template = "check that podman can create {container}"

    async def do(self, context: StepContext) -> None:
        host_ports = await context.registry.call(context.registry.components.ports, context.service, self.spec.name)
        made = new_container(context.service, self.spec, host_ports, context.deploy)
        trial = replace(made, name=trial_name(self.container), user="", env=())
        try:
            identifier = await context.podman.try_create(trial)
        except proc.CommandFailed as error:
            what = error.completed.last_words().removeprefix("Error: ")
            raise NotReady(f"podman cannot create the new container: {what}", error.hint or UNCHANGED) from None
        try:
            await self._check_user(context, identifier)
        finally:
            await remove(context, identifier)

    async def _check_user(self, context: StepContext, identifier: str) -> None:
        user, _, group = self.spec.user.partition(":")
        for path, name in ((PASSWD, user), (GROUP, group)):
            if name and not name.isdigit():
                content = await context.podman.read_file(identifier, path)
                if content is not None and not has_entry(content, name):
                    raise NotReady(f'the image has no "{name}" in its {path}', "name one that it has, or use a number")

    async def undo(self, context: StepContext) -> str:
        left = await context.find(trial_name(self.container))
        if left is not None:
            await remove(context, left.identifier)
        return ""


@dataclass(frozen=True)
class StopContainer(Step):
    """Stop a container; undo starts it if `restart` is set."""

    container: str
    restart: bool = False

    disturbs = True
    template = "stop {container}"

    async def do(self, context: StepContext) -> None:
        await context.stop(self.container)  # even if not running: it may be between two runs of a crash loop

    async def is_done(self, context: StepContext) -> bool:
        return await context.find(self.container) is None

    async def undo(self, context: StepContext) -> str:
        if not self.restart or await context.find(self.container) is None:
            return ""
        await context.podman.start(self.container)
        return "the old container runs again"


@dataclass(frozen=True)
class SetAside(Step):
    """Rename the old container to free its name for the new one."""

    container: str

    disturbs = True
    template = f"rename {{container}} to {aside_name('{container}')}"

    async def do(self, context: StepContext) -> None:
        await context.podman.rename(self.container, aside_name(self.container))

    async def is_done(self, context: StepContext) -> bool:
        return await context.find(self.container) is None

    async def undo(self, context: StepContext) -> str:
        await restore(context, self.container)
        return ""


@dataclass(frozen=True)
class RestoreName(Step):
    """Restore the name of a container set aside by an interrupted deploy."""

    container: str

    disturbs = True
    template = f"rename {aside_name('{container}')} to {{container}}"

    async def do(self, context: StepContext) -> None:
        await restore(context, self.container)


@dataclass(frozen=True)
class RunContainer(Step):
    """Create and start the container of a component; undo saves its log tail and removes it.

    It gets the anonymous volumes of the container set aside if it `replaces` one, and otherwise those last recorded.
    """

    spec: ComponentSpec
    replaces: bool = False

    starts_over = True
    template = "run {spec.image}"

    async def do(self, context: StepContext) -> None:
        components = context.registry.components
        host_ports = await context.registry.call(components.ports, context.service, self.spec.name)
        carried = await self._volumes(context)
        await self._check_mounts(context)
        if not self.replaces:
            await self._note_lost_volumes(context)
        await context.podman.run(new_container(context.service, self.spec, host_ports, context.deploy, carried))

    async def _check_mounts(self, context: StepContext) -> None:
        """Judge the mounts of a new definition again, which may lead elsewhere since the plan; raises NotReady.

        What is created again from the registry was deployed: a mount that became forbidden since takes down nothing.
        """
        rows = await context.registry.call(context.registry.components.select, context.service, self.spec.name)
        if any(row.spec == self.spec for row in rows):
            return
        refused = await refused_mounts(context.podman, context.files, set(volumes.paths(self.spec)))
        if refused:
            raise NotReady("; ".join(refused.values()))

    async def _note_lost_volumes(self, context: StepContext) -> None:
        """Note named volumes that a component had, and that are gone with its container."""
        for row in await context.registry.call(context.registry.components.select, context.service, self.spec.name):
            if had := volumes.names(row.spec) & volumes.names(self.spec):
                context.notes += volumes.lost(had, await context.podman.volume_names())

    async def _volumes(self, context: StepContext) -> dict[str, str]:
        """Return the anonymous volumes to mount, by target."""
        aside = aside_name(container_name(context.service, self.spec.name))
        if self.replaces:
            for details in (await context.podman.inspect(aside)).values():
                context.replaced_volumes = details.anonymous_volumes
        known = await context.registry.call(context.registry.volumes.select, context.service, self.spec.name)
        known = volumes.carried(self.spec, {**known, **context.replaced_volumes})
        others = {target: name for target, name in known.items() if target not in context.replaced_volumes}
        unused = await context.podman.unused_volumes() if others else set()
        for target in [target for target, name in others.items() if name not in unused]:
            context.notes.append(f"{target}: its anonymous volume {known.pop(target)} is gone or another container's")
        return known

    async def undo(self, context: StepContext) -> str:
        if (made := await self._made(context)) is not None:
            await discard(context, made)
        return ""

    async def is_done(self, context: StepContext) -> bool:
        made = await self._made(context)
        return made is not None and made.has_begun

    async def _made(self, context: StepContext) -> Container | None:
        """Return the container that an attempt has created, or None."""
        found = await context.find(container_name(context.service, self.spec.name))
        return found if found is not None and found.is_of(context.service, context.deploy) else None


@dataclass(frozen=True)
class StartContainer(Step):
    """Start an existing container."""

    container: str

    template = "start {container}"

    async def do(self, context: StepContext) -> None:
        await context.podman.start(self.container)


@dataclass(frozen=True)
class AwaitStable(Step):
    """Wait until a container is healthy, or without health check, has stayed up for the settle time.

    One that `may_complete`, a job, may also end with exit code 0.
    """

    container: str
    is_new: bool = True
    may_complete: bool = False

    phase = Phase.SETTLE

    template = "wait until {container} is healthy or stays up"

    async def do(self, context: StepContext) -> None:
        """Raise DidNotStayUpError when the container exits, or at the end of its health check's time."""
        clock = asyncio.get_running_loop().time
        began, hung = clock(), 0
        while True:
            lasted = clock() - began  # before podman is asked
            details = await self._running(context)
            if self._completed(details):
                context.notes.append("ended with exit code 0")
                return
            if (check := details.check) is None:
                if lasted >= context.settle:
                    return
                await asyncio.sleep(POLL)
                continue
            result = await context.podman.check_health(details.identifier, check)
            if result is CheckResult.HEALTHY:
                return
            hung += int(result is CheckResult.TIMED_OUT)
            # An attempt that hangs costs its timeout, and is only one of the check's retries.
            patience = max(check.patience, context.settle) + min(hung, check.retries) * check.timeout
            if clock() - began >= patience:
                raise await self._failed(context, unhealthy(await self._running(context), patience, result))
            await asyncio.sleep(HEALTH_POLL)

    def _completed(self, details: ContainerDetails) -> bool:
        return self.may_complete and details.state in ENDED and details.known_exit_code == 0

    async def _running(self, context: StepContext) -> ContainerDetails:
        """Return the details of the container; raises DidNotStayUpError if it has ended, but not as a job does."""
        details = context.settled = await context.podman.details(self.container)
        if self._completed(details):
            return details
        if details.state != ContainerState.RUNNING:
            raise await self._failed(context, f"ended with exit code {details.exit_code} soon after its start")
        if details.restarts:  # running again, so podman no longer has its exit code
            raise await self._failed(context, "ended soon after its start, and was restarted")
        return details

    async def _failed(self, context: StepContext, how: str) -> DidNotStayUpError:
        lines: list[TailLine] = []
        try:
            lines = await tail.last_lines(context.podman, self.container, LAST_LINES)
        except McpError as error:  # the failure matters more than the log
            logger.warning("cannot read the last log lines", extra=log_fields(container=self.container, error=error))
        return DidNotStayUpError(f"the {'new ' if self.is_new else ''}container {how}", lines)


@dataclass(frozen=True)
class RecordComponent(Step):
    """Record the new container and specification in the registry."""

    spec: ComponentSpec
    position: int  # in its definition

    phase = Phase.FINISH
    commits = True

    template = "record it in the registry"

    async def do(self, context: StepContext) -> None:
        await self._record_volumes(context)
        await context.registry.call(  # last, since what fails before it is undone
            context.registry.components.put,
            *(context.service, self.position, self.spec, DesiredState.RUNNING, context.digest, context.deploy),
        )

    async def _record_volumes(self, context: StepContext) -> None:
        name = container_name(context.service, self.spec.name)
        details = context.settled or await context.podman.details(name)
        known = {**context.replaced_volumes, **details.anonymous_volumes}
        await context.registry.call(context.registry.volumes.put, context.service, self.spec.name, known)
        context.notes += volumes.notes(context.service, self.spec, known)

    async def is_done(self, context: StepContext) -> bool:
        rows = await context.registry.call(context.registry.components.select, context.service, self.spec.name)
        return bool(rows) and rows[0].deploy == context.deploy


@dataclass(frozen=True)
class SetDesired(Step):
    """Record the desired state of a component in the registry."""

    state: DesiredState

    template = "record its desired state: {state}"

    async def do(self, context: StepContext) -> None:
        await context.registry.call(
            context.registry.components.set_desired, context.service, context.component, self.state
        )


@dataclass(frozen=True)
class RemoveReplaced(Step):
    """Remove a replaced container; on failure the new one stays, and the agent tries again."""

    container: str
    identifier: str

    phase = Phase.FINISH
    disturbs = True
    may_wait = True
    template = "remove {container}"

    async def do(self, context: StepContext) -> None:
        try:
            await context.keep_log(self.identifier, PreviousReason.REPLACED)
            await context.podman.remove_by_id(self.identifier)
        except McpError as error:
            context.unfinished = error
            logger.warning("cannot remove the old container", extra=log_fields(container=self.container, error=error))

    async def is_done(self, context: StepContext) -> bool:
        return await context.find(self.container) is None


@dataclass(frozen=True)
class RemoveLeftover(RemoveReplaced):
    """Remove a replaced container left by an earlier change, before its name is needed."""

    phase = Phase.REPLACE
    template = "remove {container}, left by an earlier deploy"


@dataclass(frozen=True)
class DiscardContainer(Step):
    """Remove a container left by an interrupted deploy, and save its log tail."""

    container: str

    disturbs = True
    template = "remove {container}, left by an interrupted deploy"

    async def do(self, context: StepContext) -> None:
        left = await context.find(self.container)
        if left is not None and await context.find(aside_name(self.container)) is not None:
            await discard(context, left)


@dataclass(frozen=True)
class RemoveContainer(Step):
    """Stop and remove a container, if it exists."""

    container: str

    disturbs = True
    template = "stop and remove {container}"

    async def do(self, context: StepContext) -> None:
        container = await context.find(self.container)
        if container is not None:
            await context.record_volumes(container, failed=False)
            await context.stop_to_remove(container)
            await context.podman.remove_by_id(container.identifier)


@dataclass(frozen=True)
class RemoveVolumes(Step):
    """Remove the anonymous volumes of a component, but for those that another container has."""

    names: tuple[str, ...]

    template = "remove its anonymous volumes"

    async def do(self, context: StepContext) -> None:
        for name in self.names:
            try:
                await context.podman.remove_volume(name)
            except proc.CommandFailed as error:
                context.notes.append(
                    f"a volume was not removed: {error.completed.last_words().removeprefix('Error: ')}"
                )
        await context.registry.call(context.registry.volumes.remove, context.service, context.component)


@dataclass(frozen=True)
class ForgetComponent(Step):
    """Remove a component with its ports and saved log from the registry, and note the volumes that stay."""

    template = "remove it from the registry"

    async def do(self, context: StepContext) -> None:
        registry, names = context.registry, (context.service, context.component)
        if known := await registry.call(registry.volumes.select, *names):
            rows = await registry.call(registry.components.select, *names)
            existing = await context.podman.volume_names()
            present = {target: volume for target, volume in known.items() if volume in existing}
            context.notes += volumes.kept(rows[0].spec if rows else None, present)
        await registry.call(registry.components.remove, *names)


def unhealthy(details: ContainerDetails, patience: float, result: CheckResult) -> str:
    """Say why a container has failed its health check for `patience` seconds: how the last one ended, what it said."""
    said = " | ".join(line.strip() for line in details.check_output.splitlines() if line.strip()) or "nothing"
    how = f"did not become healthy within {in_seconds(patience)} s: its check"
    if result is CheckResult.TIMED_OUT and details.check is not None:
        how += f" did not end within {in_seconds(details.check.timeout)} s and"
    return f"{how} printed {said[:CHECK_OUTPUT_LIMIT]}"


async def restore(context: StepContext, name: str) -> None:
    """Restore the name of a container set aside, unless it is taken."""
    containers = await context.podman.find(name, aside_name(name))
    if aside_name(name) in containers and name not in containers:
        await context.podman.rename(aside_name(name), name)


async def discard(context: StepContext, container: Container) -> None:
    """Save the log tail of a failed new container, record its anonymous volumes, and remove it."""
    try:
        await context.record_volumes(container, failed=True)
    except CannotWrite as error:  # the old container matters more
        logger.warning("cannot record its volumes", extra=log_fields(container=container.name, error=error))
    # Two attempts in three to stop a crash loop fail, for up to two minutes; removal by force takes 0.1 s.
    if not any(details.restarts for details in (await context.podman.inspect(container.identifier)).values()):
        await context.stop_to_remove(container)
    await context.keep_log(container.identifier, PreviousReason.FAILED)
    await remove(context, container.identifier)


async def remove(context: StepContext, identifier: str) -> None:
    """Remove a container that may have just exited or been restarted."""
    for pause in REMOVE_AGAIN:
        try:
            await context.podman.remove_by_id(identifier)
            return
        except McpError as error:
            extra = log_fields(component=context.component, container=identifier[:12], error=error)
            logger.warning("cannot remove a container, retrying", extra=extra)
        await asyncio.sleep(pause)
    await context.podman.remove_by_id(identifier)


def _published(port: HostPort, container: Container, service: str) -> NotReady:
    """Return the error for a host port of another container; one of the same service may give it up."""
    hint = "choose another one"
    if container.labels.get(LABEL_SERVICE) == service:
        hint += f", or change {service}/{container.labels.get(LABEL_COMPONENT)} first"
    return NotReady(f"host port {port} is published by the container {container.name}", hint)


def has_entry(content: bytes, name: str) -> bool:
    """Return True if the content of a passwd(5) or group(5) file has an entry of that name."""
    return any(line.partition(b":")[0] == name.encode() for line in content.splitlines())


def check_architecture(image: Image, name: str) -> None:
    """Raise NotReady for an image of another architecture than this node's."""
    here = ARCHITECTURES.get(platform.machine(), platform.machine())
    if image.architecture and image.architecture != here:
        raise NotReady(f"the image {name} is for {image.architecture}, this node is {here}", "build it for this node")
