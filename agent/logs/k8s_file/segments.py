"""The segments (files) of a k8s-file log, and the retention of rotated ones, which conmon would delete.

At `max-size` conmon writes to F.tmp and renames it over F, which deletes the earlier lines unless there is a hard link
to them. SegmentLinker makes one: `F.mcp-000001`, numbered in order, in the same folder, with the suffix `-gap` if lines
before it may be missing. `podman rm` removes the folder with all of them.
"""

import errno
import os
import re
import stat
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.log import fields, logger
from agent.logs.inotify import IN_CREATE, IN_IGNORED, IN_MOVED_TO, IN_Q_OVERFLOW, Inotify
from agent.logs.k8s_file.records import TIME
from agent.logs.model import LogSource

OLD_SEGMENTS = 4  # retained besides the live file
OLD_BYTES = 256 * 1024 * 1024  # of all of them
_LINK = re.compile(r"\.mcp-(\d{6,})(-gap)?")


@dataclass(frozen=True)
class Mark:
    """An offset in a segment. `stamp` distinguishes files that had the same inode one after the other."""

    inode: int
    stamp: int  # checksum of the first record's time; 0: the file was empty
    offset: int

    def __str__(self) -> str:
        """Return the mark as text for a place."""
        return f"{self.inode:x}.{self.stamp:x}.{self.offset:x}"

    @classmethod
    def parse(cls, text: str) -> "Mark":
        """Parse the text of a mark; raises ValueError."""
        inode, stamp, offset = (int(part, 16) for part in text.split("."))
        if min(inode, stamp, offset) < 0:
            raise ValueError("not a mark")
        return cls(inode, stamp, offset)


class Contents(Protocol):
    """Bytes readable at any offset by any thread."""

    def pread(self, count: int, offset: int) -> bytes:
        """Read at most `count` bytes from `offset`; none at the end."""
        ...

    def size(self) -> int:
        """Return the present size in bytes."""
        ...

    def close(self) -> None:
        """Release the bytes; call this once."""
        ...


class _Descriptor:
    """An open file shared by all its readers: a thousand followers would use up the process's descriptors."""

    def __init__(self, fd: int, key: tuple[int, int]) -> None:
        self.fd = fd
        self.key = key
        self.users = 0


_descriptors: dict[tuple[int, int], _Descriptor] = {}
_lock = threading.Lock()


class LogFile:
    """A file on disk, opened for reading."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises OSError."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # O_NONBLOCK: refuse a FIFO without waiting
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "not a regular file")
        key = (status.st_dev, status.st_ino)
        with _lock:
            shared = _descriptors.get(key)
            if shared is None:
                shared = _descriptors[key] = _Descriptor(fd, key)
            else:
                os.close(fd)
            shared.users += 1
        self._shared = shared
        self.inode = status.st_ino

    def pread(self, count: int, offset: int) -> bytes:
        """See Contents."""
        return os.pread(self._shared.fd, count, offset)

    def size(self) -> int:
        """See Contents."""
        return os.fstat(self._shared.fd).st_size

    def close(self) -> None:
        """See Contents."""
        with _lock:
            self._shared.users -= 1
            if not self._shared.users:
                del _descriptors[self._shared.key]
                os.close(self._shared.fd)


class Segment:
    """One file of a log, readable from offset `begin` to `limit` (None: to its end)."""

    def __init__(self, contents: Contents, inode: int, *, gap: bool = False, begin: int = 0, stamp: int = 0) -> None:
        """Take the contents; with `gap`, lines before them may be missing; `stamp` 0 is computed from the contents."""
        self.contents = contents
        self.inode = inode
        self.gap = gap
        self.begin = begin
        self.limit: int | None = contents.size()
        self._stamp = stamp

    @property
    def stamp(self) -> int:
        """Stamp of its marks."""
        if not self._stamp:
            first = self.contents.pread(TIME, 0)
            self._stamp = (zlib.crc32(first) or 1) if len(first) == TIME else 0
        return self._stamp

    def mark(self, offset: int) -> Mark:
        """Return the mark of an offset."""
        return Mark(self.inode, self.stamp, offset)

    def has(self, mark: Mark) -> bool:
        """Tell if a mark is in this file."""
        return self.inode == mark.inode and mark.stamp in (0, self.stamp) and self.begin <= mark.offset <= self.end()

    def end(self) -> int:
        """Return the end of the readable part."""
        return self.contents.size() if self.limit is None else self.limit

    def pread(self, count: int, offset: int) -> bytes:
        """Read at most `count` bytes from `offset`."""
        if self.limit is not None:
            count = min(count, self.limit - offset)
        return self.contents.pread(count, offset) if count > 0 else b""

    def was_truncated(self) -> bool:
        """Reset the stamp of a truncated file; tell if it changed."""
        stamp, self._stamp = self._stamp, 0
        return bool(stamp) and self.stamp != stamp

    def close(self) -> None:
        """Close its file."""
        self.contents.close()


def linked_segments(path: Path) -> list[tuple[int, bool, Path]]:
    """Return the links to a log's segments, oldest first, as (number, True if lines before it may be missing, path)."""
    links = []
    with suppress(OSError):
        for link in path.parent.iterdir():
            if link.name.startswith(path.name) and (match := _LINK.fullmatch(link.name, len(path.name))):
                links.append((int(match[1]), bool(match[2]), link))
    return sorted(links)


