"""Read logs of podman's k8s-file driver directly from its files.

For each stream the output is byte for byte that of `podman logs`. `--since` begins where that time is first reached
(see `seek.since`), `--until` leaves out every record that is not before it. Records damaged by a full disk are
repaired as far as possible (see `records.repaired`).
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from functools import partial
from pathlib import Path

from agent.logs.inotify import IN_IGNORED, Inotify
from agent.logs.k8s_file import segments
from agent.logs.k8s_file.records import START
from agent.logs.k8s_file.scan import Scan
from agent.logs.k8s_file.segments import Mark, Segment
from agent.logs.memory import reuse_block_memory
from agent.logs.model import Batch, LogSource, Reading
from agent.tasks import create_guarded_task
from mcp.shared.errors import NotReady

QUIET = 0.25  # seconds without new data after which an unfinished line is passed on
POLL = 0.25  # seconds between reads of a file that cannot be watched
SMALL = 64 * 1024  # bytes read on the event loop; more in a thread
LATE = 1.0  # seconds after `until` in which earlier records may still be written


class K8sFileReader:
    """A model.LogReader for the k8s-file driver."""

    def __init__(self, notifier: Inotify) -> None:
        """Take the process's notifier, which watches followed files."""
        self._notifier = notifier
        reuse_block_memory()

    async def read(self, source: LogSource, reading: Reading) -> AsyncGenerator[Batch]:
        """See model.LogReader; raises NotReady if the file is missing or unreadable."""
        path = _path(source)
        watch = _FileWatch(self._notifier, path) if reading.follow is not None else None
        try:
            scan = await _open(path, source, reading)
            try:
                async with aclosing(_read(scan, reading, path, watch)) as batches:
                    async for batch in batches:
                        yield batch
            finally:
                scan.close()
        finally:
            if watch is not None:
                watch.close()


async def read_raw(data: bytes, place: str, reading: Reading) -> AsyncGenerator[Batch]:
    """Yield the lines in the result of `tail_raw`; ignores `reading.follow`.

    Positions in it and in the file that it was taken from are valid in both.
    """
    mark = Mark.parse(place)
    contents = _SavedContents(data, mark.offset)
    segment = Segment(contents, mark.inode, begin=mark.offset, stamp=mark.stamp)
    scan = _scan([segment], reading)
    once = Reading(reading.window, reading.timed, reading.after)
    try:
        async with aclosing(_read(scan, once, Path(), None)) as batches:
            async for batch in batches:
                yield batch
    finally:
        scan.close()


async def tail_raw(source: LogSource, limit: int) -> tuple[bytes, str]:
    """Return the last records, `limit` bytes at most, of the newest file that has any, and the mark of their start.

    Raises NotReady if the file is missing or unreadable.
    """
    path = _path(source)
    with _translated(source, path):
        return await asyncio.to_thread(_tail_raw, path, limit)


def _tail_raw(path: Path, limit: int) -> tuple[bytes, str]:
    parts = segments.open_all(path)
    try:
        part = next((part for part in reversed(parts) if part.end() > part.begin), parts[-1])
        start = max(part.begin, part.end() - limit)
        data = part.pread(limit, start)
        if start > part.begin and part.pread(1, start - 1) != b"\n":
            record = START.search(data)
            first = min(data.find(b"\n") + 1 or len(data), record.end() if record else len(data))
            start, data = start + first, data[first:]
        return data, str(part.mark(start))
    finally:
        for part in parts:
            part.close()


class _SavedContents:
    """The bytes of a file from offset `begin`, in memory."""

    def __init__(self, data: bytes, begin: int) -> None:
        self._data = data
        self._begin = begin

    def pread(self, count: int, offset: int) -> bytes:
        return self._data[offset - self._begin : offset - self._begin + count]

    def size(self) -> int:
        return self._begin + len(self._data)

    def close(self) -> None:
        pass


class _FileWatch:
    """Sets `changed` on events of a log file, until closed."""

    def __init__(self, notifier: Inotify, path: Path) -> None:
        self.changed = asyncio.Event()
        self.gone = False  # removed with its folder: no more events
        self._stop = notifier.watch(path, self._on_event)
        self.must_poll = self._stop is None

    def _on_event(self, mask: int) -> None:
        self.gone = self.gone or bool(mask & IN_IGNORED)
        self.changed.set()

    def close(self) -> None:
        if self._stop is not None:
            self._stop()


