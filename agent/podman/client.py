"""Run podman's commands; argv.py builds the long ones, output.py and inspect.py parse what they print."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from agent.podman.argv import NewContainer, run_argv
from agent.podman.inspect import ContainerDetails, ContainerObject, parse_details, parse_objects
from agent.podman.output import (
    Container,
    Image,
    parse_containers,
    parse_image,
    parse_image_ids,
    parse_network_name,
    parse_version,
)
from agent.podman.words import ContainerState
from mcp.shared import proc
from mcp.shared.errors import NotReady
from mcp.shared.names import LABEL_SERVICE

STOP_GRACE = 10  # seconds that a container has to end after SIGTERM; podman's own default
STOP_PATIENCE = 30.0  # seconds after which a stop fails; in a crash loop one attempt in three succeeds
STOP_FAILURES = 3  # failed attempts after which a stop fails; in a crash loop podman has many reasons to
CLOCK_TOLERANCE = 1.0  # seconds that the wall clock may differ from the monotonic one before it counts as set
STEADY = 10.0  # seconds; a container that ran longer is in no crash loop
AGAIN = 0.05  # seconds between two attempts
ENDED_JUST_NOW = "no such process"
PULL_TIMEOUT = 900.0

BUILT_IN_NETWORKS = ("", "host", "none", "bridge", "private", "pasta", "slirp4netns", "podman")  # are always there


@dataclass(frozen=True)
class _Begin:
    """The start of a stop: `wall` to compare with podman's timestamps only, `clock` for durations."""

    wall: float = field(default_factory=lambda: time.time())
    clock: float = field(default_factory=lambda: time.monotonic())

    def elapsed(self) -> float:
        """Return the seconds since then."""
        return time.monotonic() - self.clock

    def clock_was_set(self) -> bool:
        """Tell if the wall clock was set since then, so that podman's timestamps mean nothing."""
        return abs(time.time() - self.wall - self.elapsed()) > CLOCK_TOLERANCE