def open_all(path: Path) -> list[Segment]:
    """Open the log's files, oldest first, the live one last, each limited to its present size.

    Raises OSError if the live file cannot be opened and there is no other one.
    """
    segments: list[Segment] = []
    inodes = set()
    for _, gap, link in linked_segments(path):
        with suppress(OSError):
            file = LogFile(link)
            inodes.add(file.inode)
            segments.append(Segment(file, file.inode, gap=gap))
    try:
        file = LogFile(path)
    except OSError:
        if not segments:
            raise
        return segments
    if file.inode in inodes:
        file.close()
    else:
        segments.append(Segment(file, file.inode))
    for segment in segments[:-1]:  # include the last writes before the rotation
        segment.limit = segment.contents.size()
    return segments


class SegmentLinker:
    """Retains the rotated files of the logs that it watches. One for the agent; call it on the event loop.

    Making or removing a link takes microseconds, so it is done at once, before followers learn of a rotation.
    """

    def __init__(self, notifier: Inotify, segments: int = OLD_SEGMENTS, size: int = OLD_BYTES) -> None:
        """Set the retention of each log: `segments` rotated files, and `size` bytes of them in total."""
        self._notifier = notifier
        self._segments = segments
        self._size = size
        self._watched: dict[str, tuple[Path, Callable[[], None] | None]] = {}

    async def watch(self, source: LogSource) -> None:
        """Watch a log until it is forgotten; for one that is watched already, check it again."""
        if source.path is None:
            return
        watched = self._watched.get(source.identifier)
        if watched is None or watched[0] != source.path or watched[1] is None:
            self.forget(source.identifier)
            path, identifier = source.path, source.identifier
            stop = self._notifier.watch(path, lambda mask: self._on_event(identifier, mask))
            if stop is None and not path.parent.is_dir():
                return
            self._watched[identifier] = (path, stop)
        self._link(source.path, 0)

    def forget(self, identifier: str) -> None:
        """Stop watching a container's log; its links remain."""
        _, stop = self._watched.pop(identifier, (None, None))
        if stop is not None:
            stop()

    async def rescan(self) -> None:
        """Check every log for rotations that the kernel did not report."""
        self._notifier.read()  # first handle the reported ones, which leave no gap
        for path, _ in list(self._watched.values()):
            self._link(path, 0)

    def close(self) -> None:
        """Stop watching all logs."""
        for identifier in list(self._watched):
            self.forget(identifier)

    def _on_event(self, identifier: str, mask: int) -> None:
        if identifier not in self._watched:
            return
        path, _ = self._watched[identifier]
        if mask & IN_IGNORED:
            del self._watched[identifier]  # the folder is gone, and the container with it
        elif mask & (IN_MOVED_TO | IN_CREATE | IN_Q_OVERFLOW):
            self._link(path, 1 if mask & IN_MOVED_TO else 0)

    def _link(self, path: Path, moves: int) -> None:
        """Link the live file if it is not linked; `moves` is the number of reported renames over it."""
        links = linked_segments(path)
        try:
            inode = path.stat().st_ino
            newest = links[-1] if links else (0, False, None)
            if newest[2] is None or newest[2].stat().st_ino != inode:
                # a rotation that was not reported may have been one of several
                gap = bool(links) and not moves
                number = newest[0] + 1
                link = path.with_name(f"{path.name}.mcp-{number:06}{'-gap' if gap else ''}")
                os.link(path, link, follow_symlinks=False)
                links.append((number, gap, link))
            elif moves:
                # two rotations at once: the live file is linked, but the one before it was deleted before it could be
                self._mark_gap(links)
            self._prune(links[:-1])
        except FileNotFoundError:
            pass  # removed, or not created yet
        except OSError as error:
            reason = os.strerror(error.errno or errno.EIO)
            logger.warning("cannot retain a rotated log", extra=fields(path=path, error=reason))

    def _mark_gap(self, links: list[tuple[int, bool, Path]]) -> None:
        number, gap, link = links[-1]
        if not gap and len(links) > 1:
            renamed = link.with_name(f"{link.name}-gap")
            link.rename(renamed)
            links[-1] = (number, True, renamed)

    def _prune(self, old: list[tuple[int, bool, Path]]) -> None:
        """Remove the oldest files beyond the retention."""
        size = 0
        for count, (_, _, link) in enumerate(reversed(old), 1):
            size += link.stat().st_size
            if count > self._segments or size > self._size:
                link.unlink(missing_ok=True)
