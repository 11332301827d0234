"""A FAKE podman in memory, for tests that run thousands of changes: containers are rows of a dictionary.

It refuses what the real one refuses of what the steps do: a name that is taken, a container that does not exist, an
image or a network that is missing. What it cannot be asked fails.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from agent.podman.argv import NewContainer
from agent.podman.client import Podman
from agent.podman.inspect import ContainerDetails
from agent.podman.output import Container, Image
from mcp.shared.errors import NotReady
from mcp.shared.image import image_key
from mcp.shared.names import LABEL_COMPONENT, LABEL_DEPLOY, LABEL_SERVICE

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class World:
    """What podman knows; it outlives an agent that is killed."""

    containers: dict[str, Container] = field(default_factory=dict)  # by name
    local: set[str] = field(default_factory=set)  # images on the node
    remote: set[str] = field(default_factory=set)  # images that can be pulled
    networks: set[str] = field(default_factory=set)
    fails: set[str] = field(default_factory=set)  # images whose containers end at once with exit code 3
    jobs: set[str] = field(default_factory=set)  # images whose containers end at once with exit code 0
    made: int = 0


class MemoryPodman(Podman):
    """Podman's commands, done to a World."""

    def __init__(self, world: World) -> None:
        super().__init__("no-podman", 1)
        self._world = world

    def _need(self, name: str) -> Container:
        if name not in self._world.containers:
            raise NotReady(f'no container with name or ID "{name}" found: no such container')
        return self._world.containers[name]

    def _set(self, name: str, **changes: object) -> None:
        self._world.containers[name] = replace(self._need(name), **changes)  # type: ignore[arg-type]  # by name

    async def containers(self) -> list[Container]:
        return list(self._world.containers.values())

    async def image_ids(self) -> dict[str, str]:
        return {image_key(name): f"id-of-{name}" for name in self._world.local}

    async def ensure_image(self, image: str, _identifier: str = "") -> Image:
        if image not in self._world.local:
            if image not in self._world.remote:
                raise NotReady(f"the image {image} is not on this node and cannot be pulled")
            self._world.local.add(image)
        return Image(f"id-of-{image}", f"sha256:{image}", "")

    async def ensure_network(self, name: str) -> None:
        self._world.networks.add(name)

    async def run(self, new: NewContainer) -> None:
        world = self._world
        if new.name in world.containers:
            raise NotReady(f'the container name "{new.name}" is already in use')
        if new.image not in world.local or (new.network and new.network not in {*world.networks, "podman", "host"}):
            raise NotReady("image or network not known")
        world.made += 1
        labels = {LABEL_SERVICE: new.service, LABEL_COMPONENT: new.component, LABEL_DEPLOY: str(new.deploy)}
        world.containers[new.name] = Container(
            f"{world.made:064x}", new.name, new.image, "created", 0, None, labels, f"id-of-{new.image}"
        )
        self._begin(new.name)

    def _begin(self, name: str) -> None:
        ends = self._need(name).image in self._world.jobs
        self._set(name, state="exited" if ends else "running", started=datetime.now(UTC), exit_code=0, exited=ends)

    async def start(self, name: str) -> None:
        self._begin(name)

    async def stop(self, name: str) -> str:
        if self._need(name).running:
            self._set(name, state="exited", exit_code=0, exited=True)
        return ""

    async def rename(self, name: str, new_name: str) -> None:
        if new_name in self._world.containers:
            raise NotReady(f'the container name "{new_name}" is already in use')
        self._need(name)
        self._world.containers[new_name] = replace(self._world.containers.pop(name), name=new_name)

    async def remove_by_id(self, identifier: str) -> None:
        for container in await self.containers():
            if container.identifier == identifier:
                del self._world.containers[container.name]

    async def inspect(self, *names: str) -> dict[str, ContainerDetails]:
        found = [each for each in await self.containers() if each.name in names or each.identifier in names]
        return {container.name: self._details(container) for container in found}

    def _details(self, container: Container) -> ContainerDetails:
        state, code = ("exited", 3) if container.image in self._world.fails else (container.state, 0)
        started = container.started.timestamp() if container.started else 0.0
        ended = started + 1 if container.exited else 0.0
        return ContainerDetails(
            container.identifier, container.name, state, code, started=started, ended=ended, log_driver="none"
        )
