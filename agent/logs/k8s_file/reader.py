"""The reader of logs that podman writes with its driver k8s-file: it reads the files itself.

Per stream it gives byte for byte what `podman logs` prints. `--since` begins where that time is first reached (see
`k8s_find.since`), `--until` leaves out each record that is not before it. What a full disk damaged is passed on as well
as can be (see `cri.mended`).
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from functools import partial
from pathlib import Path

from agent.logs import inotify
from agent.logs.inotify import Inotify
from agent.logs.k8s_file import segments
from agent.logs.k8s_file.scan import Scan
from agent.logs.k8s_file.segments import Mark, Segment
from agent.logs.memory import keep_blocks
from agent.logs.model import Batch, LogSource, Reading
from agent.tasks import create_guarded_task
from mcp.shared.errors import NotReady

QUIET = 0.25  # seconds without news after which an unfinished line is passed on
LOOK = 0.25  # seconds between looks at a file that the kernel gives no news of
SMALL = 64 * 1024  # bytes read on the event loop; more in a thread
LATE = 1.0  # seconds after `until` that records may still be on their way into the file


class K8sFile:
    """A model.Reader."""

    def __init__(self, news: Inotify) -> None:
        """`news` is the process's one instance."""
        self._news = news
        keep_blocks()

    async def read(self, source: LogSource, reading: Reading) -> AsyncGenerator[Batch]:
        """See model.Reader; raises NotReady where the file is not there or cannot be read."""
        path = _path(source)
        alarm = _Alarm(self._news, path) if reading.follow is not None else None
        try:
            course = await _open(path, source, reading)
            try:
                async with aclosing(_read(course, reading, path, alarm)) as batches:
                    async for batch in batches:
                        yield batch
            finally:
                course.close()
        finally:
            if alarm is not None:
                alarm.close()


async def read_raw(data: bytes, place: str, reading: Reading) -> AsyncGenerator[Batch]:
    """The lines in what `tail_raw` gave; `reading.follow` is not heeded.

    A position in it, or in the file that it was taken from, is valid in both.
    """
    mark = Mark.parse(place)
    contents = _KeptBytes(data, mark.offset)
    segment = Segment(contents, mark.inode, begin=mark.offset, stamp=mark.stamp)
    course = _course([segment], reading)
    once = Reading(reading.window, reading.timed, reading.after)
    try:
        async with aclosing(_read(course, once, Path(), None)) as batches:
            async for batch in batches:
                yield batch
    finally:
        course.close()


async def tail_raw(source: LogSource, limit: int) -> tuple[bytes, str]:
    """The last at most `limit` bytes of the newest file that has any, in whole records; and where they begin.

    Raises NotReady as `read` does.
    """
    path = _path(source)
    with _explained(source, path):
        return await asyncio.to_thread(_tail_raw, path, limit)


def _tail_raw(path: Path, limit: int) -> tuple[bytes, str]:
    parts = segments.open_all(path)
    try:
        part = next((part for part in reversed(parts) if part.end() > part.begin), parts[-1])
        start = max(part.begin, part.end() - limit)
        data = part.pread(limit, start)
        if start > part.begin and part.pread(1, start - 1) != b"\n":
            first = data.find(b"\n") + 1 or len(data)
            start, data = start + first, data[first:]
        return data, str(part.mark(start))
    finally:
        for part in parts:
            part.close()


class _KeptBytes:
    """Bytes in memory that were a file's from `begin` on."""

    def __init__(self, data: bytes, begin: int) -> None:
        self._data = data
        self._begin = begin

    def pread(self, count: int, offset: int) -> bytes:
        return self._data[offset - self._begin : offset - self._begin + count]

    def size(self) -> int:
        return self._begin + len(self._data)

    def close(self) -> None:
        pass


class _Alarm:
    """Rings at news of a log file, until closed."""

    def __init__(self, news: Inotify, path: Path) -> None:
        self.bell = asyncio.Event()
        self.gone = False  # with its folder: no more news
        self._stop = news.watch(path, self._ring)
        self.deaf = self._stop is None

    def _ring(self, mask: int) -> None:
        self.gone = self.gone or bool(mask & inotify.IN_IGNORED)
        self.bell.set()

    def close(self) -> None:
        if self._stop is not None:
            self._stop()


