"""One component's way from its old container to a new one: prepare, replace, settle, then keep or undo.

The old container is renamed aside and removed only when its successor has stayed up for the settle time. Every step
can be repeated: `tidy` first brings back into shape what an interrupted deploy left.
"""

import asyncio
from collections.abc import Awaitable, Callable

from agent import ports
from agent.log import logger
from agent.podman import Container, NewContainer, Podman
from agent.registry import AsyncRegistry, Registry
from mcp.shared.errors import McpError, NotReady
from mcp.shared.names import aside_name, container_name, port_variable
from mcp.shared.spec import ComponentSpec, fixed_port

LAST_LINES = 20
ALWAYS_UP = ("always", "unless-stopped")  # restart policies under which no container ends for good by itself
POLL = 0.25  # seconds between two looks at a container that settles


def new_container(service: str, component: ComponentSpec, host_ports: dict[str, int]) -> NewContainer:
    """The container of a component whose routes have these host ports.

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
    )


async def tidy(podman: Podman, name: str) -> Container | None:
    """Undo what an interrupted deploy left of a container, and return the container that now has its name.

    With both there, the new one has not been judged: it stays if it runs, else the old one gets its name back.
    """
    found = await podman.find(name, aside_name(name))
    current, aside = found.get(name), found.get(aside_name(name))
    if aside is None:
        return current
    if current is not None and current.running:
        await podman.remove(aside.name)
        return current
    await podman.remove(name)
    await podman.rename(aside.name, name)
    return (await podman.find(name)).get(name)


class Rollout:
    """The rollout of one component. `error` is what made it fail, if anything did."""

    def __init__(
        self,
        podman: Podman,
        registry: AsyncRegistry,
        settle: float,
        service: str,
        position: int,
        component: ComponentSpec,
    ) -> None:
        """`settle`: seconds that the new container must stay up; `position`: its place in the definition."""
        self.component = component
        self.error: McpError | None = None
        self._podman = podman
        self._registry = registry
        self._settle = settle
        self._service = service
        self._position = position
        self._name = container_name(service, component.name)
        self._new: NewContainer | None = None
        self._old: Container | None = None
        self._old_should_run = False
        self._replacing = False

    async def step(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do the next step unless an earlier one failed, and remember how it failed."""
        if self.error is not None:
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
        await self._registry.call(Registry.check_container, self._service, self.component.name)
        await self._podman.ensure_image(self.component.image)
        await self._podman.ensure_network(self.component.network)
        host_ports = {
            route.name: await self._registry.call(
                Registry.reserve_port, self._service, self.component.name, route.name, ports.candidates()
            )
            for route in self.component.routes
        }
        self._new = new_container(self._service, self.component, host_ports)

    async def replace(self) -> None:
        """Stop the old container, put it aside, and start the new one."""
        assert self._new is not None, "prepare comes first"
        self._old = await tidy(self._podman, self._name)
        self._old_should_run = self._old is not None and (self._old.running or await self._was_interrupted())
        self._replacing = True
        if self._old is not None:
            if self._old.running:
                await self._podman.stop(self._name)
            await self._podman.rename(self._name, aside_name(self._name))
        await self._podman.run(self._new)

    async def settle(self) -> None:
        """Return when the new container has stayed up for the settle time; raises NotReady as soon as it has not."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settle
        while True:
            health = await self._podman.health(self._name)
            if health.state != "running" or health.restarts:
                raise NotReady(
                    f"the new container ended with exit code {health.exit_code} within {self._settle:g} s of its start"
                    f"{await self._last_lines()}"
                )
            if loop.time() >= until:
                return
            await asyncio.sleep(min(POLL, max(0.0, until - loop.time())))

    async def keep(self) -> None:
        """The new container is good: write it down, and remove the old one."""
        await self._registry.call(Registry.put_component, self._service, self._position, self.component, "running")
        await self._podman.remove(aside_name(self._name))

    async def undo(self) -> None:
        """Put things back as they were before; what cannot be put back is added to the error."""
        try:
            if self._replacing:
                await self._restore()
            rows = await self._registry.call(Registry.components, self._service, self.component.name)
            kept = {route.name for row in rows for route in row.spec.routes}
            await self._registry.call(Registry.release_ports, self._service, self.component.name, kept)
        except McpError as error:
            self.error = NotReady(f"{self.error}; and the old container could not be put back: {error}")

    async def _was_interrupted(self) -> bool:
        """Whether an old container that is down should be up: only a deploy that broke off can have stopped it."""
        rows = await self._registry.call(Registry.components, self._service, self.component.name)
        return any(row.desired_state == "running" and row.spec.restart in ALWAYS_UP for row in rows)

    async def _restore(self) -> None:
        if self._old is None:
            await self._podman.remove(self._name)
            return
        if aside_name(self._name) in await self._podman.find(aside_name(self._name)):
            await self._podman.remove(self._name)
            await self._podman.rename(aside_name(self._name), self._name)
        if self._old_should_run:
            await self._podman.start(self._name)
            self.error = NotReady(f"{self.error}; the old container runs again")

    async def _last_lines(self) -> str:
        lines = await self._podman.last_lines(self._name, LAST_LINES)
        return "; its last lines: " + " | ".join(lines) if lines else "; it wrote nothing"
