"""The exit code that conmon leaves for a moment; a process with conmon's command line takes its place."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

from agent.logs import exits
from agent.logs.follow import Tracker
from agent.logs.inotify import Inotify
from agent.logs.sources import ContainerSnapshot, source_of
from agent.podman.inspect import ContainerDetails


def container(conmon: int) -> ContainerDetails:
    return ContainerDetails("id1", "web-api", "running", 0, started=1.0, conmon=conmon)


@contextmanager
def conmon(*options: str) -> Iterator[int]:
    """The number of a process with these options; it is no conmon, and leaves nothing by itself."""
    argv = [sys.executable, "-Ic", "input()", "-c", "id1", *options]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        while not Path(f"/proc/{child.pid}/cmdline").read_text():  # it comes a moment after the start
            time.sleep(0.01)
        try:
            yield child.pid
        finally:
            child.kill()


def leave(folder: Path, identifier: str, text: str) -> None:
    """What conmon does: a file is written beside, renamed, and soon removed by podman."""
    (folder / ".new").write_text(text)
    (folder / ".new").rename(folder / identifier)


def told(folder: Path, *left: tuple[str, str]) -> list[int]:
    codes: list[int] = []

    async def go() -> None:
        news = Inotify()
        with conmon("--exit-dir", str(folder)) as pid:
            unwatch = exits.watch(news, container(pid), codes.append)
            assert unwatch is not None
            for identifier, text in left:
                leave(folder, identifier, text)
                await asyncio.sleep(0.05)
                (folder / identifier).unlink()
            unwatch()
            leave(folder, "id1", "99")
            await asyncio.sleep(0.05)
        news.close()

    asyncio.run(go())
    return codes


def test_each_code_is_told_until_nobody_wants_to_know(tmp_path: Path) -> None:
    assert told(tmp_path, ("id1", "7"), ("id1", "137")) == [7, 137]


def test_other_containers_and_what_is_no_number_are_not_told(tmp_path: Path) -> None:
    assert told(tmp_path, ("id2", "7"), ("id1", ""), ("id1", "seven"), ("id1", "0")) == [0]


def test_what_cannot_be_watched(tmp_path: Path) -> None:
    async def go() -> None:
        news = Inotify()
        assert exits.watch(news, container(0), print) is None
        assert exits.watch(news, container(2**22 + 1), print) is None  # no process has this number
        for options in ([], ["--exit-dir"], ["--exit-dir", str(tmp_path / "nosuch")]):
            with conmon(*options) as pid:
                assert exits.watch(news, container(pid), print) is None, options
        news.close()

    asyncio.run(go())


class World:
    """What podman would say; changed by the test."""

    def __init__(self, now: ContainerDetails) -> None:
        self.now = now

    async def look(self) -> ContainerSnapshot:
        return ContainerSnapshot(source_of(self.now, "web", "api"), self.now)


@asynccontextmanager
async def tracked(folder: Path) -> AsyncIterator[tuple[Tracker, World]]:
    """A container that runs, and whose conmon leaves its codes in a folder."""
    news = Inotify()
    with conmon("--exit-dir", str(folder)) as pid:
        world = World(container(pid))
        tracker = Tracker("web-api", world.look, news)
        async with asyncio.timeout(30), tracker.subscribed():
            yield tracker, world
    news.close()


def test_a_run_that_podman_started_again_at_once_still_has_its_code(tmp_path: Path) -> None:
    async def go() -> None:
        async with tracked(tmp_path) as (tracker, world):
            run = await tracker.first_run(wait=False)
            leave(tmp_path, "id1", "7")
            await asyncio.sleep(0.05)
            leave(tmp_path, "id1", "8")  # of a run that nobody saw
            world.now = replace(world.now, started=2.0)
            following = await tracker.run_after(run)
            assert (run.exit_code, following.exit_code) == (7, None)
            world.now = replace(world.now, state="exited", exit_code=3)
            await following.over.wait()
            assert following.exit_code == 3

    asyncio.run(go())


def test_a_run_that_is_about_to_begin_does_not_end_with_the_code_of_the_one_before(tmp_path: Path) -> None:
    async def go() -> None:
        async with tracked(tmp_path) as (tracker, world):
            run = await tracker.first_run(wait=False)
            ended = time.time()
            leave(tmp_path, "id1", "7")
            await asyncio.sleep(0.05)
            # as podman has it while it starts the next one
            world.now = replace(world.now, started=2.0, state="exited", exit_code=7, ended=ended)
            await run.over.wait()
            following = asyncio.ensure_future(tracker.run_after(run))
            await asyncio.sleep(0.3)
            assert not following.done()
            world.now = replace(world.now, exit_code=8, ended=time.time())
            assert (await following).exit_code == 8

    asyncio.run(go())