@contextmanager
def _explained(source: LogSource, path: Path) -> Iterator[None]:
    """Turns an OSError into NotReady with what to do."""
    words = f"the log of {source.container} cannot be read: {path}"
    try:
        yield
    except FileNotFoundError:
        raise NotReady(f"{words} is not there", "start the container, or deploy its component anew") from None
    except OSError as error:
        hint = "the agent has to run as the user whose containers these are"
        raise NotReady(f"{words}: {error.strerror}", hint) from None


def _path(source: LogSource) -> Path:
    if source.path is None:
        raise NotReady(f"{source.container} has no log file", "its log driver is not k8s-file")
    return source.path


async def _open(path: Path, source: LogSource, reading: Reading) -> Scan:
    opening = create_guarded_task(asyncio.to_thread(segments.open_all, path), f"opening {path}", expected=(OSError,))
    try:
        with _explained(source, path):
            parts = await asyncio.shield(opening)
    except asyncio.CancelledError:  # the thread goes on all the same, and nobody would close what it opens
        opening.add_done_callback(_close_opened)
        raise
    return _course(parts, reading)


def _close_opened(opening: "asyncio.Future[list[Segment]]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        for part in opening.result():
            part.close()


def _course(parts: list[Segment], reading: Reading) -> Scan:
    course = Scan(parts, timed=reading.timed, until=reading.window.until)
    if reading.after is None:
        return course
    try:
        course.resume(reading.after)
    except ValueError:
        course.close()
        raise NotReady("this is no place in a log", "read it again without a cursor") from None
    except BaseException:
        course.close()
        raise
    return course


async def _in_thread(course: Scan, work: Callable[[], Batch | None]) -> Batch | None:
    return await asyncio.to_thread(course.run, work)


async def _read(course: Scan, reading: Reading, path: Path, alarm: _Alarm | None) -> AsyncGenerator[Batch]:
    """First what is there, then what comes."""
    window = reading.window
    if reading.after is None and (window.since is not None or window.tail is not None):
        await _in_thread(course, partial(_seek, course, reading))
    while (batch := await _in_thread(course, course.read)) is not None:
        if batch.data or batch.notice:
            yield batch
    if alarm is None:
        last = course.flush(at_end=True)
        last.caught_up = True
        yield last
        return
    assert reading.follow is not None
    yield course.nothing()
    course.unlimit()
    ringer = create_guarded_task(_ring_at(reading.follow, alarm.bell), f"the end of {path}")
    try:
        async with aclosing(_follow(course, reading.follow, window.until, path, alarm)) as batches:
            async for batch in batches:
                yield batch
                del batch  # a follower that waits holds no data
    finally:
        ringer.cancel()


def _seek(course: Scan, reading: Reading) -> None:
    course.seek(reading.window)


async def _ring_at(ended: asyncio.Event, bell: asyncio.Event) -> None:
    await ended.wait()
    bell.set()


async def _follow(
    course: Scan, ended: asyncio.Event, until: int | None, path: Path, alarm: _Alarm
) -> AsyncGenerator[Batch]:
    """What comes, until `ended` is set or `until` has passed, and nothing is left."""
    quiet = 0.0  # when an unfinished line is passed on; 0: there is none
    while True:
        last = ended.is_set() or (until is not None and time.time_ns() > until + int(LATE * 1e9))
        alarm.bell.clear()
        while True:
            small = course.backlog() <= SMALL
            batch = course.read() if small else await _in_thread(course, course.read)
            if batch is None:
                if course.renew(path):
                    continue
                break
            if batch.data or batch.notice:
                yield batch
        if last:
            yield course.flush(at_end=True)
            return
        now = time.monotonic()
        if not course.is_unfinished():
            quiet = 0.0
        elif not quiet:
            quiet = now + QUIET
        elif now >= quiet:
            quiet = 0.0
            yield course.flush()
        await _news(alarm, quiet - now if quiet else None, until)


async def _news(alarm: _Alarm, quiet: float | None, until: int | None) -> None:
    """Wait for news, at most until something else is to be done."""
    times = [] if quiet is None else [quiet]
    if alarm.deaf and not alarm.gone:
        times.append(LOOK)
    if until is not None:
        times.append(max(until / 1e9 + LATE - time.time(), 0) + 0.01)
    if not times:
        await alarm.bell.wait()
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(min(times)):
            await alarm.bell.wait()
