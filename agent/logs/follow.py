"""Track a component's container through its runs: ended, started again, replaced. All followers share a tracker.

podman is not asked while a container runs: a pidfd tells the end of its conmon, which writes its log and ends after it.
While none runs, podman is asked at growing intervals, and at once after an operation of this agent.
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
from agent.logs.sources import Seen
from agent.tasks import create_guarded_task, died
from mcp.shared.errors import McpError, NotFound

POLLS = (0.1, 0.2, 0.4, 0.8, 1.5, 3.0)  # seconds between two inspections; the last one repeats

Look = Callable[[], Awaitable[Seen | None]]


class Run:
    """One run of one container; `over` is set when nothing more will be logged in it."""

    def __init__(self, seen: Seen) -> None:
        """Begin as podman describes it."""
        self.seen = seen
        self.over = asyncio.Event()
        self.exit_code: int | None = None  # None: not known
        self._told = 0.0  # Unix time at which the exit code became known
        self.update(seen)

    def update(self, seen: Seen) -> None:
        """Note podman's present description."""
        self.seen = seen
        if not seen.details.has_process:
            self.ended(seen.details.known_exit_code)
            self.over.set()

    @property
    def end(self) -> str:
        """A description of its end; empty if it was not observed."""
        if self.exit_code is not None:
            return f"exited with code {self.exit_code}"
        return "" if self.seen.details.has_process else "ended, its exit code is not known"  # as after a power cut

    def ended(self, code: int | None) -> None:
        """Note that its main process has ended; its log may have more to read."""
        if self.exit_code is None:
            self.exit_code = code
            self._told = time.time()  # the wall clock: podman's own timestamps are compared with it

    def is_last_of(self, seen: Seen) -> bool:
        """Tell if podman has only recorded this run's end yet, while the next run is about to begin."""
        ours, details = self.seen.details, seen.details
        return details.identifier == ours.identifier and not details.has_process and 0 < details.ended <= self._told


class Removed(Exception):
    """The component is no longer deployed."""


class Tracker:
    """The runs of one component."""

    def __init__(self, container: str, look: Look, news: Inotify) -> None:
        """Take a function that inspects the container of that name; it raises Removed if its component is gone."""
        self._container = container
        self._look = look
        self._exits = news
        self._unwatch: Callable[[], None] | None = None
        self._asked = False
        self._run: Run | None = None
        self._error: Exception | None = None
        self._failure: McpError | None = None  # the tracking itself has died
        self._news = asyncio.Event()  # replaced by another one each time it is set
        self._poke = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._users = 0

    def poke(self) -> None:
        """Inspect at once: an operation has touched the container."""
        self._poke.set()

    @asynccontextmanager
    async def used(self) -> AsyncIterator["Tracker"]:
        """Track as long as anybody follows."""
        self._users += 1
        if self._task is None or self._task.done():  # removed or dead, of which a slow follower has yet to hear
            self._forget()
            name = f"the tracking of {self._container}"
            self._task = create_guarded_task(self._track(), name, on_death=lambda _error: self._fail(died(name)))
        try:
            yield self
        finally:
            self._users -= 1
            if not self._users and self._task is not None:
                self._task.cancel()
                self._task = None
                self._forget()

    async def first(self, *, patient: bool) -> Run:
        """Return the present run; if there is none, wait for one if `patient`, and else raise NotFound.

        Raises McpError if podman cannot be asked, or the tracking has died.
        """
        while self._run is None:
            news = self._news
            if self._failure is not None:
                raise self._failure
            if isinstance(self._error, Removed):
                raise NotFound(f"{self._container} is not deployed on this node any more")
            if self._error is not None and not patient:
                raise self._error
            if self._asked and not patient:
                raise NotFound(f"no container named {self._container}", "start or deploy the service first")
            await news.wait()
        return self._run

    async def run_after(self, last: Run) -> Run:
        """Return the next run after `last` once there is one. Raises Removed, and McpError if the tracking dies."""
        while True:
            news = self._news
            if self._failure is not None:
                raise self._failure
            if isinstance(self._error, Removed):
                raise self._error
            if self._run is not None and self._run is not last:
                return self._run
            await news.wait()

    async def _track(self) -> None:
        quiet = 0
        while True:
            self._poke.clear()
            await self._once()
            if isinstance(self._error, Removed):
                return
            run = self._run
            conmon = run.seen.details.conmon if run is not None and not run.over.is_set() else 0
            descriptor = conmon_descriptor(conmon)
            if descriptor is not None:
                quiet = 0
                await self._wait(descriptor, None)
            else:
                await self._wait(None, POLLS[min(quiet, len(POLLS) - 1)])
                quiet += 1

    async def _once(self) -> None:
        """Ask podman, and notify the followers."""
        try:
            seen = await self._look()
            self._error = None
        except McpError as error:  # it may be busy; the log can be read all the same
            self._error = error
            logger.warning("a follower's container cannot be looked at", extra=fields(error=error))
        except Removed as error:
            self._error = error
            self._take(None)
        else:
            self._take(seen)
        self._asked = True
        self._tell()

    def _fail(self, failure: McpError) -> None:
        """End all followers with an error: they would not be notified of the end of a run any more."""
        self._failure = failure
        if self._run is not None:
            self._run.over.set()
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _take(self, seen: Seen | None) -> None:
        """Note podman's description; None: there is no container now, or it was put aside."""
        run = self._run
        if run is not None and seen is not None and run.seen.run == seen.run:
            run.update(seen)
            return
        if run is not None:
            run.over.set()
            if seen is not None and run.is_last_of(seen):
                return
        if seen is not None:
            self._leave()
            self._run = Run(seen)
            self._unwatch = exits.watch(self._exits, seen.details, self._run.ended)

    def _forget(self) -> None:
        """Reset to the initial state."""
        self._leave()
        self._error, self._failure, self._asked = None, None, False

    def _leave(self) -> None:
        """Stop watching the present run."""
        if self._unwatch is not None:
            self._unwatch()
        self._unwatch = self._run = None

    async def _wait(self, descriptor: int | None, seconds: float | None) -> None:
        """Wait until a pidfd's process has ended, a poke, or for `seconds`."""
        loop = asyncio.get_running_loop()
        if descriptor is not None:
            loop.add_reader(descriptor, self._poke.set)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):  # wait_for of Python 3.11 may lose a cancellation
                    await self._poke.wait()
        finally:
            if descriptor is not None:
                loop.remove_reader(descriptor)
                os.close(descriptor)


def conmon_descriptor(pid: int) -> int | None:
    """Open a pidfd of the conmon process `pid`; returns None if it is 0 or not a conmon's."""
    if not pid:
        return None
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    # opened first, then looked at: a process that took over the number would not be called so
    with suppress(OSError):
        if Path(f"/proc/{pid}/comm").read_text().strip() == "conmon":
            return descriptor
    os.close(descriptor)
    return None
