"""The types that log readers take and give: times are nanoseconds since the epoch, or text that sorts alike."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mcp.shared.errors import NotReady

FILE_DRIVERS = ("k8s-file", "json-file")  # podman takes the second for the first
LINE_LIMIT = 1024 * 1024  # bytes; a longer line is passed on in parts, so that memory stays bounded
TIME_WIDTH = 31  # bytes in front of a timed line: `2026-11-22T10:19:26.532885487Z `, UTC, always nine digits


@dataclass(frozen=True)
class Window:
    """The part of a log to show: first the time window (`since` <= time < `until`), then the last `tail` lines of it.

    None is no bound.
    """

    since: int | None = None
    until: int | None = None
    tail: int | None = None


@dataclass(frozen=True)
class LogSource:
    """A container that logs; `identifier` is its full id, `path` the file of the k8s-file driver."""

    service: str
    component: str
    container: str
    identifier: str
    driver: str
    path: Path | None = None

    @property
    def has_file(self) -> bool:
        """Return whether its log is a file that can be read without podman."""
        return self.driver in FILE_DRIVERS and self.path is not None


@dataclass(frozen=True)
class Position:
    """A place between two lines of a source: `skip` lines after `place`, which only the source's reader can read."""

    place: str
    skip: int = 0

    def __str__(self) -> str:
        """Text for a cursor; `parse` reads it."""
        return f"{self.place}+{self.skip}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """From `str`; raises ValueError."""
        place, plus, skip = text.rpartition("+")
        if not plus or not (skip.isascii() and skip.isdigit() and len(skip) < 19):
            raise ValueError("not a position")
        return cls(place, int(skip))


@dataclass(slots=True)
class Batch:
    """Consecutive lines of one source, in its own order, each with its newline.

    `data` consists of `runs`: (length in bytes, whether it is stderr). Only the last line of a stream may lack its
    newline: the rest of it comes in a later batch, or never. `begin` and `end` are the positions before and after
    the batch. `notice` says, before the data, what could not be had. `caught_up`: there is nothing more for now.
    """

    data: bytes
    runs: list[tuple[int, bool]]
    begin: Position
    end: Position
    notice: str = ""
    caught_up: bool = False


@dataclass(slots=True)
class Piece:
    """A batch of a source."""

    source: LogSource
    batch: Batch


@dataclass(frozen=True)
class Reading:
    """The way to read a source.

    With `timed`, each line begins with its time (see TIME_WIDTH), the parts of a long line only once. With `after`, an
    earlier batch's position, reading goes on there, and the window's `since` and `tail` have had their effect already.
    With `follow`, reading goes on with what is logged from now on, until the event is set: then what is there
    is still read, and the reading ends. Without it, it ends where the log ended when the reading began.
    """

    window: Window = field(default_factory=Window)
    timed: bool = False
    after: Position | None = None
    follow: asyncio.Event | None = None


class LogsNowhere(NotReady):
    """A container that was told to log nowhere: beside others that is no error."""


class LogReader(Protocol):
    """Reads the logs of containers with one driver."""

    def read(self, source: LogSource, reading: Reading) -> AsyncGenerator[Batch]:
        """The lines of a source, in batches of at most about LINE_LIMIT bytes; the first with `caught_up` comes soon.

        Raises NotReady or Unavailable with what to do where the log cannot be read. Closing the iterator ends
        every process and closes every file that it opened.
        """
        ...
