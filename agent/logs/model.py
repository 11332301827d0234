"""Types of the log readers' interface; times are nanoseconds since the epoch, or text that sorts alike."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mcp.shared.errors import NotReady

FILE_DRIVERS = ("k8s-file", "json-file")  # for podman, the second is an alias of the first
LINE_LIMIT = 1024 * 1024  # bytes; a longer line is passed on in parts, to bound memory
TIME_WIDTH = 31  # bytes of the prefix of a timed line: `2026-11-22T10:19:26.532885487Z `, UTC, always nine digits


@dataclass(frozen=True)
class Window:
    """A part of a log: the last `tail` lines of those with `since` <= time < `until`; None is no bound."""

    since: int | None = None
    until: int | None = None
    tail: int | None = None


@dataclass(frozen=True)
class LogSource:
    """A container with a log; `identifier` is its full id, `path` the file of the k8s-file driver."""

    service: str
    component: str
    container: str
    identifier: str
    driver: str
    path: Path | None = None

    @property
    def has_file(self) -> bool:
        """Tell if its log is a file that can be read without podman."""
        return self.driver in FILE_DRIVERS and self.path is not None


@dataclass(frozen=True)
class Position:
    """A position between two lines of a source: `skip` lines after `place`, which is opaque to all but its reader."""

    place: str
    skip: int = 0

    def __str__(self) -> str:
        """Return the position as text for a cursor."""
        return f"{self.place}+{self.skip}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Parse the text of a position; raises ValueError."""
        place, plus, skip = text.rpartition("+")
        if not plus or not (skip.isascii() and skip.isdigit() and len(skip) < 19):
            raise ValueError("not a position")
        return cls(place, int(skip))


@dataclass(slots=True)
class Batch:
    """Consecutive lines of one source, in its own order, each with its newline.

    Only the last line of a stream may lack its newline: the rest of it follows in a later batch, or never.

    Attributes:
        data: The lines.
        runs: The streams of consecutive parts of `data`, as (length in bytes, True for stderr).
        begin: Position before the batch.
        end: Position after the batch.
        notice: A message to show before the data, as of missing lines.
        caught_up: True if there is nothing more for now.
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
    """Parameters for reading a source.

    Attributes:
        window: The part to read.
        timed: Prefix each line with its time (see TIME_WIDTH), the parts of a long line only once.
        after: Position of an earlier batch to resume from; the window's `since` and `tail` no longer apply.
        follow: Follow the log until the event is set, then read the rest. None: read up to the present end.
    """

    window: Window = field(default_factory=Window)
    timed: bool = False
    after: Position | None = None
    follow: asyncio.Event | None = None


class LoggingDisabled(NotReady):
    """The container's log driver is `none`; among several components that is not an error."""


class LogReader(Protocol):
    """A reader of container logs of one driver."""

    def read(self, source: LogSource, reading: Reading) -> AsyncGenerator[Batch]:
        """Yield the lines of a source in batches of about LINE_LIMIT bytes at most.

        A batch with `caught_up` follows as soon as the present end of the log is reached. Closing the iterator ends
        all processes and closes all files that it opened.

        Raises:
            NotReady, Unavailable: The log cannot be read; the hint says what to do.
        """
        ...
