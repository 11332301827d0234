"""The files that a k8s-file log consists of, and the keeping of those that conmon would throw away.

At `max-size` conmon writes to F.tmp and renames it over F: what was logged before is gone unless somebody holds a hard
link to it. The Keeper does: `F.mcp-000001`, numbered in order, in the same folder, `-gap` behind the number where
lines may be missing before it. `podman rm` removes the folder with all of them.
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
from agent.logs import inotify
from agent.logs.inotify import Inotify
from agent.logs.k8s_file.records import TIME
from agent.logs.model import LogSource

OLD_SEGMENTS = 4  # kept besides the live file
OLD_BYTES = 256 * 1024 * 1024  # of them together
_KEPT = re.compile(r"\.mcp-(\d{6,})(-gap)?")


@dataclass(frozen=True)
class Mark:
    """A place in a segment. `stamp` tells two files apart that had the same inode one after the other."""

    inode: int
    stamp: int  # of its first time; 0: the file was empty
    offset: int

    def __str__(self) -> str:
        """As in a position; `parse` reads it."""
        return f"{self.inode:x}.{self.stamp:x}.{self.offset:x}"

    @classmethod
    def parse(cls, text: str) -> "Mark":
        """From `str`; raises ValueError."""
        inode, stamp, offset = (int(part, 16) for part in text.split("."))
        if min(inode, stamp, offset) < 0:
            raise ValueError("not a mark")
        return cls(inode, stamp, offset)


class Contents(Protocol):
    """Bytes that can be read from any place; by any thread."""

    def pread(self, count: int, offset: int) -> bytes:
        """At most `count` bytes from `offset` on; none at the end."""
        ...

    def size(self) -> int:
        """Where the end is now."""
        ...

    def close(self) -> None:
        """To be called once; the bytes cannot be read any more."""
        ...


class _Descriptor:
    """An open file, one for all who read it: a thousand followers would use up the process's descriptors."""

    def __init__(self, fd: int, key: tuple[int, int]) -> None:
        self.fd = fd
        self.key = key
        self.users = 0


_descriptors: dict[tuple[int, int], _Descriptor] = {}
_lock = threading.Lock()


