"""Following a component from one run of its container to the next."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.logs.follow import Removed, Tracker, conmon_descriptor
from agent.logs.inotify import Inotify
from agent.logs.sources import ContainerSnapshot, source_of
from agent.podman.inspect import ContainerDetails
from mcp.shared.errors import McpError, NotFound, Unavailable


def seen(identifier: str = "id1", started: float = 1.0, *, running: bool = True, **changes: Any) -> ContainerSnapshot:
    """A container of web/api that has just ended unless it runs; `changes` are fields of its details."""
    state, ended = ("running", 0.0) if running else ("exited", started + 1)
    details = ContainerDetails(
        *(identifier, "web-api", state, 0),
        image="localhost/web:1.0.0",
        log_driver="k8s-file",
        started=started,
        ended=ended,
    )
    details = replace(details, **changes)
    return ContainerSnapshot(source_of(details, "web", "api"), details)


class World:
    """What podman would say; changed by the test."""

    def __init__(self, now: ContainerSnapshot | Exception | None) -> None:
        self.now = now
        self.looks = 0

    async def look(self) -> ContainerSnapshot | None:
        self.looks += 1
        if isinstance(self.now, Exception):
            raise self.now
        return self.now


def tracked(world: World, work: Callable[[Tracker], Awaitable[None]]) -> None:
    async def go() -> None:
        tracker = Tracker("web-api", world.look, Inotify())
        async with asyncio.timeout(60), tracker.subscribed():
            await work(tracker)

    asyncio.run(go())


def test_a_container_that_ends_is_over_and_one_started_again_is_a_new_run() -> None:
    world = World(seen())

    async def work(tracker: Tracker) -> None:
        run = await tracker.first_run(wait=False)
        assert not run.over.is_set()
        world.now = seen(running=False, exit_code=137)
        await run.over.wait()
        assert run.exit_code == 137
        world.now = seen(started=2.0)
        tracker.inspect_now()
        following = await tracker.run_after(run)
        assert following is not run
        assert following.snapshot.details.started == 2.0
        assert not following.over.is_set()

    tracked(world, work)


def test_a_container_put_aside_is_over_and_its_successor_is_waited_for() -> None:
    world = World(seen())

    async def work(tracker: Tracker) -> None:
        run = await tracker.first_run(wait=False)
        world.now = None
        await run.over.wait()
        waiting = asyncio.ensure_future(tracker.run_after(run))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        world.now = seen("id2", 2.0)
        assert (await waiting).snapshot.source.identifier == "id2"

    tracked(world, work)


def test_what_was_undeployed_is_removed() -> None:
    world = World(seen())

    async def work(tracker: Tracker) -> None:
        run = await tracker.first_run(wait=False)
        world.now = Removed()
        with pytest.raises(Removed):
            await tracker.run_after(run)
        assert run.over.is_set()

    tracked(world, work)


def test_none_at_first_is_an_error_unless_there_is_patience() -> None:
    world = World(None)

    async def work(tracker: Tracker) -> None:
        with pytest.raises(NotFound, match="no container named web-api"):
            await tracker.first_run(wait=False)
        waiting = asyncio.ensure_future(tracker.first_run(wait=True))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        world.now = seen()
        assert (await waiting).snapshot.details.has_process

    tracked(world, work)


def test_a_podman_that_fails_is_an_error_at_first_and_later_only_a_delay() -> None:
    world = World(Unavailable("podman does not answer"))

    async def work(tracker: Tracker) -> None:
        with pytest.raises(Unavailable, match="does not answer"):
            await tracker.first_run(wait=False)
        world.now = seen()
        run = await tracker.first_run(wait=True)
        world.now = Unavailable("podman does not answer")
        await asyncio.sleep(0.3)
        assert not run.over.is_set()
        world.now = seen("id2")
        assert (await tracker.run_after(run)).snapshot.source.identifier == "id2"

    tracked(world, work)


def test_the_end_of_conmon_is_seen_at_once_and_podman_is_not_asked_before(tmp_path: Path) -> None:
    conmon = tmp_path / "conmon"
    conmon.symlink_to(Path("/bin/sleep").resolve())
    child = subprocess.Popen([conmon, "60"])
    while Path(f"/proc/{child.pid}/comm").read_text() != "conmon\n":  # its name comes a moment after its start
        time.sleep(0.01)
    world = World(seen(conmon=child.pid))

    async def work(tracker: Tracker) -> None:
        run = await tracker.first_run(wait=False)
        await asyncio.sleep(1.0)
        assert world.looks == 1
        world.now = seen(running=False, exit_code=1)
        child.kill()
        child.wait()
        await run.over.wait()

    try:
        tracked(world, work)
    finally:
        child.kill()
        child.wait()


def test_a_process_that_is_no_conmon_is_not_waited_for() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        before = len([*Path("/proc/self/fd").iterdir()])
        assert conmon_descriptor(child.pid) is None
        assert len([*Path("/proc/self/fd").iterdir()]) == before
        child.kill()


def test_tracking_ends_with_the_last_follower() -> None:
    world = World(None)

    async def go() -> None:
        tracker = Tracker("web-api", world.look, Inotify())
        async with tracker.subscribed():
            await asyncio.sleep(0.2)
        looks = world.looks
        await asyncio.sleep(0.5)
        assert world.looks == looks

    asyncio.run(go())


def test_tracking_ends_with_the_agent_though_a_follower_is_still_there() -> None:
    world = World(seen())

    async def end(tracker: Tracker) -> None:
        await tracker.first_run(wait=False)
        await tracker.stop()
        looks = world.looks
        tracker.inspect_now()
        await asyncio.sleep(0.05)
        assert world.looks == looks

    tracked(world, end)


def test_a_component_that_is_deployed_anew_is_followed_also_where_a_slow_one_has_yet_to_hear_that_it_was_removed() -> (
    None
):
    world = World(seen())

    async def work(slow: Tracker) -> None:
        first = await slow.first_run(wait=False)
        world.now = Removed()
        await first.over.wait()
        world.now = seen("id2", 2.0)
        async with slow.subscribed() as tracker:
            run = await tracker.first_run(wait=False)
            assert run.snapshot.source.identifier == "id2"
            assert await slow.run_after(first) is run

    tracked(world, work)


@pytest.mark.parametrize("wait", [False, True])
def test_a_tracking_that_dies_at_first_is_an_error_at_once(caplog: pytest.LogCaptureFixture, wait: bool) -> None:
    world = World(KeyError("State"))  # a bug: podman's answer is not what we thought

    async def work(tracker: Tracker) -> None:
        with pytest.raises(McpError, match="the tracking of web-api ended unexpectedly; the agent's log has the"):
            await tracker.first_run(wait=wait)

    tracked(world, work)
    assert world.looks == 1
    assert "Traceback (most recent call last)" in caplog.text
    assert "KeyError: 'State'" in caplog.text


def test_a_tracking_that_dies_later_ends_its_followers_and_another_one_begins_anew() -> None:
    world = World(seen())

    async def work(tracker: Tracker) -> None:
        run = await tracker.first_run(wait=False)
        waiting = asyncio.ensure_future(tracker.run_after(run))
        world.now = KeyError("State")
        tracker.inspect_now()
        await run.over.wait()  # who reads its log now learns of it
        with pytest.raises(McpError, match="ended unexpectedly"):
            await waiting
        world.now = seen("id2", 2.0)
        async with tracker.subscribed():
            assert (await tracker.first_run(wait=False)).snapshot.source.identifier == "id2"

    tracked(world, work)
