"""One component's way from its old container to a new one: prepare, replace, settle, then keep or undo.

The old container is renamed aside and removed only when its successor has stayed up for the settle time. Every step
can be repeated: `tidy` first brings back into shape what an interrupted deploy left.
"""

import asyncio
import platform
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from agent.log import fields, logger
from agent.logs import previous
from agent.logs.tail import TailLine, last_lines
from agent.podman.argv import NewContainer
from agent.podman.client import Container, Image, Podman
from agent.services import ports
from agent.store.registry import AsyncRegistry, ComponentRow
from mcp.shared.errors import McpError, NotReady
from mcp.shared.names import LABEL_SERVICE, aside_name, container_name, port_variable
from mcp.shared.spec import ComponentSpec, fixed_port

LAST_LINES = 20
ALWAYS_UP = ("always", "unless-stopped")  # restart policies under which no container ends for good by itself
POLL = 0.25  # seconds between two looks at a container that settles
REMOVE_AGAIN = (0.5, 2.0)  # seconds before each further try to remove what keeps the old container from coming back
HEALTH_POLL = 0.5  # the same, where each look runs its health check
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # of uname(2), as images name them

KeepLog = Callable[[Container, str], Awaitable[None]]  # given a container, and why it goes: failed or replaced


@dataclass(frozen=True)
class RolloutSettings:
    """What the rollouts of one deploy have in common.

    `settle` is how many seconds a new container must stay up; `force` replaces also what is up to date.
    """

    service: str
    deploy: int
    settle: float
    force: bool = False


def new_container(service: str, component: ComponentSpec, host_ports: dict[str, int], deploy: int = 0) -> NewContainer:
    """The container of a component whose routes have these host ports, made by the deploy of this number.

    It listens on the host port's number, unless the definition fixes another one (see `fixed_port`).
    """
    published, env = list(component.ports), list(component.env)
    for route in component.routes:
        host_port = host_ports[route.name]
        inside = fixed_port(component, route) or host_port
        published.append(f"127.0.0.1:{host_port}:{inside}")
        names = [port_variable(route.name), *(["PORT"] if len(component.routes) == 1 else [])]
        env += [f"{name}={inside}" for name in dict.fromkeys(names) if component.variable(name) is None]
    return NewContainer(
        name=container_name(service, component.name),
        image=component.image,
        service=service,
        component=component.name,
        restart=component.restart,
        network=component.network,
        user=component.user,
        ports=tuple(published),
        volumes=component.volumes,
        cmd=component.cmd,
        env=tuple(env),
        deploy=deploy,
        health=component.health,
        log_driver=component.log_driver,
        log_max_bytes=component.log_max_bytes,
    )


def log_keeper(podman: Podman, registry: AsyncRegistry, service: str, component: str) -> KeepLog:
    """What keeps the end of the log of a component's container, before that one is removed."""
    return partial(previous.capture, podman, registry, service, component)


async def resolve_replacement(podman: Podman, registry: AsyncRegistry, row: ComponentRow) -> Container | None:
    """Undo what an interrupted deploy left of a component; returns the container that now has its name."""
    return await resolve_replacement_of(
        podman, row.container, row.deploy, log_keeper(podman, registry, row.service, row.name)
    )


async def resolve_replacement_of(podman: Podman, name: str, kept: int, keep_log: KeepLog) -> Container | None:
    """The same of a container.

    With both there, the new one stays if it is the one that the registry knows (made by the deploy `kept`), running or
    not. Else the old one gets its name back.
    """
    found = await podman.find(name, aside_name(name))
    current, aside = found.get(name), found.get(aside_name(name))
    if aside is None:
        return current
    if current is not None and current.deploy == kept:
        await remove_old(podman, aside, keep_log)
        return current
    if current is not None:
        await discard(podman, current, keep_log)
    await podman.rename(aside.name, name)
    return (await podman.find(name)).get(name)


