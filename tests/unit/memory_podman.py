"""A FAKE podman in memory, for tests that run thousands of changes: containers are rows of a dictionary.

It refuses what the real one refuses of what the steps do: a name that is taken, a container that does not exist, an
image or a network that is missing, the removal of a volume that a container has. What it cannot be asked fails.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from posixpath import normpath

from agent.podman.argv import NewContainer
from agent.podman.client import Podman
from agent.podman.inspect import ANONYMOUS, ContainerDetails
from agent.podman.output import Container, Image
from mcp.shared.errors import NotReady
from mcp.shared.image import image_key
from mcp.shared.names import LABEL_COMPONENT, LABEL_DEPLOY, LABEL_SERVICE
from mcp.shared.proc import CommandFailed, Completed

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class World:
    """What podman knows; it outlives an agent that is killed."""

    containers: dict[str, Container] = field(default_factory=dict)  # by name
    local: set[str] = field(default_factory=set)  # images on the node
    remote: set[str] = field(default_factory=set)  # images that can be pulled
    networks: set[str] = field(default_factory=set)
    fails: set[str] = field(default_factory=set)  # images whose containers end at once with exit code 3
    loops: set[str] = field(default_factory=set)  # images whose containers fail, and are restarted, again and again
    jobs: set[str] = field(default_factory=set)  # images whose containers end at once with exit code 0
    declared: dict[str, tuple[str, ...]] = field(default_factory=dict)  # targets of volumes by image
    volumes: set[str] = field(default_factory=set)
    mounts: dict[str, dict[str, str]] = field(default_factory=dict)  # volumes by target, by container's id
    made: int = 0
    stopped: list[str] = field(default_factory=list)  # images of containers that were asked to end, not by force

    def anonymous(self, name: str) -> dict[str, str]:
        """Return the anonymous volumes of a container by target."""
        mounts = self.mounts.get(self.containers[name].identifier, {})
        return {target: volume for target, volume in mounts.items() if ANONYMOUS.fullmatch(volume)}


class MemoryPodman(Podman):
    """Podman's commands, done to a World."""

    def __init__(self, world: World) -> None:
        super().__init__("no-podman", 1)
        self._world = world

    async def places(self) -> tuple[Path, ...]:
        return (Path("/var/lib/memory-podman"),)

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
        return Image(f"id-of-{image}", f"sha256:{image}", "", self._world.declared.get(image, ()))

    async def image_volumes(self, identifier: str) -> tuple[str, ...]:
        return self._world.declared.get(identifier.removeprefix("id-of-"), ())

    async def ensure_network(self, name: str) -> None:
        self._world.networks.add(name)

    async def run(self, new: NewContainer) -> None:
        self._create(new, self._world.declared.get(new.image, ()))
        self._begin(new.name)

    async def try_create(self, new: NewContainer) -> str:
        if (left := self._world.containers.get(new.name)) is not None:
            await self.remove_by_id(left.identifier)
        self._create(new, ())
        return self._world.containers[new.name].identifier

    async def read_file(self, _identifier: str, path: str) -> bytes | None:
        return {"/etc/passwd": b"root:x:0:0:root:/:/bin/sh\n", "/etc/group": b"root:x:0:\n"}.get(path)

    def _create(self, new: NewContainer, declared: Sequence[str]) -> None:
        world = self._world
        if new.name in world.containers:
            raise NotReady(f'the container name "{new.name}" is already in use')
        if new.image not in world.local or (new.network and new.network not in {*world.networks, "podman", "host"}):
            raise NotReady("image or network not known")
        world.made += 1
        labels = {LABEL_SERVICE: new.service, LABEL_COMPONENT: new.component, LABEL_DEPLOY: str(new.deploy)}
        ports = frozenset((int(port.rsplit(":", 2)[-2]), "tcp") for port in new.ports)
        world.containers[new.name] = Container(
            *(f"{world.made:064x}", new.name, new.image, "created", 0, None, labels, f"id-of-{new.image}"),
            published=ports,
        )
        given = {normpath(target): source for source, target in (volume.split(":")[:2] for volume in new.volumes)}
        made = {target: f"{world.made:061x}abc" for target in declared if target not in given}
        mounts = {target: source for target, source in {**given, **made}.items() if not source.startswith("/")}
        world.mounts[f"{world.made:064x}"] = mounts
        world.volumes |= {*mounts.values()}

    def _begin(self, name: str) -> None:
        ends = self._need(name).image in self._world.jobs
        self._set(name, state="exited" if ends else "running", started=datetime.now(UTC), exit_code=0, exited=ends)

    async def start(self, name: str) -> None:
        self._begin(name)

    async def stop(self, name: str) -> str:
        self._world.stopped.append(self._need(name).image)
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
                self._world.mounts.pop(identifier, None)

    async def volume_names(self) -> set[str]:
        return set(self._world.volumes)

    async def unused_volumes(self) -> set[str]:
        return self._world.volumes - {name for mounts in self._world.mounts.values() for name in mounts.values()}

    async def remove_volume(self, name: str) -> None:
        if name in self._world.volumes - await self.unused_volumes():
            raise CommandFailed(Completed((), 2, b"", f"Error: volume {name} is being used".encode()))
        self._world.volumes.discard(name)

    async def inspect(self, *names: str) -> dict[str, ContainerDetails]:
        found = [each for each in await self.containers() if each.name in names or each.identifier in names]
        return {container.name: self._details(container) for container in found}

    def _details(self, container: Container) -> ContainerDetails:
        state, code = ("exited", 3) if container.image in self._world.fails else (container.state, 0)
        started = container.started.timestamp() if container.started else 0.0
        ended = started + 1 if container.exited else 0.0
        details = ContainerDetails(
            container.identifier, container.name, state, code, started=started, ended=ended, log_driver="none"
        )
        restarts = int(container.image in self._world.loops)
        return replace(details, restarts=restarts, anonymous_volumes=self._world.anonymous(container.name))