class LogFile:
    """A file on disk, opened for reading. Raises OSError."""

    def __init__(self, path: Path) -> None:
        """Opens it."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO is refused, not waited for
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
    """One file of a log.

    `begin` is where what there is of it begins, `limit` where reading shall end (None: no end).
    """

    def __init__(self, contents: Contents, inode: int, *, gap: bool = False, begin: int = 0, stamp: int = 0) -> None:
        """`stamp` 0: as the contents say."""
        self.contents = contents
        self.inode = inode
        self.gap = gap
        self.begin = begin
        self.limit: int | None = contents.size()
        self._stamp = stamp

    @property
    def stamp(self) -> int:
        """See Mark."""
        if not self._stamp:
            first = self.contents.pread(TIME, 0)
            self._stamp = (zlib.crc32(first) or 1) if len(first) == TIME else 0
        return self._stamp

    def mark(self, offset: int) -> Mark:
        """A place in it."""
        return Mark(self.inode, self.stamp, offset)

    def has(self, mark: Mark) -> bool:
        """Whether the place is, or was, in this file."""
        return self.inode == mark.inode and mark.stamp in (0, self.stamp) and self.begin <= mark.offset <= self.end()

    def end(self) -> int:
        """Where what shall be read of it ends."""
        return self.contents.size() if self.limit is None else self.limit

    def pread(self, count: int, offset: int) -> bytes:
        """At most `count` bytes from `offset` on."""
        if self.limit is not None:
            count = min(count, self.limit - offset)
        return self.contents.pread(count, offset) if count > 0 else b""

    def was_truncated(self) -> bool:
        """Forget what was known of a file that begins anew."""
        stamp, self._stamp = self._stamp, 0
        return bool(stamp) and self.stamp != stamp

    def close(self) -> None:
        """Close its file."""
        self.contents.close()


def kept(path: Path) -> list[tuple[int, bool, Path]]:
    """The links kept of a log, oldest first: number, whether lines may be missing before it, path."""
    found = []
    with suppress(OSError):
        for link in path.parent.iterdir():
            if link.name.startswith(path.name) and (match := _KEPT.fullmatch(link.name, len(path.name))):
                found.append((int(match[1]), bool(match[2]), link))
    return sorted(found)


def open_all(path: Path) -> list[Segment]:
    """The log's files, oldest first, the live one last, each with the size that it has now as its limit.

    Raises OSError where the live file cannot be opened and no other one is there.
    """
    segments: list[Segment] = []
    seen = set()
    for _, gap, link in kept(path):
        with suppress(OSError):
            file = LogFile(link)
            seen.add(file.inode)
            segments.append(Segment(file, file.inode, gap=gap))
    try:
        file = LogFile(path)
    except OSError:
        if not segments:
            raise
        return segments
    if file.inode in seen:
        file.close()
    else:
        segments.append(Segment(file, file.inode))
    for segment in segments[:-1]:  # what was written before the live file came
        segment.limit = segment.contents.size()
    return segments


class Keeper:
    """Keeps the files of the logs that it watches. One for the agent; all of it is to be called on the event loop.

    A link is made and removed in microseconds, so it is done at once, before followers hear of a rotation.
    """

    def __init__(self, news: Inotify, segments: int = OLD_SEGMENTS, size: int = OLD_BYTES) -> None:
        """At most `segments` old files and `size` bytes of them are kept of each log."""
        self._news = news
        self._segments = segments
        self._size = size
        self._watched: dict[str, tuple[Path, Callable[[], None] | None]] = {}

    async def watch(self, source: LogSource) -> None:
        """Keep what is logged there from now on, until it is forgotten. Again for the same: looks again."""
        if source.path is None:
            return
        old = self._watched.get(source.identifier)
        if old is None or old[0] != source.path or old[1] is None:
            self.forget(source.identifier)
            path, identifier = source.path, source.identifier
            stop = self._news.watch(path, lambda mask: self._look(identifier, mask))
            if stop is None and not path.parent.is_dir():
                return
            self._watched[identifier] = (path, stop)
        self._keep(source.path, 0)

    def forget(self, identifier: str) -> None:
        """Watch it no more; what is kept stays."""
        _, stop = self._watched.pop(identifier, (None, None))
        if stop is not None:
            stop()

    async def rescan(self) -> None:
        """Look at every log: for what the kernel did not tell."""
        self._news.read()  # what it did tell is no surprise
        for path, _ in list(self._watched.values()):
            self._keep(path, 0)

    def close(self) -> None:
        """Watch nothing any more."""
        for identifier in list(self._watched):
            self.forget(identifier)

    def _look(self, identifier: str, mask: int) -> None:
        if identifier not in self._watched:
            return
        path, _ = self._watched[identifier]
        if mask & inotify.IN_IGNORED:
            del self._watched[identifier]  # the folder is gone, and the container with it
        elif mask & (inotify.IN_MOVED_TO | inotify.IN_CREATE | inotify.IN_Q_OVERFLOW):
            self._keep(path, 1 if mask & inotify.IN_MOVED_TO else 0)

    def _keep(self, path: Path, moves: int) -> None:
        """Link the live file if that was not done; `moves`: how many files the kernel says took its place."""
        links = kept(path)
        try:
            inode = path.stat().st_ino
            newest = links[-1] if links else (0, False, None)
            if newest[2] is None or newest[2].stat().st_ino != inode:
                # A rotation that was not seen may have been one of several.
                gap = bool(links) and not moves
                number = newest[0] + 1
                link = path.with_name(f"{path.name}.mcp-{number:06}{'-gap' if gap else ''}")
                os.link(path, link, follow_symlinks=False)
                links.append((number, gap, link))
            elif moves:
                # Two files came at once: this one is linked, but one between was gone before it could be.
                self._mark_gap(links)
            self._prune(links[:-1])
        except FileNotFoundError:
            pass  # removed, or not made yet
        except OSError as error:
            words = os.strerror(error.errno or errno.EIO)
            logger.warning("a log's history cannot be kept", extra=fields(path=path, error=words))

    def _mark_gap(self, links: list[tuple[int, bool, Path]]) -> None:
        number, gap, link = links[-1]
        if not gap and len(links) > 1:
            renamed = link.with_name(f"{link.name}-gap")
            link.rename(renamed)
            links[-1] = (number, True, renamed)

    def _prune(self, old: list[tuple[int, bool, Path]]) -> None:
        """Remove the oldest beyond the bounds."""
        size = 0
        for count, (_, _, link) in enumerate(reversed(old), 1):
            size += link.stat().st_size
            if count > self._segments or size > self._size:
                link.unlink(missing_ok=True)
