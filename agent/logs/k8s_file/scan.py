"""Scan the files of a k8s-file log: records to lines, with positions between them.

A place is `MARK[,o[~][=MARK]][,e[~][=MARK]]`: the mark to resume from (see Mark), then the unfinished lines of stdout
(`o`) and stderr (`e`): `~` if a part of the line was passed on, `=` with the mark of its first record that was not.
"""

from collections.abc import Callable
from pathlib import Path
from threading import Lock

from agent.logs.k8s_file import seek, segments
from agent.logs.k8s_file.records import RecordLines, joined, kind_of, separated, time_text
from agent.logs.k8s_file.seek import SegmentView
from agent.logs.k8s_file.segments import Mark, Segment
from agent.logs.model import Batch, Position, Window

BLOCK = 512 * 1024  # bytes of records for one batch: fits into a processor's cache, which saves a third of the time
GATHERED = 8 * BLOCK  # bytes at most between the start of a line and the position to resume from
MISSING = "lines may be missing: the log was rotated faster than it was read"
TRUNCATED = "the log file was truncated; lines may be missing"
NOT_WATCHED = "lines may be missing: the log was rotated unobserved, or several times at once"

_Runs = list[tuple[int, bool]]


class Scan:
    """One reading of a log. It blocks: use threads for all but small amounts, and one call at a time."""

    def __init__(self, parts: list[Segment], *, timed: bool, until: int | None) -> None:
        """Start with the oldest segment; takes over the segments, which `close` closes."""
        self._parts = parts
        self._offset = parts[0].begin
        self._timed = timed
        self._until = until
        self._lines = RecordLines(timed, until)
        self._skip = 0
        self._fed = 0  # bytes given to `_lines`, which counts the starts of records in them
        self._bases: list[tuple[int, Mark]] = []  # the marks at some of these counts
        self.notice = ""  # for the next batch
        self._lock = Lock()
        self._busy = self._closed = False

    # --- where to begin ---

    def seek(self, window: Window) -> None:
        """Move to the start of the window."""
        view = SegmentView(self._parts)
        low = 0 if window.since is None else seek.since(view, time_text(window.since))
        open_lines: dict[bool, int] = {}
        if window.tail is not None:
            until = None if window.until is None else time_text(window.until)
            low, open_lines = seek.tail(view, low, window.tail, until)
        for stderr, start in open_lines.items():
            index, offset = view.locate(start)
            self._gather(view, stderr, self._parts[index].mark(offset), start, low)
        self._go(*view.locate(low))

    def resume(self, position: Position) -> None:
        """Move to a position; sets `notice` if lines after it are missing. Raises ValueError."""
        first, *states = position.place.split(",")
        mark = Mark.parse(first)
        index = self._index(mark)
        if index is None:
            same_file = [i for i, part in enumerate(self._parts) if part.inode == mark.inode]
            self.notice = TRUNCATED if same_file else MISSING
            self._go(same_file[-1] if same_file else 0, self._parts[same_file[-1] if same_file else 0].begin)
            return
        view = SegmentView(self._parts)
        here = view.offset(index, mark.offset)
        for state in states:
            name, equals, start = state.partition("=")
            if name.rstrip("~") not in ("o", "e"):
                raise ValueError("not a place")
            stderr = name[0] == "e"
            if name.endswith("~"):
                self._lines.resume(stderr)
            if equals:
                begin = Mark.parse(start)
                begin_index = self._index(begin)
                if begin_index is not None:
                    self._gather(view, stderr, begin, view.offset(begin_index, begin.offset), here)
        self._skip = position.skip
        self._go(index, mark.offset)

    def _index(self, mark: Mark) -> int | None:
        return next((index for index, part in enumerate(self._parts) if part.has(mark)), None)

    def _go(self, index: int, offset: int) -> None:
        for part in self._parts[:index]:
            part.close()
        del self._parts[:index]
        self._offset = offset

    def _gather(self, view: SegmentView, stderr: bool, mark: Mark, start: int, end: int) -> None:
        """Read the parts of a line before the start of the reading. Raises ValueError."""
        if end - start > GATHERED:
            raise ValueError("not a place of a reading")
        records = separated(view.pread(end - start, start))
        parts = [record for record, _ in records if (kind_of(record) or (not stderr, True)) == (stderr, False)]
        if parts:
            self._bases.append((self._fed, mark))
            self._lines.feed(b"\n".join([*parts, b""]), self._fed)
            self._fed += 1

    # --- reading ---

    def place(self) -> str:
        """Return the present place."""
        text = str(self._parts[0].mark(self._offset))
        for stderr, name in ((False, "o"), (True, "e")):
            waiting, passed = self._lines.waiting(stderr), self._lines.passed(stderr)
            if waiting >= 0:
                text += f",{name}{'~' if passed else ''}={self._mark(waiting)}"
            elif passed:
                text += f",{name}~"
        return text

    def _mark(self, count: int) -> Mark:
        base, mark = next(base for base in reversed(self._bases) if base[0] <= count)
        return Mark(mark.inode, mark.stamp, mark.offset + count - base)

    def read(self) -> Batch | None:
        """Return the next batch, possibly without data; None if there is nothing for now."""
        begin = self.place()
        at = self._fed
        block = self._block()
        if not block:
            return None
        data, runs = self._lines.feed(block, at)
        if not self._skip:
            long_lines = [self._flush(stderr) for stderr in (False, True) if self._is_long(stderr)]
            if long_lines:
                data, runs = _concatenated([(data, runs), *long_lines])
        self._forget_bases()
        return self._batch(begin, data, runs)

    def flush(self, *, at_end: bool = False) -> Batch:
        """Return unfinished lines; with `at_end`, including an unfinished record."""
        begin = self.place()
        self._skip = 0
        pieces = [self._flush(False), self._flush(True)]
        for record, _ in separated(self._rest()) if at_end else ():
            kind = kind_of(record)
            if kind is not None:
                whole = RecordLines(self._timed, self._until)
                if self._lines.passed(kind[0]):
                    whole.resume(kind[0])
                data, _ = whole.feed(record, 0)
                text = data.removesuffix(b"\n") or whole.flush(kind[0])
                pieces.append((text, [(len(text), kind[0])]))
        data, runs = _concatenated(pieces)
        self._forget_bases()
        return self._batch(begin, data, runs)

    def caught_up(self) -> Batch:
        """Return a batch without lines, with `caught_up`."""
        here = Position(self.place(), self._skip)
        notice, self.notice = self.notice, ""
        return Batch(b"", [], here, here, notice, caught_up=True)

    def is_unfinished(self) -> bool:
        """Tell if there are parts of a line that have not been passed on."""
        return self._lines.waiting(False) >= 0 or self._lines.waiting(True) >= 0

    def backlog(self) -> int:
        """Return the number of unread bytes of the present file."""
        return self._parts[0].end() - self._offset

    def unlimit(self) -> None:
        """Read beyond the end that the log had when it was opened."""
        for part in self._parts:
            part.limit = None

    def renew(self, path: Path) -> bool:
        """Detect truncation and rotation at the end of the files; tell if there may be something to read."""
        here = self._parts[-1]
        if len(self._parts) == 1 and here.contents.size() < self._offset:
            here.was_truncated()
            self.notice = TRUNCATED
            self._offset = here.begin
            self._lines = RecordLines(self._timed, self._until)
            return True
        try:
            if path.stat().st_ino == here.inode:
                return False
            present = segments.open_all(path)
        except OSError:
            return False  # removed
        same_file = [index for index, part in enumerate(present) if part.inode == here.inode]
        known = same_file[-1] + 1 if same_file else 0
        if not same_file and len(present) > 1:
            self.notice = MISSING
        for part in present[:known]:
            part.close()
        self._parts += present[known:]
        self.unlimit()
        return True

    def _block(self) -> bytes:
        """Return the next whole records; none if there are none for now."""
        while True:
            block = self._parts[0].pread(BLOCK, self._offset)
            end = _end_of_records(block)
            if end:
                self._advance(end)
                return block if end == len(block) else block[:end]
            if len(self._parts) == 1:
                return b""
            if block:
                return self._across(block)
            self._enter()

    def _across(self, block: bytes) -> bytes:
        """Join the rest of a file, which ends within a record, with the next files."""
        pieces, ending = [block], b""
        for part in self._parts[1:]:
            if part.gap:
                ending = b"\n"
                break
            following = part.pread(BLOCK, part.begin)
            end = _end_of_records(following)
            pieces.append(following[:end] if end else following)
            if end:
                break
        else:
            return b""
        for number, piece in enumerate(pieces):
            if number:
                self._enter()
            self._advance(len(piece))
        return b"".join([*pieces, ending])

    def _rest(self) -> bytes:
        """Return the unfinished record at the end of the log."""
        view = SegmentView(self._parts)
        return view.pread(BLOCK, view.offset(0, self._offset))

    def _enter(self) -> None:
        self._parts.pop(0).close()
        self._offset = self._parts[0].begin
        if self._parts[0].gap:
            self.notice = NOT_WATCHED

    def _advance(self, count: int) -> None:
        self._bases.append((self._fed, self._parts[0].mark(self._offset)))
        self._fed += count
        self._offset += count

    def _is_long(self, stderr: bool) -> bool:
        """Tell if the stream's unfinished line is longer than BLOCK."""
        waiting = self._lines.waiting(stderr)
        return 0 <= waiting <= self._fed - BLOCK

    def _flush(self, stderr: bool) -> tuple[bytes, _Runs]:
        text = self._lines.flush(stderr)
        return text, [(len(text), stderr)]

    def _forget_bases(self) -> None:
        waiting = [count for count in (self._lines.waiting(False), self._lines.waiting(True)) if count >= 0]
        low = min(waiting, default=self._fed)
        while self._bases and (not waiting or (len(self._bases) > 1 and self._bases[1][0] <= low)):
            self._bases.pop(0)

    def _batch(self, begin: str, data: bytes, runs: _Runs) -> Batch:
        skipped = 0
        if self._skip:
            data, runs, skipped = _without_first(data, runs, self._skip)
            self._skip -= skipped
        notice, self.notice = self.notice, ""
        return Batch(data, runs, Position(begin, skipped), Position(self.place(), self._skip), notice)

    # --- closing ---

    def run(self, work: Callable[[], Batch | None]) -> Batch | None:
        """Run `work` (in a thread) unless this is closed, and defer closing until its end."""
        with self._lock:
            if self._closed:
                return None
            self._busy = True
        try:
            return work()
        finally:
            with self._lock:
                self._busy = False
                if self._closed:
                    self._close_files()

    def close(self) -> None:
        """Close all files, at the end of a `run` in progress."""
        with self._lock:
            self._closed = True
            if not self._busy:
                self._close_files()

    def _close_files(self) -> None:
        while self._parts:
            self._parts.pop().close()


def _end_of_records(block: bytes) -> int:
    """Return the end of the last whole record; if BLOCK bytes have none, they are NULs, or damaged."""
    return block.rfind(b"\n") + 1 or (block.rfind(b"\0") + 1 or len(block) if len(block) >= BLOCK else 0)


def _concatenated(pieces: list[tuple[bytes, _Runs]]) -> tuple[bytes, _Runs]:
    return b"".join([data for data, _ in pieces]), joined(run for _, runs in pieces for run in runs)


def _without_first(data: bytes, runs: _Runs, lines: int) -> tuple[bytes, _Runs, int]:
    """Remove the first `lines` lines, as far as there are; return data, runs, and the number of lines removed."""
    rest = data.split(b"\n", lines)
    skipped = len(rest) - 1
    to_drop = len(data) - len(rest[-1])
    remaining = []
    for size, stderr in runs:
        dropped = min(size, to_drop)
        to_drop -= dropped
        remaining.append((size - dropped, stderr))
    return rest[-1], joined(remaining), skipped
