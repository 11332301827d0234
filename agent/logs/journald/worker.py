"""The process that reads the journal for reader.py: a JSON object as its argument, frames on its stdout.

A process of its own, since libsystemd blocks and takes 15 µs for each message: it decompresses conmon's command line
for every field lookup. Imports no more than it needs, to start in 20 ms.

A frame consists of two little-endian 32-bit numbers, the lengths of a JSON object and of the data; the object; the
data. The object has `begin` and `end` (places as text), `skip` and `end_skip` (lines after them), `runs`, `notice` and
`caught_up`, see model.Batch; or `error`, one of denied, missing, library, place and failed, with `text`, in the last
frame. The end of our stdin ends a reading that follows.
"""

import ctypes
import errno
import json
import os
import select
import struct
import sys
import time
from dataclasses import replace
from typing import Any

from agent.logs.journald.cursors import SUPPRESSED, Drops, JournalCursor, entry, find_tail
from agent.logs.journald.lines import JournalLines, Runs
from agent.logs.journald.pipe_watch import PipeWatch
from agent.logs.journald.sd_journal import Journal, is_readable, load

BATCH = 256 * 1024  # bytes of lines for one frame
HELD = 1024 * 1024  # bytes of lines held while one is unfinished
QUIET = 0.25  # seconds without new data after which an unfinished line is passed on
DRAIN = 0.3  # seconds after the request to end in which journald may still write earlier messages
ACTIVE = 2.0  # seconds after an entry in which more are expected soon
POLL = 0.02, 0.1  # seconds between polls, active and otherwise: journald delays its inotify events by up to 0.25 s
EXPECTED = 0.03  # seconds after an inotify event in which an entry is expected
SOON = 0.003  # seconds between polls then, and the minimum: many lines then come in batches
NEVER = 1 << 62
POSITION_LOST = "lines may be missing: the journal no longer has the position to resume from"


