"""Where in the journal a reading goes on, where a tail begins, and what journald says that it dropped."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent.logs.journald.sd_journal import Journal

SUPPRESSED = "a596d6fe7bfa4994828e72309e95d61e"  # SD_MESSAGE_JOURNAL_DROPPED of systemd's sd-messages.h
PLACE = re.compile(r"([01])([01])([>=@])(\d{1,17}),([a-z0-9=;]+)", re.A)
TAIL_SEARCH = 1000  # entries that a tail looks back further for where its first lines begin


@dataclass(frozen=True)
class JournalCursor:
    """Where reading goes on: `how` is > (after the entry `cursor`), = (at it) or @ (at the time `cursor`, µs).

    `begun`: whether standard output and error are within a line there. `said`: up to which time (µs) it was said what
    journald dropped. As text: two digits for `begun`, `how`, `said`, a comma, `cursor`.
    """

    how: str
    cursor: str
    said: int
    begun: tuple[bool, bool] = (False, False)

    def __str__(self) -> str:
        """Text for `parse`."""
        return f"{self.begun[0]:d}{self.begun[1]:d}{self.how}{self.said},{self.cursor}"

    @classmethod
    def parse(cls, text: str) -> "JournalCursor":
        """From `str`; raises ValueError."""
        found = PLACE.fullmatch(text)
        if not found:
            raise ValueError("not a place in the journal")
        output, error, how, said, cursor = found.groups()
        if how == "@" and not (cursor.isdigit() and len(cursor) < 18):
            raise ValueError("not a time")
        return cls(how, cursor, int(said), (output == "1", error == "1"))


class Drops:
    """journald's own entries that say how many messages of a user's containers it dropped, in order."""

    def __init__(self, opened: Callable[[], Journal], user: int) -> None:
        """`opened` opens the journal for a match of SUPPRESSED. journald counts a user's containers as one service."""
        self._opened = opened
        self._journal = opened()
        self.after = 0  # the time up to which they were taken
        self._service = f"user@{user}.service"
        self.due = math.inf  # when the next one was logged, in microseconds

    def seek(self, microseconds: int) -> None:
        """To the first one that is not older."""
        self.after = microseconds - 1
        self._journal.seek_time(microseconds)
        self._advance()

    def reopen(self) -> None:
        """Take note of files that came and went: it has no inotify of its own, since a user has but 128."""
        self.close()
        self._journal = self._opened()
        self.seek(self.after + 1)

    def close(self) -> None:
        """Close its files."""
        self._journal.close()

    def look(self) -> float:
        """When the next one was logged, also if that was only now."""
        if self.due == math.inf:
            self._advance()
        return self.due

    def take(self, until: float) -> Iterator[str]:
        """What those logged up to a time say."""
        while self.due <= until:
            self.after = self._journal.time()
            text = self._journal.get(b"MESSAGE").decode(errors="replace")
            if self._service in text:
                yield f"journald, because of its rate limit: {text}: lines may be missing"
            self._advance()

    def _advance(self) -> None:
        self.due = self._journal.time() if self._journal.next() else math.inf


def entry(journal: Journal) -> tuple[bool, bytes]:
    """Whether the entry where the journal stands is standard error, and its message."""
    return journal.get(b"PRIORITY") == b"3", journal.get(b"MESSAGE")  # conmon gives output 6 and errors 3


def find_tail(journal: Journal, count: int, since: int) -> tuple[str, int]:
    """Go back from the entry where the journal stands over `count` lines (at least 1) that are not older than `since`.

    Returns the cursor of the entry where they begin, empty where there are none, and how many other lines end there or
    later. A line whose beginning lies further back than TAIL_SEARCH entries of the other stream loses it.
    """
    ends = [0, 0]  # of each stream, the lines that end at the entries we went over
    at_start = [True, True]  # whether the earliest of these entries is known to begin a line
    begin, further = "", 0
    while journal.time() >= since:
        is_stderr, message = entry(journal)
        whole = message.endswith(b"\n")
        at_start[is_stderr] |= whole
        if sum(ends) >= count:
            further += 1
            if all(at_start) or further > TAIL_SEARCH:
                break
        ends[is_stderr] += whole or not ends[is_stderr]
        at_start[is_stderr] = False
        begin = journal.cursor()
        if not journal.previous():
            break
    return begin, max(0, sum(ends) - count)