class Podman:
    """Podman on this node."""

    def __init__(self, runtime: str, timeout: float) -> None:
        """Take podman's name or path, and the seconds that a query may take."""
        self.runtime = runtime
        self.timeout = timeout
        self.on_start: Callable[[str], None] | None = None  # called with the name of each container that was started
        self._networks = asyncio.Lock()

    async def containers(self) -> list[Container]:
        """Return every container of this user, running or not."""
        return parse_containers(await self._check(["ps", "--all", "--no-trunc", "--format=json"]))

    async def find(self, *names: str) -> dict[str, Container]:
        """Return the containers of these names that exist, by name."""
        return {container.name: container for container in await self.containers() if container.name in names}

    async def details(self, name: str) -> ContainerDetails:
        """Return the details of one container, by name or full id. Raises NotReady if there is none."""
        found = await self.inspect(name)
        if not found:
            raise NotReady(f"the container {name} is gone")
        return next(iter(found.values()))

    async def inspect(self, *names: str) -> dict[str, ContainerDetails]:
        """Return the details by name of those containers that exist, given names or full ids.

        podman takes a name that no container has for the beginning of an id: such a container is left out.
        """
        found = parse_details(await self._inspect(names)) if names else []
        return {each.name: each for each in found if each.name in names or each.identifier in names}

    async def inspect_objects(self, *names: str) -> list[ContainerObject]:
        """Return the containers of these names that exist, each with all that podman knows of it and its image."""
        output = await self._inspect(names) if names else b"[]"
        identifiers = sorted({each.image_id for each in parse_details(output)} - {""})
        images = await self._check(["image", "inspect", *identifiers], self.timeout * 2) if identifiers else b"[]"
        return [each for each in parse_objects(output, images) if each.details.name in names]

    async def _inspect(self, names: Sequence[str]) -> bytes:
        """Run `podman inspect`, for which a missing container is no error. Raises CommandFailed.

        podman fails for one that is missing, after it has shown the others. It also fails if a container's process
        ends while it reads the cgroup, as in a crash loop: then it is asked again.
        """
        for pause in (AGAIN, AGAIN, 0):
            done = await proc.run(self.argv(["inspect", "--type=container", *names]), seconds=self.timeout)
            if ended := done.returncode != 0 and ENDED_JUST_NOW in done.last_words():
                await asyncio.sleep(pause)
            else:
                break
        if ended or (done.returncode != 0 and not done.stdout.strip().startswith(b"[")):
            raise proc.CommandFailed(done)
        return done.stdout

    async def version(self) -> str:
        """Return podman's version."""
        return parse_version(await self._check(["version", "--format=json"]))

    async def ensure_image(self, image: str) -> Image:
        """Return an image, pulled only if the node does not have it. Raises NotReady."""
        found = await proc.run(self.argv(["image", "inspect", image]), seconds=self.timeout)
        if found.returncode == 0:
            return parse_image(found.stdout)
        try:
            await self._check(["pull", "--quiet", image], PULL_TIMEOUT)
        except proc.CommandFailed as error:
            raise NotReady(
                f"the image {image} is not on this node and cannot be pulled: {error.completed.last_words()}"
            ) from None
        return parse_image(await self._check(["image", "inspect", image]))

    async def image_ids(self) -> dict[str, str]:
        """Return the ids of the node's images by name."""
        return parse_image_ids(await self._check(["images", "--format=json"]))

    async def is_healthy(self, name: str) -> bool:
        """Run a container's health check now; podman's own timer needs systemd."""
        return (await proc.run(self.argv(["healthcheck", "run", name]), seconds=self.timeout * 2)).returncode == 0

    async def ensure_network(self, name: str) -> None:
        """Create a network unless it exists."""
        async with self._networks:  # components that are prepared together may all lack the same one
            found = await proc.run(self.argv(["network", "inspect", name]), seconds=self.timeout)
            if found.returncode != 0:
                await self._check(["network", "create", name])
            elif parse_network_name(found.stdout) != name:
                raise NotReady(f"podman takes {name} for the beginning of another network's id", "choose another name")

    async def run(self, new: NewContainer) -> None:
        """Create and start a container."""
        await self._check(run_argv(new), self.timeout * 4, "".join(f"{entry}\n" for entry in new.env).encode())
        self._started(new.name)

    async def start(self, name: str) -> None:
        """Start an existing container."""
        await self._check(["start", name], self.timeout * 4)
        self._started(name)

    def _started(self, name: str) -> None:
        if self.on_start is not None:
            self.on_start(name)

    async def stop(self, name: str) -> None:
        """Stop a container permanently; one that ignores SIGTERM is killed after STOP_GRACE seconds.

        A container in a crash loop may be between two runs: podman then takes it for stopped, and its restart policy
        starts it again all the same; or podman fails. Therefore this verifies, and retries. Raises McpError.
        """
        began, failures = _Begin(), 0
        while True:
            error = await self._stop(name)
            details = await self.details(name)
            if error is None and await self._stays_down(details, began):
                return
            failures += int(error is not None)
            if failures == STOP_FAILURES or began.elapsed() > STOP_PATIENCE:
                raise error or NotReady(f"podman stops {name}, and it is started again each time")
            await asyncio.sleep(AGAIN)

    async def _stays_down(self, stopped: ContainerDetails, began: "_Begin") -> bool:
        """Tell if a container that podman has stopped, at `began` or later, is not started again."""
        if stopped.state == ContainerState.RUNNING:
            return False
        if stopped.ended >= began.wall and stopped.ended - stopped.started > STEADY and not began.clock_was_set():
            return True  # it is podman who ended it
        before = await asyncio.to_thread(keepers, stopped.identifier)
        left = before
        while left:
            await asyncio.sleep(AGAIN)
            left = await asyncio.to_thread(keepers, stopped.identifier)
            if any(pid not in before for pid, is_conmon in left.items() if is_conmon):
                return False
            if began.elapsed() > STOP_PATIENCE:
                break
        after = await self.details(stopped.name)
        return after.state != ContainerState.RUNNING and after.restarts == stopped.restarts

    async def _stop(self, name: str) -> proc.CommandFailed | None:
        """Stop a container once; returns podman's error, if any."""
        try:
            await self._check(["stop", f"--time={STOP_GRACE}", name], STOP_GRACE + self.timeout * 2)
        except proc.CommandFailed as error:
            return error
        return None

    async def rename(self, name: str, new_name: str) -> None:
        """Rename a container."""
        await self._check(["rename", name, new_name])

    async def remove(self, name: str) -> None:
        """Stop and remove a container and its anonymous volumes, if it exists.

        podman takes a name that no container has for the beginning of an id: `rm db` could remove any other one.
        """
        found = (await self.find(name)).get(name)
        if found is not None:
            await self.remove_by_id(found.identifier)

    async def remove_by_id(self, identifier: str) -> None:
        """Stop and remove the container with this id, whatever it is called by now; one that is gone is fine."""
        argv = ["rm", "--force", "--ignore", "--volumes", f"--time={STOP_GRACE}", identifier]
        await self._check(argv, STOP_GRACE + self.timeout * 2)

    def argv(self, arguments: Sequence[str]) -> list[str]:
        """Return a whole command line."""
        return [self.runtime, *arguments]

    async def _check(self, arguments: Sequence[str], seconds: float | None = None, stdin: bytes | None = None) -> bytes:
        return await proc.check(self.argv(arguments), seconds=seconds or self.timeout, stdin=stdin)


def keepers(identifier: str) -> dict[int, bool]:
    """Return the processes that could start a container again, by pid, and if each is conmon: a run of its own.

    They are its conmon and the `podman container cleanup` that conmon starts: both have these words in their arguments.
    """
    found, wanted = {}, {b"cleanup", identifier.encode()}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):  # gone just now
                argv = (process / "cmdline").read_bytes().split(b"\0")
                if wanted <= set(argv):
                    found[int(process.name)] = argv[0].endswith(b"conmon")
    return found


def labelled(containers: Sequence[Container], service: str) -> Iterator[Container]:
    """Yield the containers that MCP created for a service."""
    return (container for container in containers if container.labels.get(LABEL_SERVICE) == service)
