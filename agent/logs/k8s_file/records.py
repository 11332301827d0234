"""Convert the records of a k8s-file log (the CRI format, as conmon's ctr_logging.c writes it) to lines.

A record is `2026-11-22T10:19:26.532885487+00:00 stdout F text`: local time with nine digits and its offset, 35 bytes in
all; the stream; F for the end of a line or P for a part of one; and the text, which may contain anything but a newline.
The parts of a line are the records of its stream up to the next F, possibly interleaved with the other stream's.

A power cut can leave NULs in place of the records that were written last; the next one follows on the same line. A
separator is therefore a newline, or NULs before a record.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

HEADER = 45  # bytes before the text
TIME = 29  # bytes of the time without its offset
NO_TIME = b"1970-01-01T00:00:00.000000000"  # of a damaged record
_UTC = b"+00:00"
_TAGS = {b" stdout F ": (False, True), b" stdout P ": (False, False)} | {
    b" stderr F ": (True, True),
    b" stderr P ": (True, False),
}
_WHOLE = {b" stdout F ", b" stderr F "}
_ERROR = b" stderr F "
_HEAD = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}[+-]\d\d:\d\d std(?:out|err) [FP] "
_RECORD = re.compile(_HEAD)
_NULS_BEFORE_RECORD = re.compile(rb"\0+(?=%b)" % _HEAD)
START = re.compile(rb"[\n\0](?=%b)" % _HEAD)  # the end of a separator, and a record
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_text(moment: int) -> bytes:
    """Convert nanoseconds since the epoch to the format of records, in UTC; the texts sort chronologically."""
    seconds, fraction = divmod(moment, 1_000_000_000)
    try:
        return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%%09d").encode() % fraction
    except OverflowError:
        return b"9" if moment > 0 else b"0"  # beyond the calendar: after or before everything


_minutes: dict[bytes, bytes] = {}  # a local minute with its offset -> the same in UTC


def in_utc(record: bytes) -> bytes:
    """Convert a record's time to UTC; return a record without a valid time unchanged."""
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
        if len(_minutes) > 10_000:  # a week, as a bound of memory
            _minutes.clear()
        minute = _minutes[key] = moment.strftime("%Y-%m-%dT%H:%M").encode()
    return minute + record[16:29] + _UTC + record[35:]


def kind_of(record: bytes) -> tuple[bool, bool] | None:
    """Return (is stderr, ends a line) of a record; None if it is not a valid record."""
    return _TAGS.get(record[35:45])


def time_of(record: bytes) -> bytes | None:
    """Return a record's time in UTC, in the format of `time_text`; None if it is not a valid record."""
    return in_utc(record)[:TIME] if _RECORD.match(record) else None


def repaired(record: bytes) -> bytes:
    """Make a valid record of a damaged one, without losing text.

    A full disk truncates a record, and the next one follows on the same line: if the cut is in the header, the next
    record is returned. Anything else becomes text on stdout without a time.
    """
    match = _RECORD.search(record, 0, 2 * HEADER)
    return record[match.start() :] if match else NO_TIME + b"+00:00 stdout F " + record


def separated(block: bytes) -> list[tuple[bytes, int]]:
    """Split a block into records, each with the number of bytes to the next one; leave out NULs between records."""
    *lines, unfinished = block.split(b"\n")
    found: list[tuple[bytes, int]] = []
    skipped = 0
    for record, size in _pieces(lines, unfinished):
        if record is not None:
            found.append((record, size + skipped))
            skipped = 0
        elif found:
            found[-1] = (found[-1][0], found[-1][1] + size)
        else:
            skipped += size
    return found


def _pieces(lines: list[bytes], unfinished: bytes) -> Iterator[tuple[bytes | None, int]]:
    """Yield records and their sizes; None is no record, but NULs or a part of a header before them."""
    for line in lines:
        yield from _pieces_of(line, len(line) + 1) if b"\0" in line else [(line, len(line) + 1)]
    if unfinished:
        yield from _pieces_of(unfinished.rstrip(b"\0"), len(unfinished), HEADER)


def _pieces_of(line: bytes, size: int, least: int = 1) -> Iterator[tuple[bytes | None, int]]:
    """Yield the pieces of one line; `least` is the length from which its last one is a record."""
    start = 0
    for nuls in _NULS_BEFORE_RECORD.finditer(line):
        text = line[start : nuls.start()].lstrip(b"\0")
        yield text if len(text) >= HEADER else None, nuls.end() - start
        start = nuls.end()
    text = line[start:].lstrip(b"\0")
    yield text if len(text) >= least else None, size - start


