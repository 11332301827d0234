"""Track a component's container through its runs: exited, restarted, replaced. All followers share a tracker.

While a container runs, nothing polls: a pidfd signals the end of its conmon, which writes its log and outlives it.
While none runs, `podman inspect` polls at growing intervals, and at once after an operation of this agent.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from agent.log import fields, logger
from agent.logs import exits
from agent.logs.inotify import Inotify
from agent.logs.sources import ContainerSnapshot
from agent.tasks import create_guarded_task, died
from mcp.shared.errors import McpError, NotFound

POLLS = (0.1, 0.2, 0.4, 0.8, 1.5, 3.0)  # seconds between two inspections; the last one repeats

Inspect = Callable[[], Awaitable[ContainerSnapshot | None]]


class Run:
    """One run of one container; `over` is set when nothing more will be logged in it."""

    def __init__(self, snapshot: ContainerSnapshot) -> None:
        """Start from podman's description."""
        self.snapshot = snapshot
        self.over = asyncio.Event()
        self.exit_code: int | None = None  # None: unknown
        self._exit_time = 0.0  # Unix time at which the exit code became known
        self.update(snapshot)

    def update(self, snapshot: ContainerSnapshot) -> None:
        """Update from podman's present description."""
        self.snapshot = snapshot
        if not snapshot.details.has_process:
            self.set_exit_code(snapshot.details.known_exit_code)
            self.over.set()

    @property
    def end(self) -> str:
        """Description of its end; empty if the end was not observed."""
        if self.exit_code is not None:
            return f"exited with code {self.exit_code}"
        return "" if self.snapshot.details.has_process else "exited (exit code unknown)"  # as after a power cut

    def set_exit_code(self, code: int | None) -> None:
        """Record the end of its main process, whose log may still have unread lines."""
        if self.exit_code is None:
            self.exit_code = code
            self._exit_time = time.time()  # wall clock, for comparison with podman's timestamps

    def is_last_of(self, snapshot: ContainerSnapshot) -> bool:
        """Tell if podman has recorded no more than the end of this run, as just before a restart."""
        ours, details = self.snapshot.details, snapshot.details
        same_container = details.identifier == ours.identifier
        return same_container and not details.has_process and 0 < details.ended <= self._exit_time


class Removed(Exception):
    """The component is not deployed any more."""


class Tracker:
    """Tracks the runs of one component's container while there are subscribers."""

    def __init__(self, container: str, inspect: Inspect, notifier: Inotify) -> None:
        """Take a function that inspects the container; it raises Removed if its component is not deployed any more."""
        self._container = container
        self._inspect = inspect
        self._notifier = notifier
        self._unwatch: Callable[[], None] | None = None
        self._inspected = False
        self._run: Run | None = None
        self._error: Exception | None = None
        self._failure: McpError | None = None  # the tracking itself has died
        self._changed = asyncio.Event()  # replaced by a new one each time it is set
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._subscribers = 0

    def inspect_now(self) -> None:
        """Inspect at once, after an operation on the container."""
        self._wake.set()

    @asynccontextmanager
    async def subscribed(self) -> AsyncIterator["Tracker"]:
        """Track the container as long as there are subscribers."""
        self._subscribers += 1
        if self._task is None or self._task.done():  # removed or dead, which a slow subscriber has yet to notice
            self._reset()
            name = f"the tracking of {self._container}"
            self._task = create_guarded_task(self._track(), name, on_death=lambda _error: self._fail(died(name)))
        try:
            yield self
        finally:
            self._subscribers -= 1
            if not self._subscribers and self._task is not None:
                self._task.cancel()
                self._task = None
                self._reset()

    async def stop(self) -> None:
        """End the tracking at the agent's end, before podman and the registry go away."""
        if (task := self._task) is not None:
            task.cancel()
            await asyncio.wait([task])

    async def first_run(self, *, wait: bool) -> Run:
        """Return the present run; without one, wait for it if `wait`, and raise NotFound otherwise.

        Raises McpError if podman fails or the tracking has died.
        """
        while self._run is None:
            changed = self._changed
            if self._failure is not None:
                raise self._failure
            if isinstance(self._error, Removed):
                raise NotFound(f"{self._container} is not deployed on this node any more")
            if self._error is not None and not wait:
                raise self._error
            if self._inspected and not wait:
                raise NotFound(f"no container named {self._container}", "start or deploy the service first")
            await changed.wait()
        return self._run

    async def run_after(self, last: Run) -> Run:
        """Wait for the next run after `last`. Raises Removed, or McpError if the tracking dies."""
        while True:
            changed = self._changed
            if self._failure is not None:
                raise self._failure
            if isinstance(self._error, Removed):
                raise self._error
            if self._run is not None and self._run is not last:
                return self._run
            await changed.wait()

    async def _track(self) -> None:
        polls = 0
        while True:
            self._wake.clear()
            await self._inspect_once()
            if isinstance(self._error, Removed):
                return
            run = self._run
            conmon = run.snapshot.details.conmon if run is not None and not run.over.is_set() else 0
            descriptor = conmon_descriptor(conmon)
            if descriptor is not None:
                polls = 0
                await self._wait(descriptor, None)
            else:
                await self._wait(None, POLLS[min(polls, len(POLLS) - 1)])
                polls += 1

    async def _inspect_once(self) -> None:
        """Inspect the container and notify the subscribers."""
        try:
            snapshot = await self._inspect()
            self._error = None
        except McpError as error:  # podman may be busy; the log can still be read
            self._error = error
            logger.warning("cannot inspect a followed container", extra=fields(error=error))
        except Removed as error:
            self._error = error
            self._update(None)
        else:
            self._update(snapshot)
        self._inspected = True
        self._notify()

    def _fail(self, failure: McpError) -> None:
        """Fail all subscribers, which would otherwise wait for the end of a run without end."""
        self._failure = failure
        if self._run is not None:
            self._run.over.set()
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _update(self, snapshot: ContainerSnapshot | None) -> None:
        """Update the present run; None: there is no container at present, or it was renamed for its replacement."""
        run = self._run
        if run is not None and snapshot is not None and run.snapshot.run == snapshot.run:
            run.update(snapshot)
            return
        if run is not None:
            run.over.set()
            if snapshot is not None and run.is_last_of(snapshot):
                return
        if snapshot is not None:
            self._drop_run()
            self._run = Run(snapshot)
            self._unwatch = exits.watch(self._notifier, snapshot.details, self._run.set_exit_code)

    def _reset(self) -> None:
        """Reset to the initial state."""
        self._drop_run()
        self._error, self._failure, self._inspected = None, None, False

    def _drop_run(self) -> None:
        """Drop the present run and stop watching it."""
        if self._unwatch is not None:
            self._unwatch()
        self._unwatch = self._run = None

    async def _wait(self, descriptor: int | None, seconds: float | None) -> None:
        """Wait for the end of a pidfd's process, for `inspect_now`, or for `seconds`."""
        loop = asyncio.get_running_loop()
        if descriptor is not None:
            loop.add_reader(descriptor, self._wake.set)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):  # wait_for of Python 3.11 may lose a cancellation
                    await self._wake.wait()
        finally:
            if descriptor is not None:
                loop.remove_reader(descriptor)
                os.close(descriptor)


def conmon_descriptor(pid: int) -> int | None:
    """Open a pidfd of the conmon process `pid`; return None if it is 0 or not a conmon's."""
    if not pid:
        return None
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    # checked after opening: another process that got the same pid has another name
    with suppress(OSError):
        if Path(f"/proc/{pid}/comm").read_text().strip() == "conmon":
            return descriptor
    os.close(descriptor)
    return None