@contextmanager
def _translated(source: LogSource, path: Path) -> Iterator[None]:
    """Translate an OSError into NotReady with a hint."""
    what = f"the log of {source.container} cannot be read: {path}"
    try:
        yield
    except FileNotFoundError:
        raise NotReady(f"{what} does not exist", "start the container, or deploy its component again") from None
    except OSError as error:
        raise NotReady(f"{what}: {error.strerror}", "run the agent as the user that owns the containers") from None


def _path(source: LogSource) -> Path:
    if source.path is None:
        raise NotReady(f"{source.container} has no log file", "its log driver is not k8s-file")
    return source.path


async def _open(path: Path, source: LogSource, reading: Reading) -> Scan:
    opening = create_guarded_task(asyncio.to_thread(segments.open_all, path), f"opening {path}", expected=(OSError,))
    try:
        with _translated(source, path):
            parts = await asyncio.shield(opening)
    except asyncio.CancelledError:  # the thread continues, and nothing else would close the files that it opens
        opening.add_done_callback(_close_opened)
        raise
    return _scan(parts, reading)


def _close_opened(opening: "asyncio.Future[list[Segment]]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        for part in opening.result():
            part.close()


def _scan(parts: list[Segment], reading: Reading) -> Scan:
    scan = Scan(parts, timed=reading.timed, until=reading.window.until)
    if reading.after is None:
        return scan
    try:
        scan.resume(reading.after)
    except ValueError:
        scan.close()
        raise NotReady("invalid log position", "read the log again without a cursor") from None
    except BaseException:
        scan.close()
        raise
    return scan


async def _in_thread(scan: Scan, work: Callable[[], Batch | None]) -> Batch | None:
    return await asyncio.to_thread(scan.run, work)


async def _read(scan: Scan, reading: Reading, path: Path, watch: _FileWatch | None) -> AsyncGenerator[Batch]:
    """Yield the present lines and, with `watch`, the following ones."""
    window = reading.window
    if reading.after is None and (window.since is not None or window.tail is not None):
        await _in_thread(scan, partial(_seek, scan, reading))
    while (batch := await _in_thread(scan, scan.read)) is not None:
        if batch.data or batch.notice:
            yield batch
    if watch is None:
        last = scan.flush(at_end=True)
        last.caught_up = True
        yield last
        return
    assert reading.follow is not None
    yield scan.caught_up()
    scan.unlimit()
    waker = create_guarded_task(_set_after(reading.follow, watch.changed), f"the end of {path}")
    try:
        async with aclosing(_follow(scan, reading.follow, window.until, path, watch)) as batches:
            async for batch in batches:
                yield batch
                del batch  # hold no data while waiting
    finally:
        waker.cancel()


def _seek(scan: Scan, reading: Reading) -> None:
    scan.seek(reading.window)


async def _set_after(ended: asyncio.Event, changed: asyncio.Event) -> None:
    await ended.wait()
    changed.set()


async def _follow(
    scan: Scan, ended: asyncio.Event, until: int | None, path: Path, watch: _FileWatch
) -> AsyncGenerator[Batch]:
    """Yield new lines until `ended` is set or `until` has passed, and all is read."""
    flush_at = 0.0  # time.monotonic() at which an unfinished line is passed on; 0: there is none
    while True:
        is_last = ended.is_set() or (until is not None and time.time_ns() > until + int(LATE * 1e9))
        watch.changed.clear()
        while True:
            small = scan.backlog() <= SMALL
            batch = scan.read() if small else await _in_thread(scan, scan.read)
            if batch is None:
                if scan.renew(path):
                    continue
                break
            if batch.data or batch.notice:
                yield batch
        if is_last:
            yield scan.flush(at_end=True)
            return
        now = time.monotonic()
        if not scan.is_unfinished():
            flush_at = 0.0
        elif not flush_at:
            flush_at = now + QUIET
        elif now >= flush_at:
            flush_at = 0.0
            yield scan.flush()
        await _wait(watch, flush_at - now if flush_at else None, until)


async def _wait(watch: _FileWatch, seconds: float | None, until: int | None) -> None:
    """Wait for a change of the file, at most `seconds`, until the next poll, or until `until` has passed."""
    times = [] if seconds is None else [seconds]
    if watch.must_poll and not watch.gone:
        times.append(POLL)
    if until is not None:
        times.append(max(until / 1e9 + LATE - time.time(), 0) + 0.01)
    if not times:
        await watch.changed.wait()
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(min(times)):
            await watch.changed.wait()
