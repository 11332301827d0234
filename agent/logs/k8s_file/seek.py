"""Find the start of a reading in a k8s-file log: by time through bisection, by number of lines from the end."""

from agent.logs.k8s_file.records import HEADER, START, kind_of, repaired, separated, time_of
from agent.logs.k8s_file.segments import Segment

PROBE = 16 * 1024  # bytes read for one step; records are at most 8192 bytes and their header
LINEAR = 128 * 1024  # bytes searched record by record
LOOK_BACK = 1024 * 1024  # bytes before an offset that are searched for the start of a line that ends after it


class SegmentView:
    """A log's segments as one sequence of bytes."""

    def __init__(self, segments: list[Segment]) -> None:
        """Use the present ends of the segments."""
        self._parts: list[tuple[int, int, Segment]] = []
        self.size = 0
        for segment in segments:
            length = max(segment.end() - segment.begin, 0)
            self._parts.append((self.size, length, segment))
            self.size += length

    def pread(self, count: int, offset: int) -> bytes:
        """Read at most `count` bytes from `offset`."""
        pieces = []
        for start, length, segment in self._parts:
            if start < offset + count and offset < start + length:
                first, last = max(offset - start, 0), min(offset + count - start, length)
                pieces.append(segment.pread(last - first, segment.begin + first))
        return b"".join(pieces)

    def locate(self, offset: int) -> tuple[int, int]:
        """Return the index of the segment and the offset in it."""
        for index, (start, length, segment) in enumerate(self._parts):
            if offset < start + length or index == len(self._parts) - 1:
                return index, segment.begin + offset - start
        raise AssertionError("a log has a segment")

    def offset(self, index: int, offset: int) -> int:
        """Return the inverse of `locate`."""
        start, _, segment = self._parts[index]
        return start + offset - segment.begin


def since(view: SegmentView, moment: bytes) -> int:
    """Return the start of the first record at or after a time (see `time_text`); the end if there is none.

    It bisects: if the clock was set back, this is one of the offsets where the time is reached. A reading shows
    everything from there, whatever its time, so that no line is lost.
    """
    low, high = 0, view.size
    answer = _end_of_records(view, 0)
    while high - low > LINEAR:
        middle = (low + high) // 2
        record_start = _timed_record(view, middle, high)
        if record_start is None:
            high = middle
        elif record_start[1] < moment:
            low = record_start[0]
        else:
            high = answer = record_start[0]
    place = low
    for record, size in separated(view.pread(high - low + HEADER, low)):
        if place >= high:
            break
        time = time_of(record)
        if time is not None and time >= moment:
            return place
        place += size
    return answer


def _timed_record(view: SegmentView, start: int, end: int) -> tuple[int, bytes] | None:
    """Return the offset and time of the first valid record that starts in [start, end)."""
    place = start - 1
    while place < end:
        block = view.pread(PROBE, place)
        if match := START.search(block):
            time = time_of(block[match.end() : match.end() + HEADER])
            return (place + match.end(), time) if time is not None and place + match.end() < end else None
        if len(block) < PROBE:
            return None
        place += PROBE - HEADER
    return None


def tail(view: SegmentView, low: int, count: int, until: bytes | None) -> tuple[int, dict[bool, int]]:
    """Find the last `count` lines after offset `low` and before the time `until`, if given.

    Returns the end of the line before them, and the start of each stream's line that is unfinished there. Unfinished
    lines at the end of the log count, and are all shown.
    """
    place = end = _end_of_records(view, low)
    open_lines = unfinished(view, low, end, until)
    if not count:
        return end, {}
    missing = count - len(open_lines)
    size = 64 * 1024
    while place > low:
        start, records = _records_before(view, low, place, size)
        if not records and start > low:
            size *= 2
            continue
        size = min(size * 2, LOOK_BACK)
        if len(records) <= missing and until is None:
            missing -= len([record for record, _ in records if _ends_line(record, until)])
        else:
            offset = place
            for record, length in reversed(records):
                if _ends_line(record, until):
                    if missing <= 0:
                        return offset, unfinished(view, low, offset, until)
                    missing -= 1
                offset -= length
        place = start
    return low, {}


def unfinished(view: SegmentView, low: int, place: int, until: bytes | None) -> dict[bool, int]:
    """Return the start of each stream's line that is unfinished at `place`."""
    _, records = _records_before(view, low, place, LOOK_BACK)
    starts: dict[bool, int] = {}
    complete = set()
    offset = place
    for record, length in reversed(records):
        offset -= length
        stderr, ends = kind_of(record) or _repaired_kind(record)
        if stderr in complete or not _is_before(record, until):
            continue
        if ends:
            complete.add(stderr)
            if len(complete) == 2:
                break
        else:
            starts[stderr] = offset
    return starts


def _repaired_kind(record: bytes) -> tuple[bool, bool]:
    kind = kind_of(repaired(record))
    assert kind is not None
    return kind


def _ends_line(record: bytes, until: bytes | None) -> bool:
    return (kind_of(record) or _repaired_kind(record))[1] and _is_before(record, until)


def _is_before(record: bytes, until: bytes | None) -> bool:
    return until is None or (time_of(record) or time_of(repaired(record)) or b"") < until


def _end_of_records(view: SegmentView, low: int) -> int:
    """Return the end of the last whole record."""
    end = view.size
    while end > low:
        start = max(low, end - PROBE)
        newline = view.pread(end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return low


def _records_before(view: SegmentView, low: int, place: int, size: int) -> tuple[int, list[tuple[bytes, int]]]:
    """Return the start of the first whole line in about `size` bytes before `place`, and all records from there."""
    start = max(low, place - size)
    data = view.pread(place - start, start)
    if start > low:
        first = data.find(b"\n") + 1
        start, data = start + first, data[first:]
    return start, separated(data)