async def remove_old(podman: Podman, old: Container, keep_log: KeepLog) -> None:
    """Remove a container whose successor is kept; one that cannot be removed now is tidied away later."""
    await keep_log(old, "replaced")
    try:
        await podman.remove_container(old)
    except McpError as error:
        logger.warning("the old container is left", extra=fields(container=old.name, error=error))


async def discard(podman: Podman, new: Container, keep_log: KeepLog) -> None:
    """Remove a container that did not become a component's; the end of its log is kept."""
    if new.running:
        try:
            await podman.stop(new.name)
        except McpError as error:  # it is removed all the same, by force
            logger.warning("the new container is not stopped", extra=fields(container=new.name, error=error))
    await keep_log(new, "failed")
    for pause in REMOVE_AGAIN:
        try:
            await podman.remove_container(new)
            return
        except McpError as error:  # it may have ended, or been started again, in that very moment
            logger.warning("the new container is not removed yet", extra=fields(container=new.name, error=error))
        await asyncio.sleep(pause)
    await podman.remove_container(new)


class Rollout:
    """The rollout of one component. `error` is what made it fail, if anything did."""

    def __init__(
        self,
        podman: Podman,
        registry: AsyncRegistry,
        settings: RolloutSettings,
        position: int,
        component: ComponentSpec,
    ) -> None:
        """`position` is the component's place in its definition."""
        self.component = component
        self.error: McpError | None = None
        self.unchanged = False
        self.digest = ""
        self.last_lines: list[TailLine] = []
        self._podman = podman
        self._registry = registry
        self._settings = settings
        self._service = settings.service
        self._position = position
        self._name = container_name(settings.service, component.name)
        self._keep_log = log_keeper(podman, registry, settings.service, component.name)
        self._row: ComponentRow | None = None
        self._found: dict[str, Container] = {}  # nobody else changes them: the service is locked
        self._new: NewContainer | None = None
        self._old: Container | None = None
        self._old_should_run = False
        self._replacing = False

    async def step(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do the next step, unless an earlier one failed or found nothing to do, and remember how it failed."""
        if self.error is not None or self.unchanged:
            return
        try:
            await work()
        except McpError as error:
            self.error = error
        except Exception:  # noqa: BLE001 - logged with its traceback
            # A bug must not leave the old container stopped: the rollout is undone like any other.
            logger.exception("rollout of %s failed", self._name)
            self.error = McpError("internal error; the agent's log has the details")

    async def prepare(self) -> None:
        """Do all that can fail while the old container still runs: image, network, ports."""
        await self._registry.call(self._registry.components.check_container, self._service, self.component.name)
        rows = await self._registry.call(self._registry.components.select, self._service, self.component.name)
        self._row = rows[0] if rows else None
        self._found = await self._podman.find(self._name, aside_name(self._name))
        self._refuse_foreign()
        image = await self._podman.ensure_image(self.component.image)
        check_architecture(image, self.component.image)
        self.digest = image.digest or image.identifier
        self.unchanged = not self._settings.force and self._is_up_to_date(image)
        if self.unchanged:
            return
        await self._podman.ensure_network(self.component.network)
        host_ports = {
            route.name: await self._registry.call(
                self._registry.components.reserve_port,
                self._service,
                self.component.name,
                route.name,
                ports.candidates(),
            )
            for route in self.component.routes
        }
        self._new = new_container(self._service, self.component, host_ports, self._settings.deploy)

    async def replace(self) -> None:
        """Stop the old container, put it aside, and start the new one."""
        assert self._new is not None, "prepare comes first"
        self._old = self._found.get(self._name)
        if aside_name(self._name) in self._found:
            kept = self._row.deploy if self._row else 0
            self._old = await resolve_replacement_of(self._podman, self._name, kept, self._keep_log)
        self._old_should_run = self._old is not None and (self._old.running or self._was_interrupted())
        self._replacing = True
        if self._old is not None:
            await self._podman.stop(self._name)  # what does not run may be between two runs of a crash loop
            await self._podman.rename(self._name, aside_name(self._name))
        await self._podman.run(self._new)

    async def settle(self) -> None:
        """Return when the new container is healthy, or has stayed up for the settle time if it has no health check.

        Raises NotReady as soon as it has ended, or when its health check has not succeeded within its own terms.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            health = await self._podman.health(self._name)
            patience = max(health.patience, self._settings.settle)
            if health.state != "running":
                await self._fail(f"the new container ended with exit code {health.exit_code} soon after its start")
            if health.restarts:  # it runs just now, so podman no longer tells how it had ended
                await self._fail("the new container ended soon after its start, and was started again")
            if health.patience and await self._podman.is_healthy(self._name):
                return
            if loop.time() - began >= patience:
                if not health.patience:
                    return
                await self._fail(f"the new container did not become healthy within {patience:g} s")
            await asyncio.sleep(HEALTH_POLL if health.patience else POLL)

    async def keep(self) -> None:
        """The new container is good: write it down, and remove the old one."""
        await self._registry.call(
            self._registry.components.put,
            self._service,
            self._position,
            self.component,
            "running",
            self.digest,
            self._settings.deploy,
        )
        if self._old is not None:
            await remove_old(self._podman, self._old, self._keep_log)

    async def undo(self) -> None:
        """Put things back as they were before; what cannot be put back is added to the error."""
        try:
            if self._replacing:
                await self._restore()
        except McpError as error:
            self.error = NotReady(f"{self.error}; and the old container could not be put back: {error}")
        try:
            kept = {route.name for route in self._row.spec.routes} if self._row else set()
            await self._registry.call(self._registry.components.release_ports, self._service, self.component.name, kept)
        except McpError as error:  # they are the component's still, and its next deploy takes them
            logger.warning("ports are not released", extra=fields(container=self._name, error=error))

    def _refuse_foreign(self) -> None:
        """Raise NotReady where the name belongs to a container that neither the registry nor a label says is ours."""
        current = self._found.get(self._name)
        if current is not None and self._row is None and LABEL_SERVICE not in current.labels:
            raise NotReady(
                f"there is a container {self._name} that MCP did not make",
                f"take it over with mcp adopt {self._service}, or remove it",
            )

    def _is_up_to_date(self, image: Image) -> bool:
        row = self._row
        if row is None or row.spec != self.component or row.desired_state != "running":
            return False
        current = self._found.get(self._name)
        return (
            current is not None
            and len(self._found) == 1
            and current.running
            and current.deploy == row.deploy
            and current.image_id == image.identifier
        )

    def _was_interrupted(self) -> bool:
        """Whether an old container that is down should be up: only a deploy that broke off can have stopped it."""
        row = self._row
        return row is not None and row.desired_state == "running" and row.spec.restart in ALWAYS_UP

    async def _restore(self) -> None:
        if self._old is None:
            await self._discard_new()
            return
        if aside_name(self._name) in await self._podman.find(aside_name(self._name)):
            await self._discard_new()
            await self._podman.rename(aside_name(self._name), self._name)
        if self._old_should_run:
            await self._podman.start(self._name)
            self.error = NotReady(f"{self.error}; the old container runs again")

    async def _discard_new(self) -> None:
        new = (await self._podman.find(self._name)).get(self._name)
        if new is not None:
            await discard(self._podman, new, self._keep_log)

    async def _fail(self, what: str) -> NoReturn:
        try:
            self.last_lines = await last_lines(self._podman, self._name, LAST_LINES)
        except McpError as error:  # what has happened is worth more than what was written
            logger.warning("the last lines cannot be read", extra=fields(container=self._name, error=error))
        raise NotReady(what)


def check_architecture(image: Image, name: str) -> None:
    """Raise NotReady where an image is for another processor than this node's."""
    here = ARCHITECTURES.get(platform.machine(), platform.machine())
    if image.architecture and image.architecture != here:
        raise NotReady(f"the image {name} is for {image.architecture}, this node is {here}", "build it for this node")
