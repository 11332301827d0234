"""Positions in the journal: cursors, the start of a tail, and journald's notices of dropped messages."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent.logs.journald.sd_journal import Journal

SUPPRESSED = "a596d6fe7bfa4994828e72309e95d61e"  # SD_MESSAGE_JOURNAL_DROPPED of systemd's sd-messages.h
PLACE = re.compile(r"([01])([01])([>=@])(\d{1,17}),([a-z0-9=;]+)", re.A)
TAIL_SEARCH = 1000  # further entries that a tail searches for the start of its first lines


@dataclass(frozen=True)
class JournalCursor:
    """A position in the journal to resume from.

    As text: two digits for `in_line`, `mode`, `reported`, a comma, `cursor`.

    Attributes:
        mode: `>` after the entry `cursor`, `=` at it, `@` at the time `cursor` in µs.
        cursor: Cursor of sd-journal, or a time.
        reported: The time in µs up to which dropped messages were reported.
        in_line: True for stdout and stderr if they are within a line.
    """

    mode: str
    cursor: str
    reported: int
    in_line: tuple[bool, bool] = (False, False)

    def __str__(self) -> str:
        """Return the position as text."""
        return f"{self.in_line[0]:d}{self.in_line[1]:d}{self.mode}{self.reported},{self.cursor}"

    @classmethod
    def parse(cls, text: str) -> "JournalCursor":
        """Parse the text of a position; raises ValueError."""
        match = PLACE.fullmatch(text)
        if not match:
            raise ValueError("not a place in the journal")
        output, error, mode, reported, cursor = match.groups()
        if mode == "@" and not (cursor.isdigit() and len(cursor) < 18):
            raise ValueError("not a time")
        return cls(mode, cursor, int(reported), (output == "1", error == "1"))


class Drops:
    """journald's own entries about dropped messages of a user's containers, in order."""

    def __init__(self, open_journal: Callable[[], Journal], user: int) -> None:
        """Take a function that opens the journal for a match of SUPPRESSED, and the containers' user.

        journald counts all containers of a user as one service.
        """
        self._open_journal = open_journal
        self._journal = open_journal()
        self.after = 0  # the time up to which the entries were taken
        self._service = f"user@{user}.service"
        self.due = math.inf  # the time of the next entry in microseconds

    def seek(self, microseconds: int) -> None:
        """Move to the first entry that is not older."""
        self.after = microseconds - 1
        self._journal.seek_time(microseconds)
        self._advance()

    def reopen(self) -> None:
        """Reopen the journal to notice rotated files: it has no inotify of its own, of which a user has only 128."""
        self.close()
        self._journal = self._open_journal()
        self.seek(self.after + 1)

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def poll(self) -> float:
        """Return the time of the next entry, including new ones."""
        if self.due == math.inf:
            self._advance()
        return self.due

    def take(self, until: float) -> Iterator[str]:
        """Yield a notice for each entry up to a time."""
        while self.due <= until:
            self.after = self._journal.time()
            text = self._journal.get(b"MESSAGE").decode(errors="replace")
            if self._service in text:
                yield f"journald, because of its rate limit: {text}: lines may be missing"
            self._advance()

    def _advance(self) -> None:
        self.due = self._journal.time() if self._journal.next() else math.inf


def entry(journal: Journal) -> tuple[bool, bytes]:
    """Return (is stderr, message) of the journal's present entry."""
    return journal.get(b"PRIORITY") == b"3", journal.get(
        b"MESSAGE"
    )  # conmon logs stdout with priority 6, stderr with 3


def find_tail(journal: Journal, count: int, since: int) -> tuple[str, int]:
    """Move back from the present entry over `count` lines (at least 1) that are not older than `since`.

    Returns the cursor of the entry where they begin, empty if there are none, and the number of other lines that end
    at or after it. A line that begins more than TAIL_SEARCH entries before those loses its beginning.
    """
    ends = [0, 0]  # for each stream, the number of lines that end at the entries passed
    at_start = [True, True]  # for each stream, if the earliest entry passed is known to begin a line
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
