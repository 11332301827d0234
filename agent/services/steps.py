"""The steps of which every change of this node consists.

A step does one thing through podman or the registry, can be done again, and knows how to undo what it did. Steps are
data: the registry holds them while they are carried out (see transaction.py), so an agent that was killed finds them
when it starts again.
"""

import asyncio
import platform
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, ClassVar

from agent.log import fields as log_fields
from agent.log import logger
from agent.logs import previous, tail
from agent.logs.tail import TailLine
from agent.podman.client import Podman
from agent.podman.output import Container, Image
from agent.podman.states import ContainerState
from agent.services import ports
from agent.services.container import new_container
from agent.store.previous_logs import PreviousReason
from agent.store.registry import AsyncRegistry
from mcp.shared.errors import McpError, NotReady
from mcp.shared.names import aside_name, container_name
from mcp.shared.spec import ComponentSpec
from mcp.shared.states import DesiredState
from mcp.shared.wire import component_from_json, component_to_json

LAST_LINES = 20
POLL = 0.25  # seconds between two looks at a container that settles
HEALTH_POLL = 0.5  # the same, where each look runs its health check
REMOVE_AGAIN = (0.5, 2.0)  # seconds before each further attempt to remove a container
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # of uname(2), as images name them


class Phase(IntEnum):
    """The part of a change that a step belongs to; all components of a service pass through the phases together."""

    PREPARE = 0  # all that can fail while the old container still runs
    REPLACE = 1
    SETTLE = 2
    FINISH = 3

    @property
    def is_concurrent(self) -> bool:
        """True if components go through it side by side, False if one after the other, in the order of the plan."""
        return self in (Phase.PREPARE, Phase.SETTLE)


@dataclass
class StepContext:
    """What the steps of one component work with.

    `deploy` is the number that new containers are labelled with, `settle` the seconds that a container must stay up.
    `digest` is set by the step that provides the image.
    """

    podman: Podman
    registry: AsyncRegistry
    service: str
    component: str
    deploy: int
    settle: float
    digest: str = ""

    async def find(self, name: str) -> Container | None:
        """Return the container of that name, or None."""
        return (await self.podman.find(name)).get(name)

    async def keep_log(self, identifier: str, reason: PreviousReason) -> None:
        """Save the end of a container's log before its removal."""
        await previous.capture(self.podman, self.registry, self.service, self.component, identifier, reason)


class DidNotStayUpError(NotReady):
    """A new container that ended or did not become healthy; `last_lines` is what it wrote last."""

    def __init__(self, what: str, last_lines: list[TailLine]) -> None:
        """Keep the lines beside the message."""
        super().__init__(what)
        self.last_lines = last_lines


