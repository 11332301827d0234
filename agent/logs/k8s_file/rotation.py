"""Has the rotated files of every container's log kept, from its start on."""

import asyncio
import itertools

from agent.log import fields, logger
from agent.logs.k8s_file.segments import Keeper
from agent.logs.sources import source_of
from agent.podman.client import Podman
from agent.store.registry import AsyncRegistry
from agent.tasks import create_guarded_task, not_cancelled
from mcp.shared.errors import McpError

RESCAN = 30.0  # seconds between two looks at the files that are watched
RELOOK = 20  # of these, after which podman is asked for containers that somebody else made


class RotationKeeper:
    """Tells the keeper which logs there are."""

    def __init__(self, podman: Podman, registry: AsyncRegistry, keeper: Keeper) -> None:
        """Nothing is watched yet."""
        self._podman = podman
        self._registry = registry
        self._keeper = keeper
        self._tasks: set[asyncio.Task[None]] = set()

    def started(self, container: str) -> None:
        """A container of ours was started: watch its log from now on."""
        task = create_guarded_task(self.watch(container), f"the log upkeep of {container}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self) -> None:
        """Watch what is there, and look again every now and then, until cancelled."""
        try:
            for look in itertools.count():
                if look % RELOOK == 0:
                    await self.watch()
                if not not_cancelled():
                    return
                await asyncio.sleep(RESCAN)
                await self._keeper.rescan()
        finally:
            for task in self._tasks:
                task.cancel()

    async def watch(self, container: str = "") -> None:
        """Watch the log of a container, or of all; what podman does not tell now, it is asked again later."""
        try:
            names = (
                [container]
                if container
                else [row.container for row in await self._registry.call(self._registry.components.select)]
            )
            for details in (await self._podman.inspect(*names)).values():
                await self._keeper.watch(source_of(details))
        except McpError as error:
            logger.warning("logs are not watched for rotation", extra=fields(error=error))
