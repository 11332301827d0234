"""Following a k8s-file log: rotations, truncation, unfinished lines, and what a follower costs."""

import asyncio
import gc
import os
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.logs.inotify import Inotify
from agent.logs.k8s_file import segments
from agent.logs.k8s_file.reader import K8sFileReader
from agent.logs.k8s_file.segments import SegmentLinker, linked_segments
from agent.logs.model import Batch, LogSource, Position, Reading, Window
from tests.cri_reference import BASE_NS, Record
from tests.unit.test_k8s_file_reader import source_at


def record(number: int, *, stderr: bool = False, ends: bool = True, text: bytes | None = None) -> bytes:
    return Record(number * 1000, 0, stderr, ends, b"line %d" % number if text is None else text).raw()


class Conmon:
    """Writes a log and rotates it as conmon does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        self.file.write(data)

    def rotate(self) -> None:
        temporary = self.path.with_name(f"{self.path.name}.tmp")
        new = temporary.open("ab", buffering=0)
        temporary.rename(self.path)
        self.file.close()
        self.file = new


class Follower:
    """Collects what a follower gets."""

    def __init__(self, news: Inotify, source: LogSource, reading: Reading) -> None:
        self.data = b""
        self.notices: list[str] = []
        self.last: Batch | None = None
        self.caught_up = asyncio.Event()
        self.batches = K8sFileReader(news).read(source, reading)
        self.task = asyncio.create_task(self._collect())

    async def _collect(self) -> None:
        async for batch in self.batches:
            self.data += batch.data
            self.notices += [batch.notice] if batch.notice else []
            self.last = batch
            if batch.caught_up:
                self.caught_up.set()

    async def has(self, data: bytes, seconds: float = 60) -> None:
        """Wait until exactly this was received."""
        end = time.monotonic() + seconds
        while len(self.data) < len(data) and time.monotonic() < end:
            await asyncio.sleep(0.005)
        assert self.data == data


@asynccontextmanager
async def following(path: Path, news: Inotify, **reading: object) -> AsyncIterator[Follower]:
    ended = asyncio.Event()
    follower = Follower(news, source_at(path), Reading(follow=ended, **reading))  # type: ignore[arg-type]
    await asyncio.wait_for(follower.caught_up.wait(), 60)
    yield follower
    ended.set()
    await asyncio.wait_for(follower.task, 60)


def run(test: Callable[[Inotify], Awaitable[None]]) -> None:
    """Run it with an inotify instance; afterwards nothing is open that was not before."""

    async def inside() -> None:
        news = Inotify()
        await asyncio.to_thread(int)
        gc.collect()
        before = open_files()
        try:
            await test(news)
        finally:
            news.close()
        gc.collect()
        assert open_files() == before
        assert not segments._descriptors

    asyncio.run(inside())


def numbered(*numbers: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in numbers)


def test_what_is_written_comes_at_once(tmp_path: Path) -> None:
    async def test(news: Inotify) -> None:
        conmon = Conmon(tmp_path / "ctr.log")
        conmon.write(record(0))
        delays = []
        async with following(conmon.path, news) as follower:
            for number in range(1, 100):
                start = time.perf_counter()
                conmon.write(record(number))
                while not follower.data.endswith(numbered(number)):
                    await asyncio.sleep(0)
                delays.append(time.perf_counter() - start)
        assert follower.data == numbered(*range(100))
        assert sorted(delays)[50] < 0.2, "nobody waits for the next look at all files"

    run(test)


@pytest.mark.parametrize("nuls", [10, 3_000_000])
def test_a_record_written_after_nuls_comes_whole(tmp_path: Path, nuls: int) -> None:
    async def test(news: Inotify) -> None:
        conmon = Conmon(tmp_path / "ctr.log")
        conmon.write(record(0) + record(1)[:20] + bytes(nuls))
        async with following(conmon.path, news) as follower:
            await follower.has(numbered(0))
            conmon.write(record(2))
            await follower.has(numbered(0, 2))
        async with following(conmon.path, news, window=Window(tail=1)) as follower:
            conmon.write(record(3))
            await follower.has(numbered(2, 3))

    run(test)


def test_rotations_in_a_burst_lose_and_repeat_nothing(tmp_path: Path) -> None:
    async def test(news: Inotify) -> None:
        conmon = Conmon(tmp_path / "ctr.log")
        keeper = SegmentLinker(news, segments=100)
        await keeper.watch(source_at(conmon.path))
        async with following(conmon.path, news) as follower:
            for start in range(0, 100_000, 5000):
                for number in range(start, start + 5000):
                    conmon.write(record(number))
                conmon.rotate()
                await asyncio.sleep(0.01)
            expected = numbered(*range(100_000))
            await follower.has(expected)
        assert not follower.notices
        async with following(conmon.path, news) as second:
            await second.has(expected)
        keeper.close()

    run(test)


def test_rotations_faster_than_they_can_be_seen_are_said(tmp_path: Path) -> None:
    async def test(news: Inotify) -> None:
        conmon = Conmon(tmp_path / "ctr.log")
        keeper = SegmentLinker(news)
        await keeper.watch(source_at(conmon.path))
        async with following(conmon.path, news) as follower:
            for number in (1, 2, 3):
                conmon.write(record(number))
                conmon.rotate()
            await follower.has(numbered(1))
            conmon.write(record(4))
            await follower.has(numbered(1, 4))
        assert len(follower.notices) == 1
        assert follower.notices[0].startswith("lines may be missing")
        keeper.close()

    run(test)


def test_a_record_cut_by_a_rotation_is_whole(tmp_path: Path) -> None:
    async def test(news: Inotify) -> None:
        conmon = Conmon(tmp_path / "ctr.log")
        keeper = SegmentLinker(news)
        await keeper.watch(source_at(conmon.path))
        async with following(conmon.path, news) as follower:
            conmon.write(record(1) + record(2)[:50])
            await follower.has(numbered(1))
            conmon.rotate()
            conmon.write(record(2)[50:] + record(3))
            await follower.has(numbered(1, 2, 3))
        keeper.close()

    run(test)


def test_an_unfinished_line_comes_after_a_quiet_moment_and_its_rest_without_a_time(tmp_path: Path) -> None:
    async def test(news: Inotify) -> None:
        conmon = Conmon(tmp_path / "ctr.log")
        conmon.write(record(0, text=b""))
        async with following(conmon.path, news, timed=True, window=Window(tail=0)) as follower:
            conmon.write(record(1, ends=False, text=b"name? "))
            prompt = b"2026-11-22T10:00:00.000001000Z name? "
            await follower.has(prompt, 2)
            assert follower.last is not None
            after = Position.parse(str(follower.last.end))
            conmon.write(record(2, text=b"Ann") + record(3))
            rest = b"Ann\n2026-11-22T10:00:00.000003000Z line 3\n"
            await follower.has(prompt + rest)
            async with following(conmon.path, news, timed=True, after=after) as second:
                await second.has(rest)

    run(test)


def test_a_truncated_file_is_said_and_read_from_its_start(tmp_path: Path) -> None:
    async def test(news: Inotify) -> None:
        conmon = Conmon(tmp_path / "ctr.log")
        conmon.write(record(1) + record(2))
        async with following(conmon.path, news) as follower:
            await follower.has(numbered(1, 2))
            os.truncate(conmon.path, 0)
            conmon.write(record(3))
            await follower.has(numbered(1, 2, 3))
        assert len(follower.notices) == 1
        assert "truncated" in follower.notices[0]

    run(test)


def test_a_resume_in_a_file_that_is_gone_says_so(tmp_path: Path) -> None:
    async def test(news: Inotify) -> None:
        conmon = Conmon(tmp_path / "ctr.log")
        conmon.write(record(1))
        async with following(conmon.path, news) as follower:
            await follower.has(numbered(1))
        assert follower.last is not None
        held = conmon.path.open("rb")  # its inode is not used again
        conmon.rotate()
        conmon.write(record(2))
        async with following(conmon.path, news, after=follower.last.end) as second:
            await second.has(numbered(2))
        assert second.notices == ["lines may be missing: the log was rotated faster than it was read"]
        held.close()

    run(test)


def test_a_rotation_that_nobody_saw_is_said_once(tmp_path: Path) -> None:
    async def test(news: Inotify) -> None:
        conmon = Conmon(tmp_path / "ctr.log")
        conmon.write(record(1))
        first = SegmentLinker(news)
        await first.watch(source_at(conmon.path))
        first.close()
        conmon.rotate()
        conmon.write(record(2))
        second = SegmentLinker(news)
        await second.watch(source_at(conmon.path))
        await second.watch(source_at(conmon.path))
        assert [gap for _, gap, _ in linked_segments(conmon.path)] == [False, True]
        async with following(conmon.path, news) as follower:
            await follower.has(numbered(1, 2))
        assert follower.notices == ["lines may be missing: the log was rotated unobserved, or several times at once"]
        second.close()

    run(test)


def test_old_files_are_pruned_by_number_and_size(tmp_path: Path) -> None:
    async def test(news: Inotify) -> None:
        for folder, keeper in (("number", SegmentLinker(news, segments=2)), ("size", SegmentLinker(news, size=5000))):
            (tmp_path / folder).mkdir()
            conmon = Conmon(tmp_path / folder / "ctr.log")
            await keeper.watch(source_at(conmon.path))
            for number in range(5):
                conmon.write(record(number, text=b"x" * 2000))
                conmon.rotate()
                await asyncio.sleep(0.02)
            assert [number for number, _, _ in linked_segments(conmon.path)] == [4, 5, 6]
            await keeper.rescan()
            keeper.close()

    run(test)


def test_the_folder_may_vanish(tmp_path: Path) -> None:
    async def test(news: Inotify) -> None:
        folder = tmp_path / "container"
        folder.mkdir()
        conmon = Conmon(folder / "ctr.log")
        keeper = SegmentLinker(news)
        await keeper.watch(source_at(conmon.path))
        async with following(conmon.path, news) as follower:
            conmon.write(record(1))
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
            await follower.has(numbered(1))
            await keeper.rescan()
        await keeper.watch(source_at(conmon.path))
        keeper.close()
        conmon.file.close()

    run(test)


def test_following_ends_when_the_time_window_does(tmp_path: Path) -> None:
    async def test(news: Inotify) -> None:
        conmon = Conmon(tmp_path / "ctr.log")
        conmon.write(record(1) + record(5))
        reading = Reading(Window(until=BASE_NS + 3000), follow=asyncio.Event())
        follower = Follower(news, source_at(conmon.path), reading)
        await asyncio.wait_for(follower.task, 60)
        assert follower.data == numbered(1)

    run(test)


@pytest.mark.parametrize("deaf", [False, True])
def test_a_thousand_followers_cost_little(tmp_path: Path, deaf: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(news: Inotify) -> None:
        if deaf:
            monkeypatch.setattr(news, "watch", lambda *_: None)
        count = 50 if deaf else 1000
        conmon = Conmon(tmp_path / "ctr.log")
        conmon.write(b"".join(record(number) for number in range(10_000)))
        before = resident()
        ended = asyncio.Event()
        reading = Reading(Window(tail=1), follow=ended)
        followers = [Follower(news, source_at(conmon.path), reading) for _ in range(count)]
        await asyncio.gather(*(follower.caught_up.wait() for follower in followers))
        assert open_files() < 40
        each = (resident() - before) / count
        start = resource.getrusage(resource.RUSAGE_SELF)
        await asyncio.sleep(0.5)
        used = resource.getrusage(resource.RUSAGE_SELF)
        assert deaf or used.ru_utime - start.ru_utime < 0.2
        conmon.write(record(10_000))
        await asyncio.gather(*(follower.has(numbered(9999, 10_000)) for follower in followers))
        assert deaf or each < 30_000, each
        for follower in followers[: count // 2]:
            follower.task.cancel()
        ended.set()
        await asyncio.gather(*(follower.task for follower in followers), return_exceptions=True)
        await asyncio.gather(*(follower.batches.aclose() for follower in followers))

    run(test)


def open_files() -> int:
    """How many this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


def resident() -> int:
    """Bytes of memory this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
