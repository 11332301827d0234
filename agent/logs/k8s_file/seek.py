"""Where to begin in a k8s-file log: by time through bisection, by number of lines from the end."""

from agent.logs.k8s_file.records import kind_of, mended, time_of
from agent.logs.k8s_file.segments import Segment

PROBE = 16 * 1024  # bytes read for one step; records are at most 8192 bytes and their header
LINEAR = 128 * 1024  # bytes that are searched record by record
LOOK_BACK = 1024 * 1024  # bytes before the place in which the beginning of a line with an end behind it is looked for


class SegmentView:
    """A log's segments as one sequence of bytes."""

    def __init__(self, segments: list[Segment]) -> None:
        """With the ends that the segments have now."""
        self._parts: list[tuple[int, int, Segment]] = []
        self.size = 0
        for segment in segments:
            length = max(segment.end() - segment.begin, 0)
            self._parts.append((self.size, length, segment))
            self.size += length

    def pread(self, count: int, offset: int) -> bytes:
        """At most `count` bytes from `offset` on."""
        pieces = []
        for start, length, segment in self._parts:
            if start < offset + count and offset < start + length:
                first, last = max(offset - start, 0), min(offset + count - start, length)
                pieces.append(segment.pread(last - first, segment.begin + first))
        return b"".join(pieces)

    def locate(self, offset: int) -> tuple[int, int]:
        """The index of the segment, and the place in it."""
        for index, (start, length, segment) in enumerate(self._parts):
            if offset < start + length or index == len(self._parts) - 1:
                return index, segment.begin + offset - start
        raise AssertionError("a log has a segment")

    def offset(self, index: int, offset: int) -> int:
        """The reverse of `locate`."""
        start, _, segment = self._parts[index]
        return start + offset - segment.begin


def since(view: SegmentView, moment: bytes) -> int:
    """Where the first record at or after that time begins (see `time_text`); the end if there is none.

    Found by bisection, so in a log during which the clock was set back it is *a* place where the time is reached.
    From there on everything is shown, whatever time it bears: nothing is lost for a clock's sake.
    """
    low, high = 0, view.size
    answer = _end_of_records(view, 0)
    while high - low > LINEAR:
        middle = (low + high) // 2
        found = _timed_record(view, middle, high)
        if found is None:
            high = middle
        elif found[1] < moment:
            low = found[0]
        else:
            high = answer = found[0]
    place = low
    for record in view.pread(high - low + 50, low).split(b"\n"):
        if place >= high:
            break
        time = time_of(record)
        if time is not None and time >= moment:
            return place
        place += len(record) + 1
    return answer


def _timed_record(view: SegmentView, start: int, end: int) -> tuple[int, bytes] | None:
    """The first sound record that begins in [start, end), and its time."""
    place = start - 1
    while place < end:
        block = view.pread(PROBE, place)
        newline = block.find(b"\n")
        if newline < 0:
            place += max(len(block), 1)
            continue
        place += newline + 1
        time = time_of(block[newline + 1 : newline + 50])
        if time is not None and place < end:
            return place, time
        if newline + 50 > len(block):
            time = time_of(view.pread(50, place))
            if time is not None and place < end:
                return place, time
    return None


def tail(view: SegmentView, low: int, count: int, until: bytes | None) -> tuple[int, dict[bool, int]]:
    """Where the last `count` lines begin that are not before `low` and, if there is `until`, earlier than it.

    Gives the place behind the last line that is not wanted, and for each stream of which a line has begun before that
    and not ended where it begins. Unfinished lines at the end count, and are all shown.
    """
    place = end = _end_of_records(view, low)
    begun = unfinished(view, low, end, until)
    if not count:
        return end, {}
    wanted = count - len(begun)
    size = 64 * 1024
    while place > low:
        start, records = _records_before(view, low, place, size)
        if not records:
            size *= 2
            continue
        size = min(size * 2, LOOK_BACK)
        if len(records) <= wanted and until is None:
            wanted -= len([record for record in records if _ends_line(record, until)])
        else:
            offset = place
            for record in reversed(records):
                if _ends_line(record, until):
                    if wanted <= 0:
                        return offset, unfinished(view, low, offset, until)
                    wanted -= 1
                offset -= len(record) + 1
        place = start
    return low, {}


def unfinished(view: SegmentView, low: int, place: int, until: bytes | None) -> dict[bool, int]:
    """For each stream of which a line has begun before `place`, and not ended: where it begins."""
    _, records = _records_before(view, low, place, LOOK_BACK)
    begins: dict[bool, int] = {}
    done = set()
    offset = place
    for record in reversed(records):
        offset -= len(record) + 1
        stderr, ends = kind_of(record) or _kind_mended(record)
        if stderr in done or not _is_before(record, until):
            continue
        if ends:
            done.add(stderr)
            if len(done) == 2:
                break
        else:
            begins[stderr] = offset
    return begins


def _kind_mended(record: bytes) -> tuple[bool, bool]:
    kind = kind_of(mended(record))
    assert kind is not None
    return kind


def _ends_line(record: bytes, until: bytes | None) -> bool:
    return (kind_of(record) or _kind_mended(record))[1] and _is_before(record, until)


def _is_before(record: bytes, until: bytes | None) -> bool:
    return until is None or (time_of(record) or time_of(mended(record)) or b"") < until


def _end_of_records(view: SegmentView, low: int) -> int:
    """Where the last whole record ends."""
    end = view.size
    while end > low:
        start = max(low, end - PROBE)
        newline = view.pread(end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return low


def _records_before(view: SegmentView, low: int, place: int, size: int) -> tuple[int, list[bytes]]:
    """The whole records in about `size` bytes before `place`, and where the first begins."""
    start = max(low, place - size)
    data = view.pread(place - start, start)
    if start > low:
        first = data.find(b"\n") + 1
        start, data = start + first, data[first:]
    records = data.split(b"\n")
    records.pop()
    return start, records
