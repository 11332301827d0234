"""Guarded background tasks: one that dies is logged with its traceback, and what it serves fails at once.

No other module of the agent calls `asyncio.create_task` or `ensure_future` (ruff's TID251): a task is created here, or
in a TaskGroup, which passes errors on.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from agent.log import fields, logger
from mcp.shared.errors import McpError

T = TypeVar("T")
OnDeath = Callable[[BaseException], object]

_running: set[asyncio.Task[Any]] = set()  # the event loop itself holds no task, and one that nobody holds may vanish


def create_guarded_task(
    work: Coroutine[Any, Any, T],
    name: str,
    *,
    on_death: OnDeath | None = None,
    expected: tuple[type[Exception], ...] = (),
) -> asyncio.Task[T]:
    """Start a task that cannot die unnoticed; cancellation is no death.

    Args:
        work: The coroutine to run.
        name: The task's name in the log.
        on_death: Called on the event loop with the exception that ended the task; tells those that the task serves.
        expected: Exceptions that those who await the task handle. They are not logged, and are no death.
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
    """Return the error for those that a dead task served; the reason is in the log, since it is a bug."""
    return McpError(f"{name} ended unexpectedly", "the agent's log has the details")


class DaemonTasks:
    """The agent's own background tasks. One that dies ends the agent, and systemd restarts it."""

    def __init__(self, stopping: asyncio.Event) -> None:
        """`stopping` is set when one dies, which begins an orderly stop."""
        self._stopping = stopping
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: McpError | None = None

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task that the agent cannot do without; it may end by itself."""
        task = create_guarded_task(work, name, on_death=lambda _error: self._end_agent(name))
        self._tasks.add(task)
        return task

    async def cancel(self, *, but: "asyncio.Task[None]") -> None:
        """Cancel all tasks `but` one, and wait until they have ended."""
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
        if not self._stopping.is_set():  # an orderly stop that is under way stays one
            self._failure = died(f"background task {name}")
            self._stopping.set()


def not_cancelled() -> bool:
    """Whether the task that asks has not been cancelled.

    A loop that outlives its errors has to ask: where a child of `asyncio.gather` fails in the very moment of the
    cancellation, the child's error is all that arrives (CPython 3.11 to 3.14), and the loop would go on for good.
    """
    task = asyncio.current_task()
    return task is None or not task.cancelling()
