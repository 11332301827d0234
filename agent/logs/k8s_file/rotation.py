"""Retain the rotated log files of every container from its start."""

import asyncio
import itertools

from agent.log import fields, logger
from agent.logs.k8s_file.segments import SegmentLinker
from agent.logs.sources import source_of
from agent.podman.client import Podman
from agent.store.registry import AsyncRegistry
from agent.tasks import create_guarded_task, not_cancelled
from mcp.shared.errors import McpError

RESCAN = 30.0  # seconds between two scans of the watched files
INSPECT_EVERY = 20  # scans between two inspections, which find containers replaced by others than the agent


class LogRetention:
    """Watches the logs of the components' containers for rotation."""

    def __init__(self, podman: Podman, registry: AsyncRegistry, linker: SegmentLinker) -> None:
        """Take the linker, which starts to watch with `started` and `run`."""
        self._podman = podman
        self._registry = registry
        self._linker = linker
        self._tasks: set[asyncio.Task[None]] = set()

    def started(self, container: str) -> None:
        """Watch the log of a container that was started."""
        task = create_guarded_task(self.watch(container), f"log retention of {container}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self) -> None:
        """Watch the logs of all containers and rescan periodically, until cancelled."""
        try:
            for scan in itertools.count():
                if scan % INSPECT_EVERY == 0:
                    await self.watch()
                if not not_cancelled():
                    return
                await asyncio.sleep(RESCAN)
                await self._linker.rescan()
        finally:
            for task in self._tasks:
                task.cancel()

    async def watch(self, container: str = "") -> None:
        """Watch the log of a container, or of all; a failure of podman is logged, and `run` retries."""
        try:
            names = (
                [container]
                if container
                else [row.container for row in await self._registry.call(self._registry.components.deployed)]
            )
            for details in (await self._podman.inspect(*names)).values():
                await self._linker.watch(source_of(details))
        except McpError as error:
            logger.warning("cannot watch logs for rotation", extra=fields(error=error))
