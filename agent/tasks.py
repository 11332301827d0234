"""Guarded background tasks: a death is logged with its traceback, and the task's users fail at once.

No other module of the agent calls `asyncio.create_task` or `ensure_future` (ruff's TID251); other tasks are created in
TaskGroups, which propagate errors.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from agent.log import fields, logger
from mcp.shared.errors import McpError

P = ParamSpec("P")
T = TypeVar("T")
OnDeath = Callable[[BaseException], object]

_running: set[asyncio.Task[Any]] = set()  # strong references, as the event loop holds only weak ones


_calculations = ThreadPoolExecutor(1, "calculations")  # one, as several would compete with the event loop


async def calculate(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run what may need the processor for more than 50 ms in a thread, beside the event loop, and return its result."""
    return await asyncio.get_running_loop().run_in_executor(_calculations, partial(work, *args, **kwargs))


def create_guarded_task(
    work: Coroutine[Any, Any, T],
    name: str,
    *,
    on_death: OnDeath | None = None,
    expected: tuple[type[Exception], ...] = (),
) -> asyncio.Task[T]:
    """Start a task that cannot die unnoticed; cancellation does not count as death.

    Args:
        work: The coroutine to run.
        name: The task's name in the log.
        on_death: Called on the event loop with the task's exception, to notify its users.
        expected: Exceptions handled by those who await the task; not logged, and not a death.
    """
    task = asyncio.create_task(work, name=name)
    _running.add(task)
    task.add_done_callback(_running.discard)
    task.add_done_callback(partial(_report_death, on_death, expected))
    return task


def _report_death(
    on_death: OnDeath | None, expected: tuple[type[Exception], ...], task: "asyncio.Task[object]"
) -> None:
    error = None if task.cancelled() else task.exception()
    if error is None or isinstance(error, expected):
        return
    logger.error("background task died", exc_info=error, extra=fields(task=task.get_name()))
    if on_death is not None:
        on_death(error)


def died(name: str) -> McpError:
    """Return the error for users of a dead task; the cause, a bug, is in the log."""
    return McpError(f"{name} ended unexpectedly", "the agent's log has the details")


class DaemonTasks:
    """The agent's own background tasks. A death ends the agent, and systemd restarts it."""

    def __init__(self, stopping: asyncio.Event) -> None:
        """Set `stopping` when a task dies, which starts a graceful shutdown."""
        self._stopping = stopping
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: McpError | None = None

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task whose death ends the agent; it may end by itself."""
        task = create_guarded_task(work, name, on_death=lambda _error: self._end_agent(name))
        self._tasks.add(task)
        return task

    async def cancel(self, *, but: "asyncio.Task[None]") -> None:
        """Cancel all tasks except `but`, and wait until they have ended."""
        others = self._tasks - {but}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others)

    def raise_failure(self) -> None:
        """Raise McpError if a task's death has ended the agent."""
        if self._failure is not None:
            raise self._failure

    def _end_agent(self, name: str) -> None:
        if not self._stopping.is_set():  # keep a shutdown in progress free of errors
            self._failure = died(f"background task {name}")
            self._stopping.set()


def not_cancelled() -> bool:
    """Return False if the current task has been cancelled.

    Loops that catch errors have to check this: if a child of `asyncio.gather` fails at the time of the cancellation,
    only the child's error arrives (CPython 3.11 to 3.14), and the loop would never end.
    """
    task = asyncio.current_task()
    return task is None or not task.cancelling()
