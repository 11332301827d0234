"""One operation at a time for each service, finished whatever becomes of the client."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from agent.services import operations as module
from agent.services.operations import RECOVERY, REPAIR, Operations
from mcp.shared.errors import McpError, NotReady
from tests.unit.clocks import SetClock


def play(scene: Callable[[], Awaitable[None]]) -> None:
    """Run a scene; one that waits for ever fails."""

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await scene()

    asyncio.run(bounded())


def held(event: asyncio.Event, log: list[str], name: str) -> Callable[[], Awaitable[str]]:
    """Work that waits for `event` and writes down how it went."""

    async def work() -> str:
        log.append(f"{name} began")
        try:
            await event.wait()
        except asyncio.CancelledError:
            log.append(f"{name} cancelled")
            raise
        log.append(f"{name} done")
        return name

    return work


async def begun(task: asyncio.Task[str]) -> asyncio.Task[str]:
    """The task, once it has run as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)
    return task


def test_a_second_one_is_refused_with_the_first_one_s_name() -> None:
    async def scene() -> None:
        operations, event, log = Operations(), asyncio.Event(), list[str]()
        first = await begun(asyncio.create_task(operations.run("web", "ann", "deploy", held(event, log, "first"))))
        with pytest.raises(
            NotReady, match="web: deploy by ann has been in progress for 0s; try again when it has finished"
        ):
            await operations.run("web", "bob", "stop", held(event, log, "second"))
        other = await begun(asyncio.create_task(operations.run("api", "bob", "stop", held(event, log, "other"))))
        event.set()
        assert (await first, await other) == ("first", "other")
        assert await operations.run("web", "bob", "stop", held(event, log, "third")) == "third"
        assert log == ["first began", "other began", "first done", "other done", "third began", "third done"]

    play(scene)


def test_a_failure_is_passed_on_and_frees_the_service() -> None:
    async def scene() -> None:
        operations = Operations()

        async def fail() -> None:
            raise McpError("broke")

        for _ in range(2):
            with pytest.raises(McpError, match="broke"):
                await operations.run("web", "ann", "deploy", fail)

    play(scene)


def test_a_client_that_goes_away_does_not_stop_the_work() -> None:
    async def scene() -> None:
        operations, event, log = Operations(), asyncio.Event(), list[str]()
        first = await begun(asyncio.create_task(operations.run("web", "ann", "deploy", held(event, log, "first"))))
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(NotReady, match="deploy by ann"):
            await operations.run("web", "bob", "stop", held(event, log, "second"))
        event.set()
        await operations.finish(5)
        assert log == ["first began", "first done"]
        assert await operations.run("web", "bob", "stop", held(event, log, "third")) == "third"

    play(scene)


@pytest.mark.parametrize(("error", "has_traceback"), [(NotReady("no image"), False), (KeyError("left"), True)])
def test_a_failure_that_no_client_hears_of_is_logged(
    caplog: pytest.LogCaptureFixture, error: Exception, has_traceback: bool
) -> None:
    async def scene() -> None:
        operations, goes_on = Operations(), asyncio.Event()

        async def work() -> str:
            await goes_on.wait()
            raise error

        task = await begun(asyncio.create_task(operations.run("web", "ann", "deploy", work)))
        task.cancel()
        await asyncio.wait({task})
        goes_on.set()
        await operations.finish(5)
        await asyncio.sleep(0)

    play(scene)
    message = "background task died" if has_traceback else "operation failed"
    assert [record.getMessage() for record in caplog.records if record.name == "mcp-agent"] == [message]
    assert ("Traceback" in caplog.text) is has_traceback


def test_at_the_end_there_is_a_little_time() -> None:
    async def scene() -> None:
        operations, never, log = Operations(), asyncio.Event(), list[str]()
        await operations.finish(5)
        task = await begun(asyncio.create_task(operations.run("web", "ann", "deploy", held(never, log, "first"))))
        await operations.finish(0.01)
        assert log == ["first began", "first cancelled"]
        with pytest.raises(asyncio.CancelledError):
            await task

    play(scene)


@pytest.mark.parametrize("set_by", [86400.0, -86400.0])
def test_how_long_one_has_been_under_way_is_not_told_by_the_wall_clock(
    monkeypatch: pytest.MonkeyPatch, set_by: float
) -> None:
    clock = SetClock()
    monkeypatch.setattr(module, "time", clock)

    async def scene() -> None:
        operations, event, log = Operations(), asyncio.Event(), list[str]()
        first = await begun(asyncio.create_task(operations.run("web", "ann", "deploy", held(event, log, "first"))))
        clock.forward(5)
        clock.set(set_by)
        with pytest.raises(NotReady, match="web: deploy by ann has been in progress for 5s; try again"):
            await operations.run("web", "bob", "stop", held(event, log, "second"))
        event.set()
        await first

    play(scene)


def test_others_wait_for_what_nobody_asked_for() -> None:
    async def scene() -> None:
        operations, event, log = Operations(), asyncio.Event(), list[str]()
        boot = held(event, log, "boot")
        first = await begun(asyncio.create_task(operations.run("web", "mcp-agent", "boot", boot, awaited=True)))
        done = asyncio.Event()
        second = await begun(asyncio.create_task(operations.run("web", "ann", "stop", held(done, log, "stop"))))
        third = await begun(asyncio.create_task(operations.run("web", "bob", "start", held(done, log, "start"))))
        assert log == ["boot began"]
        event.set()
        assert await first == "boot"
        with pytest.raises(NotReady, match="web: stop by ann has been in progress for 0s"):
            await third
        done.set()
        assert await second == "stop"
        assert log == ["boot began", "boot done", "stop began", "stop done"]

    asyncio.run(asyncio.wait_for(scene(), 60))


def test_what_was_worked_on_since_a_moment() -> None:
    async def scene() -> None:
        operations = Operations()
        release = asyncio.Event()
        start = time.monotonic()
        assert operations.services_since(start) == set()
        task = asyncio.ensure_future(operations.run("web", "ann", "deploy", held(release, [], "deploy")))
        await begun(task)
        later = time.monotonic()
        assert operations.services_since(later) == {"web"}
        release.set()
        await task
        assert operations.services_since(start) == operations.services_since(later) == {"web"}
        assert operations.services_since(time.monotonic()) == set()
        assert operations.services_since(start) == set()  # forgotten: nobody asks about the past twice

    play(scene)


@pytest.mark.parametrize("own", [REPAIR, RECOVERY])
def test_a_repair_is_nobodys_change_and_others_wait_for_it(own: str) -> None:
    async def scene() -> None:
        operations = Operations()
        release, told = asyncio.Event(), list[str]()
        start = time.monotonic()
        repair = asyncio.ensure_future(operations.run("web", "agent", own, held(release, told, "r"), awaited=True))
        await begun(repair)
        assert operations.is_held("web")
        assert operations.services_since(start) == set()
        stop = asyncio.ensure_future(operations.run("web", "ann", "stop", held(release, told, "s")))
        release.set()
        await asyncio.gather(repair, stop)
        assert not operations.is_held("web")
        assert told == ["r began", "r done", "s began", "s done"]
        assert operations.services_since(start) == {"web"}

    play(scene)
