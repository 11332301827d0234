"""The records of a k8s-file log (the CRI format, as conmon's ctr_logging.c writes it) turned into lines.

A record is `2026-11-22T10:19:26.532885487+00:00 stdout F text`: local time with nine digits and its offset, 35 bytes in
all, the stream, F for the end of a line or P for a part of one, and what was written, in which anything but a newline
may stand. Parts of a line are records of the same stream up to its next F; the other stream's may lie between.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

HEADER = 45  # bytes in front of the text
TIME = 29  # of them the time without its offset
NO_TIME = b"1970-01-01T00:00:00.000000000"  # of a record that is damaged
_UTC = b"+00:00"
_TAGS = {b" stdout F ": (False, True), b" stdout P ": (False, False)} | {
    b" stderr F ": (True, True),
    b" stderr P ": (True, False),
}
_WHOLE = {b" stdout F ", b" stderr F "}
_ERROR = b" stderr F "
_RECORD = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}[+-]\d\d:\d\d std(?:out|err) [FP] ")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_text(moment: int) -> bytes:
    """A moment (nanoseconds since the epoch) as records have it, in UTC; such texts sort as the moments do."""
    seconds, fraction = divmod(moment, 1_000_000_000)
    try:
        return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%%09d").encode() % fraction
    except OverflowError:
        return b"9" if moment > 0 else b"0"  # beyond the calendar: after, or before, everything


_minutes: dict[bytes, bytes] = {}  # a local minute with its offset -> the same in UTC


def in_utc(record: bytes) -> bytes:
    """The record with its time in UTC; as it is where it has none."""
    zone = record[29:35]
    if zone == _UTC:
        return record
    key = record[:16] + zone
    minute = _minutes.get(key)
    if minute is None:
        if not _RECORD.match(record):
            return record
        try:
            moment = datetime.strptime(key.decode(), "%Y-%m-%dT%H:%M%z").astimezone(UTC)
        except (ValueError, OverflowError):
            return record
        if len(_minutes) > 10_000:  # a log of a week; a bound, not a cache that must be right
            _minutes.clear()
        minute = _minutes[key] = moment.strftime("%Y-%m-%dT%H:%M").encode()
    return minute + record[16:29] + _UTC + record[35:]


def kind_of(record: bytes) -> tuple[bool, bool] | None:
    """Whether it is stderr, and whether it ends a line; None of what is no record."""
    return _TAGS.get(record[35:45])


def time_of(record: bytes) -> bytes | None:
    """Its time in UTC, as `time_text` has it; None of what is no record."""
    return in_utc(record)[:TIME] if _RECORD.match(record) else None


def mended(record: bytes) -> bytes:
    """Something that is no record as one, so that no text is lost.

    A full disk cuts a record, and the next one follows in the same line: where the cut was in the header, the next
    counts. Anything else is text on stdout without a time.
    """
    found = _RECORD.search(record, 0, 2 * HEADER)
    return record[found.start() :] if found else NO_TIME + b"+00:00 stdout F " + record


class _Line:
    """A line of one stream that has begun: what of it has not been passed on yet."""

    __slots__ = ("at", "begun", "parts", "passed")

    def __init__(self) -> None:
        self.begun = False  # it has: no second time in front of the rest
        self.passed = False  # a part of it has been passed on
        self.parts: list[bytes] = []
        self.at = -1  # where the first of the parts begins; -1: there are none


class RecordLines:
    """Makes lines of records; what of a line has no end yet is kept back until `flush`.

    A line is passed on when it ends, so the order is the same wherever the reading began, and however the records
    were cut into blocks.
    """

    __slots__ = ("_lines", "_timed", "_until")

    def __init__(self, timed: bool, until: int | None) -> None:
        """`timed` puts `2026-11-22T10:19:26.532885487Z ` in front of each line; `until` (ns) drops what is later."""
        self._timed = timed
        self._until = None if until is None else time_text(until)
        self._lines = (_Line(), _Line())

    def passed(self, stderr: bool) -> bool:
        """Whether a part of an unfinished line of that stream has been passed on."""
        return self._lines[stderr].passed

    def waiting(self, stderr: bool) -> int:
        """Where the first record lies of which nothing has been passed on (as `feed`'s `at` counts); -1: none."""
        return self._lines[stderr].at

    def resume(self, stderr: bool) -> None:
        """A line of that stream has begun, and a part of it was passed on."""
        self._lines[stderr].begun = self._lines[stderr].passed = True

    def feed(self, block: bytes, at: int) -> tuple[bytes, list[tuple[int, bool]]]:
        """The lines that end in a block of whole records, and their runs (see Batch); the block begins at `at`."""
        records = block.split(b"\n")
        if not records[-1]:
            records.pop()
        if self._timed or self._until is not None:
            if {record[29:35] for record in records} != {_UTC}:
                sizes = [len(record) for record in records]
                return self._one_by_one([in_utc(record) for record in records], sizes, at)
            if self._until is not None and max(records) >= self._until:
                return self._one_by_one(records, [len(record) for record in records], at)
        tags = {record[35:45] for record in records}
        if tags <= _WHOLE:
            if len(tags) == 1:
                return self._of_one_stream(records, _ERROR in tags)
            if not (self._lines[0].begun or self._lines[1].begun):
                return self._of_both(records)
        return self._one_by_one(records, [len(record) for record in records], at)

    def flush(self, stderr: bool) -> bytes:
        """What there is of the unfinished line of that stream; the rest of it comes later, without a time."""
        line = self._lines[stderr]
        if not line.parts:
            return b""
        text = b"".join(line.parts)
        line.parts, line.at, line.passed = [], -1, True
        return text

    def _texts(self, records: list[bytes]) -> list[bytes]:
        if self._timed:
            return [record[:TIME] + b"Z " + record[HEADER:] for record in records]
        return [record[HEADER:] for record in records]

    def _of_one_stream(self, records: list[bytes], stderr: bool) -> tuple[bytes, list[tuple[int, bool]]]:
        """Only ends of lines, all of one stream: the usual case, for which the speed counts."""
        texts = self._texts(records)
        if self._lines[stderr].begun:
            texts[0] = self._ended(stderr, records[0][HEADER:])
        texts.append(b"")
        data = b"\n".join(texts)
        return data, [(len(data), stderr)]

    def _of_both(self, records: list[bytes]) -> tuple[bytes, list[tuple[int, bool]]]:
        """Whole lines only, of both streams."""
        texts = self._texts(records)
        streams = [record[35:45] == _ERROR for record in records]
        runs, start, stderr = [], 0, streams[0]
        while start < len(streams):
            try:
                end = streams.index(not stderr, start)
            except ValueError:
                end = len(streams)
            runs.append((sum(map(len, texts[start:end])) + end - start, stderr))
            start, stderr = end, not stderr
        texts.append(b"")
        return b"\n".join(texts), runs

    def _one_by_one(self, records: list[bytes], sizes: list[int], at: int) -> tuple[bytes, list[tuple[int, bool]]]:
        texts: list[tuple[bytes, bool]] = []
        for record, size in zip(records, sizes, strict=True):
            kind = kind_of(record)
            if kind is None:
                record = in_utc(mended(record))
                kind = _TAGS[record[35:45]]
            if self._until is None or record[:TIME] < self._until:
                if kind[1]:
                    texts.append((self._end(record, kind[0]), kind[0]))
                else:
                    self._part(record, kind[0], at)
            at += size + 1
        return b"".join([text for text, _ in texts]), joined((len(text), stderr) for text, stderr in texts)

    def _end(self, record: bytes, stderr: bool) -> bytes:
        if self._lines[stderr].begun:
            return self._ended(stderr, record[HEADER:]) + b"\n"
        return self._texts([record])[0] + b"\n"

    def _ended(self, stderr: bool, text: bytes) -> bytes:
        line = self._lines[stderr]
        line.parts.append(text)
        whole = self.flush(stderr)
        line.begun = line.passed = False
        return whole

    def _part(self, record: bytes, stderr: bool, at: int) -> None:
        line = self._lines[stderr]
        text = record[HEADER:] if line.begun else self._texts([record])[0]
        if not line.parts:
            line.at = at
        line.begun = True
        line.parts.append(text)


def joined(runs: Iterable[tuple[int, bool]]) -> list[tuple[int, bool]]:
    """The runs with neighbours of the same stream made one, and empty ones left out."""
    done: list[tuple[int, bool]] = []
    for size, stderr in runs:
        if done and done[-1][1] == stderr:
            done[-1] = (done[-1][0] + size, stderr)
        elif size:
            done.append((size, stderr))
    return done
