"""Guarded tasks: their deaths are logged, and told to those that they serve."""

import asyncio
import logging

import pytest

from agent.tasks import DaemonTasks, create_guarded_task
from mcp.shared.errors import McpError, NotFound, Unavailable


async def fails(error: BaseException) -> None:
    raise error


async def ends() -> None:
    """As a task does that has done its work."""


def deaths(error: BaseException, *expected: type[Exception]) -> list[BaseException]:
    """What `on_death` is told of a task that ends so."""
    told: list[BaseException] = []

    async def go() -> None:
        task = create_guarded_task(fails(error), "sweeper", on_death=told.append, expected=expected)
        await asyncio.wait({task})
        await asyncio.sleep(0)

    asyncio.run(go())
    return told


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """The errors in the log, each with its task's name."""
    return [
        (record.getMessage(), getattr(record, "fields", {}).get("task", ""))
        for record in caplog.records
        if record.levelno >= logging.ERROR
    ]


def test_a_death_is_logged_with_its_traceback_and_told(caplog: pytest.LogCaptureFixture) -> None:
    error = KeyError("left")
    assert deaths(error) == [error]
    assert logged(caplog) == [("background task died", "sweeper")]  # also not once more by asyncio
    assert "Traceback (most recent call last)" in caplog.text
    assert "in fails" in caplog.text
    assert "KeyError: 'left'" in caplog.text


def test_an_mcp_error_that_nobody_expects_is_a_death(caplog: pytest.LogCaptureFixture) -> None:
    error = Unavailable("podman does not answer")
    assert deaths(error, NotFound) == [error]
    assert logged(caplog) == [("background task died", "sweeper")]


@pytest.mark.parametrize(
    ("error", "expected"), [(asyncio.CancelledError(), ()), (NotFound("none"), (McpError,)), (OSError(), (OSError,))]
)
def test_cancellation_and_expected_errors_are_no_deaths(
    caplog: pytest.LogCaptureFixture, error: BaseException, expected: tuple[type[Exception], ...]
) -> None:
    assert deaths(error, *expected) == []
    assert logged(caplog) == []


def test_the_result_is_that_of_the_work() -> None:
    async def answer() -> int:
        return 42

    async def go() -> int:
        return await create_guarded_task(answer(), "answer")

    assert asyncio.run(go()) == 42


def test_a_dead_daemon_task_stops_the_agent_with_an_error(caplog: pytest.LogCaptureFixture) -> None:
    async def go() -> None:
        stopping = asyncio.Event()
        tasks = DaemonTasks(stopping)
        other = tasks.start(asyncio.sleep(600), "other")
        last = tasks.start(asyncio.sleep(600), "last")
        tasks.start(fails(KeyError("left")), "monitor")
        async with asyncio.timeout(60):
            await stopping.wait()
            await tasks.cancel(but=last)
        assert (other.cancelled(), last.done()) == (True, False)
        last.cancel()
        tasks.raise_failure()

    with pytest.raises(McpError, match=r"^background task monitor ended unexpectedly; the agent's log has the details"):
        asyncio.run(go())
    assert logged(caplog) == [("background task died", "monitor")]


def test_a_death_in_an_orderly_stop_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def dies_at_its_end() -> None:
        try:
            await asyncio.sleep(600)
        finally:
            raise KeyError("left")

    async def go() -> None:
        stopping = asyncio.Event()
        tasks = DaemonTasks(stopping)
        watchdog = tasks.start(ends(), "watchdog")
        tasks.start(dies_at_its_end(), "monitor")
        await asyncio.sleep(0)
        assert not stopping.is_set(), "a task that has done its work ends nothing"
        stopping.set()
        await tasks.cancel(but=watchdog)
        await asyncio.sleep(0)
        tasks.raise_failure()

    asyncio.run(go())
    assert logged(caplog) == [("background task died", "monitor")]