@dataclass(frozen=True)
class Step(ABC):
    """One thing to do; every method may raise McpError."""

    kinds: ClassVar[dict[str, type["Step"]]] = {}  # every subclass, by name
    phase: ClassVar[Phase] = Phase.REPLACE
    commits: ClassVar[bool] = False  # once it is done, the change is finished instead of undone

    template: ClassVar[str] = ""  # of the title, with the names of fields in braces

    def __init_subclass__(cls) -> None:
        """Register a kind of step, so that the registry's rows can name it."""
        Step.kinds[cls.__name__] = cls

    @property
    def title(self) -> str:
        """What it does, for people: imperative, no capital letter, no full stop."""
        return self.template.format_map(vars(self))

    @abstractmethod
    async def do(self, context: StepContext) -> None:
        """Do it, or what is left of it."""

    async def undo(self, context: StepContext) -> str:  # noqa: ARG002 - most steps leave nothing to undo
        """Undo what was done of it, if anything was; return what a person should know of that, or an empty string."""
        return ""

    async def is_done(self, context: StepContext) -> bool:  # noqa: ARG002 - most steps can simply be done again
        """Return True if an agent that was killed while it did this had got to the end of it."""
        return False

    def as_data(self) -> dict[str, object]:
        """Return it as JSON data; `from_data` reads it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if isinstance(spec := values.get("spec"), ComponentSpec):
            values["spec"] = component_to_json(spec)
        return {"kind": type(self).__name__, **values}

    @staticmethod
    def from_data(data: Mapping[str, Any]) -> "Step":
        """Return the step that `as_data` wrote."""
        kind = Step.kinds[data["kind"]]
        values = {key: _value(key, value) for key, value in data.items() if key != "kind"}
        return kind(**values)


def _value(key: str, value: Any) -> Any:
    if key == "spec":
        return component_from_json(value)
    return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True)
class ProvideImage(Step):
    """Have the image on the node, and check that it is for this processor."""

    image: str
    is_local: bool

    phase = Phase.PREPARE

    @property
    def title(self) -> str:
        return f"check the image {self.image}" if self.is_local else f"pull the image {self.image}"

    async def do(self, context: StepContext) -> None:
        image = await context.podman.ensure_image(self.image)
        check_architecture(image, self.image)
        context.digest = image.digest or image.identifier


@dataclass(frozen=True)
class CreateNetwork(Step):
    """Create a network unless it exists; it stays when the change is undone."""

    network: str

    phase = Phase.PREPARE

    template = "create the network {network} if missing"

    async def do(self, context: StepContext) -> None:
        await context.podman.ensure_network(self.network)


@dataclass(frozen=True)
class ReservePorts(Step):
    """Reserve a host port for each route; undoing releases those of routes that were not `held` before."""

    routes: tuple[str, ...]
    held: tuple[str, ...]

    phase = Phase.PREPARE

    @property
    def title(self) -> str:
        named = ", ".join(name for name in self.routes if name)
        return f"reserve host ports for {named}" if named else "reserve a host port"

    async def do(self, context: StepContext) -> None:
        for route in self.routes:
            await context.registry.call(
                context.registry.components.reserve_port,
                *(context.service, context.component, route, ports.candidates()),
            )

    async def undo(self, context: StepContext) -> str:
        await context.registry.call(
            context.registry.components.release_ports, context.service, context.component, set(self.held)
        )
        return ""


@dataclass(frozen=True)
class StopContainer(Step):
    """Stop a container; undoing starts it again if `restart` is set."""

    container: str
    restart: bool = False

    template = "stop {container}"

    async def do(self, context: StepContext) -> None:
        await context.podman.stop(self.container)  # what does not run may be between two runs of a crash loop

    async def is_done(self, context: StepContext) -> bool:
        return await context.find(self.container) is None

    async def undo(self, context: StepContext) -> str:
        if not self.restart or await context.find(self.container) is None:
            return ""
        await context.podman.start(self.container)
        return "the old container runs again"


@dataclass(frozen=True)
class SetAside(Step):
    """Rename the old container, so that the new one can have its name."""

    container: str

    template = f"rename {{container}} to {aside_name('{container}')}"

    async def do(self, context: StepContext) -> None:
        await context.podman.rename(self.container, aside_name(self.container))

    async def undo(self, context: StepContext) -> str:
        await restore(context, self.container)
        return ""


@dataclass(frozen=True)
class RestoreName(Step):
    """Give a container that an interrupted deploy set aside its name back."""

    container: str

    template = f"rename {aside_name('{container}')} to {{container}}"

    async def do(self, context: StepContext) -> None:
        await restore(context, self.container)


@dataclass(frozen=True)
class RunContainer(Step):
    """Create and start the container of a component; undoing removes it and saves the end of its log."""

    spec: ComponentSpec

    template = "run {spec.image}"

    async def do(self, context: StepContext) -> None:
        components = context.registry.components
        host_ports = await context.registry.call(components.ports, context.service, self.spec.name)
        await context.podman.run(new_container(context.service, self.spec, host_ports, context.deploy))

    async def undo(self, context: StepContext) -> str:
        new = await context.find(container_name(context.service, self.spec.name))
        if new is not None and new.deploy == context.deploy:
            await discard(context, new)
        return ""

    async def is_done(self, context: StepContext) -> bool:
        new = await context.find(container_name(context.service, self.spec.name))
        return new is not None and new.running and new.deploy == context.deploy


@dataclass(frozen=True)
class StartContainer(Step):
    """Start a container that exists."""

    container: str

    template = "start {container}"

    async def do(self, context: StepContext) -> None:
        await context.podman.start(self.container)


@dataclass(frozen=True)
class AwaitStable(Step):
    """Wait until a container is healthy, or has stayed up for the settle time if it has no health check."""

    container: str
    is_new: bool = True

    phase = Phase.SETTLE

    template = "wait until {container} is healthy or stays up"

    async def do(self, context: StepContext) -> None:
        """Raises DidNotStayUpError as soon as it has ended, or when its health check's own time is over."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            pause = await self._pause(context, loop.time() - began)
            if pause is None:
                return
            await asyncio.sleep(pause)

    async def _pause(self, context: StepContext, waited: float) -> float | None:
        """Return the seconds until the next look, or None for a container that is stable."""
        health = await context.podman.details(self.container)
        patience = max(health.patience, context.settle)
        if health.state != ContainerState.RUNNING:
            raise await self._failed(context, f"ended with exit code {health.exit_code} soon after its start")
        if health.restarts:  # it runs just now, so podman no longer tells how it had ended
            raise await self._failed(context, "ended soon after its start, and was started again")
        if health.patience and await context.podman.is_healthy(self.container):
            return None
        if waited < patience:
            return HEALTH_POLL if health.patience else POLL
        if health.patience:
            raise await self._failed(context, f"did not become healthy within {patience:g} s")
        return None

    async def _failed(self, context: StepContext, how: str) -> DidNotStayUpError:
        lines: list[TailLine] = []
        try:
            lines = await tail.last_lines(context.podman, self.container, LAST_LINES)
        except McpError as error:  # what has happened is worth more than what was written
            logger.warning("the last lines cannot be read", extra=log_fields(container=self.container, error=error))
        return DidNotStayUpError(f"the {'new ' if self.is_new else ''}container {how}", lines)