class JournalReading:
    """One reading.

    The request has `identifier`, `since` and `until` (µs or null), `tail`, `timed`, `place`, `skip`, `follow`,
    `directory` (null: this machine's journal), and `user` (a number).
    """

    def __init__(self, request: dict[str, Any]) -> None:
        """Open the journal and find the start; raises OSError, and ValueError for an invalid place."""
        library = _library()
        self._follow: bool = request["follow"]
        self._since: int = request["since"] or 0
        self._until: int = NEVER if request["until"] is None else request["until"]
        self._journal = Journal(library, {"CONTAINER_ID_FULL": request["identifier"]}, request["directory"])
        dropped = {"MESSAGE_ID": SUPPRESSED, "_TRANSPORT": "driver"}
        self._drops = Drops(lambda: Journal(library, dropped, request["directory"]), request["user"])
        self._position_lost = False  # the entry to resume from was not found
        self._unread = False  # the present entry has not been read yet
        self._last = self._last_in_window()
        self._place, self._skip = self._begin(request)
        self._lines = JournalLines(timed=request["timed"], skip=self._skip, in_line=self._place.in_line)
        self._poll = select.poll()
        self._last_event = 0.0  # time.monotonic() of the last inotify event
        if self._follow:
            for descriptor in (0, self._journal.fileno()):
                self._poll.register(descriptor, select.POLLIN)
            self._pipe_watch = PipeWatch(self._journal.fileno(), request["identifier"])

    def close(self) -> None:
        """Close all files."""
        self._journal.close()
        self._drops.close()

    def run(self) -> None:
        """Write all frames."""
        if self._position_lost:  # libsystemd silently continues somewhere else, as does journalctl
            self._send_notice(POSITION_LOST, self._present(before=True) if self._unread else self._place)
        if self._follow:
            self._run_following()
            return
        if self._last is not None:
            self._read(self._last)
        if self._drops.due < self._until:  # of those after our last line, only the first can concern us
            self._emit(caught_up=False)
            self._report_drops(self._drops.due)
        self._emit(caught_up=True)

    # --- start and end ---

    def _last_in_window(self) -> str | None:
        """Return the cursor of the last entry before `until`; None if there is none."""
        if self._until == NEVER:
            self._journal.seek_tail()
        else:
            self._journal.seek_time(self._until - 1)
        return self._journal.cursor() if self._journal.previous() else None

    def _begin(self, request: dict[str, Any]) -> tuple[JournalCursor, int]:
        """Move to the start of the reading; return its place, and the number of lines to skip from there."""
        if request["place"] is not None:
            self._since = 0
            place = JournalCursor.parse(request["place"])
            self._resume(place)
            return place, int(request["skip"])
        if request["tail"] is not None and self._last is not None:
            return self._begin_tail(int(request["tail"]), self._last)
        return self._begin_at(self._since), 0

    def _begin_at(self, since: int) -> JournalCursor:
        if since:
            self._journal.seek_time(since)
        else:
            self._journal.seek_head()
        self._unread = self._journal.next()
        first_time = self._journal.time() if self._unread else int(time.time() * 1e6)
        self._drops.seek(since or first_time)
        reported = self._drops.after
        if self._unread:
            return JournalCursor("=", self._journal.cursor(), reported)
        return JournalCursor("@", str(since), reported)

    def _begin_tail(self, count: int, last: str) -> tuple[JournalCursor, int]:
        self._seek(last)
        begin, skip = find_tail(self._journal, count, self._since) if count else ("", 0)
        self._unread = bool(begin)
        self._seek(begin or last)
        self._drops.seek(self._journal.time())
        reported = self._drops.after
        return JournalCursor("=", begin, reported) if begin else JournalCursor(">", last, reported), skip

    def _resume(self, place: JournalCursor) -> None:
        if place.mode == "@":
            self._begin_at(int(place.cursor))
        else:
            has_entry = self._seek(place.cursor)
            self._position_lost = not (has_entry and self._journal.is_at(place.cursor))
            self._unread = has_entry and (self._position_lost or place.mode == "=")
        self._drops.seek(place.reported + 1)

    def _seek(self, cursor: str) -> bool:
        try:
            self._journal.seek_cursor(cursor)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise ValueError("not a cursor of a journal") from None
        return self._journal.next()

    # --- reading ---

    def _read(self, last: str | None) -> bool:
        """Read up to the entry `last`, or to the end if None; tell if the end of the window was reached."""
        journal, lines, since, until = self._journal, self._lines, self._since, self._until
        last_time = _time_of(last) if last else -1
        while self._unread or journal.next():
            self._unread = False
            now = journal.time()
            if self._drops.due <= now:
                self._emit(caught_up=False, before=True)
                self._report_drops(now)
            if since <= now < until:
                lines.add(now, *entry(journal))
                if lines.size >= BATCH and (not lines.unfinished or lines.size >= HELD):
                    self._emit(caught_up=False)
            elif last is None and now >= until:
                return True
            if now == last_time and journal.is_at(last or ""):
                return True
        return False

    def _run_following(self) -> None:
        """Read and follow until the request to end, or the end of the window."""
        first, stopped, changed = True, 0.0, 0.0
        while True:
            size_before = self._lines.size
            ended = self._read(None) or time.time() * 1e6 > self._until + DRAIN * 1e6
            if self._drops.poll() < self._until:
                self._emit(caught_up=False)
                self._report_drops(self._until)
            now = time.monotonic()
            changed = now if self._lines.size > size_before else changed
            if first or changed == now:
                self._pipe_watch.watch(self._journal.get(b"_PID"))
            ended = ended or bool(stopped and now - stopped > DRAIN)
            is_due = ended or not self._lines.unfinished or now - changed > QUIET
            if is_due and (first or self._lines.size):
                self._emit(caught_up=True)
                first = False
            if ended:
                return
            pause = SOON if now - self._last_event < EXPECTED else POLL[now - changed > ACTIVE]
            if self._wait(pause, bool(stopped)):
                stopped = stopped or now

    def _wait(self, seconds: float, stopped: bool) -> bool:
        """Wait for changes, at most `seconds`; tell if there is a request to end."""
        if stopped:
            time.sleep(seconds)
        ready = {descriptor for descriptor, _ in self._poll.poll(0 if stopped else seconds * 1000)}
        if ready - {0}:
            if self._journal.process():
                self._drops.reopen()
            self._last_event = time.monotonic()
            time.sleep(SOON)
        return 0 in ready

    def _report_drops(self, until: float) -> None:
        """Send notices of the messages dropped up to a time."""
        for notice in self._drops.take(until):
            self._send_notice(notice, replace(self._place, reported=self._drops.after))

    def _send_notice(self, notice: str, end: JournalCursor) -> None:
        """Send a batch without lines."""
        begin, self._place = self._place, end
        self._send(begin, self._skip, notice=notice)

    def _emit(self, *, caught_up: bool, before: bool = False) -> None:
        """Send a batch of the lines so far, which ends after the present entry, or `before` it."""
        lines, begin, skip = self._lines, self._place, self._skip
        if not lines.skips:
            lines.flush()
            self._place, self._skip = self._present(before), 0
        data, runs = lines.take()
        if data or caught_up:
            self._send(begin, skip, data, runs, caught_up=caught_up)

    def _send(
        self,
        begin: JournalCursor,
        skip: int,
        data: bytes = b"",
        runs: Runs | None = None,
        *,
        notice: str = "",
        caught_up: bool = False,
    ) -> None:
        ends = {"begin": str(begin), "skip": skip, "end": str(self._place), "end_skip": self._skip}
        send({**ends, "runs": runs or [], "notice": notice, "caught_up": caught_up}, data)

    def _present(self, before: bool) -> JournalCursor:
        try:
            return JournalCursor("=" if before else ">", self._journal.cursor(), self._drops.after, self._lines.in_line)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            return self._place  # there is no present entry: nothing was read yet


class NoLibrary(Exception):
    """libsystemd cannot be loaded."""


def _library() -> ctypes.PyDLL:
    try:
        return load()
    except OSError as error:
        raise NoLibrary(str(error)) from None


def _time_of(cursor: str) -> int:
    """Return the time of a cursor's entry: its field t, in hexadecimal microseconds."""
    return next(int(field[2:], 16) for field in cursor.split(";") if field.startswith("t="))


def send(header: dict[str, Any], data: bytes = b"") -> None:
    """Write a frame."""
    head = json.dumps(header, separators=(",", ":")).encode()
    rest = memoryview(struct.pack("<II", len(head), len(data)) + head + data)
    while rest:
        rest = rest[os.write(1, rest) :]


def _readable(user: int) -> bool | None:
    """Call is_readable with retries: while journald rotates its file, there is none for a moment."""
    for pause in (0.05, 0.2):
        if is_readable(user):
            return True
        time.sleep(pause)
    return is_readable(user)


def main() -> None:
    """Read the journal as requested by the argument."""
    request = json.loads(sys.argv[1])
    try:
        readable = True if request["directory"] else _readable(request["user"])
        if not readable:
            send({"error": "denied" if readable is False else "missing", "text": ""})
            return
        JournalReading(request).run()
    except BrokenPipeError:
        return
    except NoLibrary as error:
        send({"error": "library", "text": str(error)})
    except ValueError as error:
        send({"error": "place", "text": str(error)})
    except OSError as error:
        send({"error": "failed", "text": error.strerror or str(error)})