class _OpenLine:
    """The state of one stream's unfinished line."""

    __slots__ = ("at", "parts", "passed", "started")

    def __init__(self) -> None:
        self.started = False  # there is one; the rest of it gets no second time
        self.passed = False  # a part of it has been passed on
        self.parts: list[bytes] = []  # not passed on yet
        self.at = -1  # start of the first of the parts; -1: none


class RecordLines:
    """Converts records to lines, and holds back unfinished lines until `flush`.

    A line is passed on when it ends, so that the order does not depend on the start of the reading, nor on the
    division of the records into blocks.
    """

    __slots__ = ("_lines", "_timed", "_until")

    def __init__(self, timed: bool, until: int | None) -> None:
        """Prefix lines with `2026-11-22T10:19:26.532885487Z ` if `timed`; drop those not before `until` (ns)."""
        self._timed = timed
        self._until = None if until is None else time_text(until)
        self._lines = (_OpenLine(), _OpenLine())

    def passed(self, stderr: bool) -> bool:
        """Tell if a part of the stream's unfinished line has been passed on."""
        return self._lines[stderr].passed

    def waiting(self, stderr: bool) -> int:
        """Return the start of the stream's first record not passed on, counted like `feed`'s `at`; -1: none."""
        return self._lines[stderr].at

    def resume(self, stderr: bool) -> None:
        """Resume within a line of the stream, a part of which was passed on."""
        self._lines[stderr].started = self._lines[stderr].passed = True

    def feed(self, block: bytes, at: int) -> tuple[bytes, list[tuple[int, bool]]]:
        """Return the lines that end in a block of whole records, which starts at `at`, and their runs (see Batch)."""
        if b"\0" in block:
            pieces = separated(block)
            return self._one_by_one([in_utc(record) for record, _ in pieces], [size for _, size in pieces], at)
        records = block.split(b"\n")
        if not records[-1]:
            records.pop()
        if self._timed or self._until is not None:
            if {record[29:35] for record in records} != {_UTC}:
                sizes = [len(record) + 1 for record in records]
                return self._one_by_one([in_utc(record) for record in records], sizes, at)
            if self._until is not None and max(records) >= self._until:
                return self._one_by_one(records, [len(record) + 1 for record in records], at)
        tags = {record[35:45] for record in records}
        if tags <= _WHOLE:
            if len(tags) == 1:
                return self._of_one_stream(records, _ERROR in tags)
            if not (self._lines[0].started or self._lines[1].started):
                return self._of_both(records)
        return self._one_by_one(records, [len(record) + 1 for record in records], at)

    def flush(self, stderr: bool) -> bytes:
        """Return the stream's unfinished line so far; the rest of it follows later, without a time."""
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
        """Convert ends of lines of one stream: the common case, optimised for speed."""
        texts = self._texts(records)
        if self._lines[stderr].started:
            texts[0] = self._ended(stderr, records[0][HEADER:])
        texts.append(b"")
        data = b"\n".join(texts)
        return data, [(len(data), stderr)]

    def _of_both(self, records: list[bytes]) -> tuple[bytes, list[tuple[int, bool]]]:
        """Convert whole lines of both streams."""
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
                record = in_utc(repaired(record))
                kind = _TAGS[record[35:45]]
            if self._until is None or record[:TIME] < self._until:
                if kind[1]:
                    texts.append((self._end(record, kind[0]), kind[0]))
                else:
                    self._part(record, kind[0], at)
            at += size
        return b"".join([text for text, _ in texts]), joined((len(text), stderr) for text, stderr in texts)

    def _end(self, record: bytes, stderr: bool) -> bytes:
        if self._lines[stderr].started:
            return self._ended(stderr, record[HEADER:]) + b"\n"
        return self._texts([record])[0] + b"\n"

    def _ended(self, stderr: bool, text: bytes) -> bytes:
        line = self._lines[stderr]
        line.parts.append(text)
        whole = self.flush(stderr)
        line.started = line.passed = False
        return whole

    def _part(self, record: bytes, stderr: bool, at: int) -> None:
        line = self._lines[stderr]
        text = record[HEADER:] if line.started else self._texts([record])[0]
        if not line.parts:
            line.at = at
        line.started = True
        line.parts.append(text)


def joined(runs: Iterable[tuple[int, bool]]) -> list[tuple[int, bool]]:
    """Join neighbouring runs of the same stream and drop empty ones."""
    result: list[tuple[int, bool]] = []
    for size, stderr in runs:
        if result and result[-1][1] == stderr:
            result[-1] = (result[-1][0] + size, stderr)
        elif size:
            result.append((size, stderr))
    return result