@dataclass(frozen=True)
class RecordComponent(Step):
    """Write to the registry what runs from now on."""

    spec: ComponentSpec
    position: int  # in its definition

    phase = Phase.FINISH
    commits = True

    template = "record it in the registry"

    async def do(self, context: StepContext) -> None:
        await context.registry.call(
            context.registry.components.put,
            *(context.service, self.position, self.spec, DesiredState.RUNNING, context.digest, context.deploy),
        )

    async def is_done(self, context: StepContext) -> bool:
        rows = await context.registry.call(context.registry.components.select, context.service, self.spec.name)
        return bool(rows) and rows[0].deploy == context.deploy


@dataclass(frozen=True)
class SetDesired(Step):
    """Write to the registry in which state a component should be."""

    state: DesiredState

    template = "record its desired state: {state}"

    async def do(self, context: StepContext) -> None:
        await context.registry.call(
            context.registry.components.set_desired, context.service, context.component, self.state
        )


@dataclass(frozen=True)
class RemoveReplaced(Step):
    """Remove a container whose successor is kept; one that cannot be removed now is left for the next change."""

    container: str
    identifier: str

    phase = Phase.FINISH
    template = "remove {container}"

    async def do(self, context: StepContext) -> None:
        await context.keep_log(self.identifier, PreviousReason.REPLACED)
        try:
            await context.podman.remove_by_id(self.identifier)
        except McpError as error:
            logger.warning("the old container is left", extra=log_fields(container=self.container, error=error))

    async def is_done(self, context: StepContext) -> bool:
        return await context.find(self.container) is None


@dataclass(frozen=True)
class RemoveLeftover(RemoveReplaced):
    """The same for a container that an earlier change left, before anything needs its name."""

    phase = Phase.REPLACE
    template = "remove {container}, which an earlier deploy left"


@dataclass(frozen=True)
class DiscardContainer(Step):
    """Remove a container that an interrupted deploy left, and save the end of its log."""

    container: str

    template = "remove {container}, which an interrupted deploy left"

    async def do(self, context: StepContext) -> None:
        left = await context.find(self.container)
        if left is not None and await context.find(aside_name(self.container)) is not None:
            await discard(context, left)


@dataclass(frozen=True)
class RemoveContainer(Step):
    """Stop and remove a container if it exists."""

    container: str

    template = "remove {container}"

    async def do(self, context: StepContext) -> None:
        await context.podman.remove(self.container)


@dataclass(frozen=True)
class ForgetComponent(Step):
    """Remove a component, its ports and its saved log from the registry."""

    template = "remove it from the registry"

    async def do(self, context: StepContext) -> None:
        await context.registry.call(context.registry.components.remove, context.service, context.component)


async def restore(context: StepContext, name: str) -> None:
    """Rename a container that was set aside back, unless another one has its name."""
    found = await context.podman.find(name, aside_name(name))
    if aside_name(name) in found and name not in found:
        await context.podman.rename(aside_name(name), name)


async def discard(context: StepContext, container: Container) -> None:
    """Remove a container that did not become a component's; the end of its log is saved."""
    if container.running:
        try:
            await context.podman.stop(container.name)
        except McpError as error:  # it is removed all the same, by force
            logger.warning("the new container is not stopped", extra=log_fields(container=container.name, error=error))
    await context.keep_log(container.identifier, PreviousReason.FAILED)
    for pause in REMOVE_AGAIN:
        try:
            await context.podman.remove_by_id(container.identifier)
            return
        except McpError as error:  # it may have ended, or been started again, in that very moment
            logger.warning(
                "the new container is not removed yet", extra=log_fields(container=container.name, error=error)
            )
        await asyncio.sleep(pause)
    await context.podman.remove_by_id(container.identifier)


def check_architecture(image: Image, name: str) -> None:
    """Raise NotReady for an image that is for another processor than this node's."""
    here = ARCHITECTURES.get(platform.machine(), platform.machine())
    if image.architecture and image.architecture != here:
        raise NotReady(f"the image {name} is for {image.architecture}, this node is {here}", "build it for this node")
