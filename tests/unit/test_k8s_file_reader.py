"""The reader of k8s-file logs, against a plain slow one: windows, tails, rotations, resuming."""

import asyncio
import re
import resource
from collections.abc import Sequence
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.logs.grep import Filter
from agent.logs.inotify import Inotify
from agent.logs.k8s_file import scan, seek, segments
from agent.logs.k8s_file.reader import K8sFileReader, read_raw, tail_raw
from agent.logs.model import Batch, LogSource, Position, Reading, Window
from mcp.shared.errors import NotReady
from tests.cri_reference import BASE_NS, Line, Record, lines, logs

PLENTY = settings(max_examples=300, deadline=None)


def source_at(path: Path) -> LogSource:
    return LogSource("s", "c", "s-c", "f" * 64, "k8s-file", path)


async def collect(source: LogSource, reading: Reading) -> list[Batch]:
    async with aclosing(K8sFileReader(Inotify()).read(source, reading)) as batches:
        return [batch async for batch in batches]


def read(path: Path, reading: Reading) -> list[Batch]:
    return asyncio.run(collect(source_at(path), reading))


def shown(batches: list[Batch]) -> list[Line]:
    """The lines of batches, each run's own; checks that batches are sound."""
    text, done, rest = b"", [], {False: b"", True: b""}
    for batch in batches:
        assert sum(size for size, _ in batch.runs) == len(batch.data)
        assert all(one[1] != two[1] for one, two in pairwise(batch.runs))
        place = 0
        for size, stderr in batch.runs:
            text, place = batch.data[place : place + size], place + size
            for piece in _pieces(text):
                rest[stderr] += piece
                if piece.endswith(b"\n"):
                    done.append(Line(stderr, rest[stderr]))
                    rest[stderr] = b""
    return done + [Line(stderr, text) for stderr, text in rest.items() if text]


def _pieces(text: bytes) -> list[bytes]:
    parts = text.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def without_empty(found: list[Line]) -> list[Line]:
    """Unfinished lines without text cannot be seen."""
    return [line for line in found if line.text]


def write(folder: Path, records: list[Record], cuts: list[int], rest: bytes = b"") -> Path:
    """A log in as many files as there are cuts and one, cut at any byte; `rest` is a record that was cut off."""
    raw = b"".join(record.raw() for record in records) + rest
    path = folder / "ctr.log"
    places = [0, *sorted(cut % (len(raw) + 1) for cut in cuts), len(raw)]
    for number, (start, end) in enumerate(pairwise(places), 1):
        name = path if number == len(places) - 1 else folder / f"ctr.log.mcp-{number:06}"
        name.write_bytes(raw[start:end])
    return path


MOMENTS = st.integers(-2, 300).map(lambda seconds: BASE_NS + seconds * 10**9)
CUTS = st.lists(st.integers(0, 5000), max_size=4)
BLOCKS = st.sampled_from([400, 1000, scan.BLOCK])


@PLENTY
@given(logs(), CUTS, BLOCKS, st.booleans(), st.none() | MOMENTS, st.none() | MOMENTS, st.none() | st.integers(0, 50))
def test_any_window_of_any_log(
    records: list[Record],
    cuts: list[int],
    block: int,
    timed: bool,
    since: int | None,
    until: int | None,
    tail: int | None,
) -> None:
    with (
        TemporaryDirectory() as folder,
        patch.object(scan, "BLOCK", block),
        patch.object(seek, "LINEAR", 700),
    ):
        path = write(Path(folder), records, cuts)
        batches = read(path, Reading(Window(since, until, tail), timed))
    expected = lines(records, timed=timed, since=since, until=until, tail=tail)
    assert shown(batches) == without_empty(expected)
    assert [batch.caught_up for batch in batches] == [False] * (len(batches) - 1) + [True]


@PLENTY
@given(logs(clock_goes_back=True), CUTS, MOMENTS)
def test_a_clock_set_back_loses_nothing_behind_the_place(records: list[Record], cuts: list[int], since: int) -> None:
    with TemporaryDirectory() as folder, patch.object(seek, "LINEAR", 300):
        found = shown(read(write(Path(folder), records, cuts), Reading(Window(since), timed=True)))
    wholes = [
        without_empty(lines(records[first:], timed=True))
        for first in range(len(records) + 1)
        if (first == len(records) or records[first].when + BASE_NS >= since)
        and (first == 0 or first == len(records) or records[first - 1].when + BASE_NS < since)
    ]
    assert found in wholes


@PLENTY
@given(logs(), CUTS, BLOCKS, st.booleans(), st.none() | st.integers(0, 20), st.data())
def test_going_on_at_any_line_gives_the_rest(
    records: list[Record], cuts: list[int], block: int, timed: bool, tail: int | None, data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder:
        path = write(Path(folder), records, cuts)
        with patch.object(scan, "BLOCK", block):
            batches = read(path, Reading(Window(tail=tail), timed))
        whole = shown(batches)
        index = data.draw(st.integers(0, len(batches) - 1))
        batch = batches[index]
        count = data.draw(st.integers(0, batch.data.count(b"\n")))
        at_end = data.draw(st.booleans())
        after = batch.end if at_end else Position(batch.begin.place, batch.begin.skip + count)
        consumed = batch.data if at_end else b"\n".join([*batch.data.split(b"\n")[:count], b""])
        before = [*batches[:index], cut_to(batch, len(consumed))]
        with patch.object(scan, "BLOCK", data.draw(BLOCKS)):
            rest = read(path, Reading(Window(tail=tail), timed, Position.parse(str(after))))
    assert not any(one.notice for one in rest)
    assert shown([*before, *rest]) == whole


def cut_to(batch: Batch, size: int) -> Batch:
    """Only the first `size` bytes of it."""
    runs, left = [], size
    for length, stderr in batch.runs:
        if left:
            runs.append((min(left, length), stderr))
            left -= min(left, length)
    return Batch(batch.data[:size], runs, batch.begin, batch.end)


@PLENTY
@given(logs(), st.integers(0, 3000), st.booleans())
def test_the_kept_end_of_a_log_reads_as_the_file_did(records: list[Record], limit: int, timed: bool) -> None:
    async def both(path: Path) -> tuple[bytes, list[Batch], list[Batch]]:
        data, place = await tail_raw(source_at(path), limit)
        kept = [batch async for batch in read_raw(data, place, Reading(timed=timed))]
        from_file = await collect(source_at(path), Reading(timed=timed, after=Position(place)))
        return data, kept, from_file

    with TemporaryDirectory() as folder:
        path = write(Path(folder), records, [])
        data, kept, from_file = asyncio.run(both(path))
        raw = path.read_bytes()
    assert raw.endswith(data)
    assert len(data) <= limit
    assert len(raw) - len(data) in {0, len(raw), *(match.end() for match in re.finditer(b"\n|\0(?=2026)", raw))}
    assert shown(kept) == shown(from_file)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of three files and 40 MB, a line each millisecond."""
    folder = tmp_path_factory.mktemp("large")
    block = 100_000
    for number, name in enumerate(["ctr.log.mcp-000001", "ctr.log.mcp-000002", "ctr.log"]):
        times = range(number * block, (number + 1) * block)
        head = b"2026-11-22T10:%02d:%02d.%03d000000+00:00 stdout F line %d " + b"x" * 80 + b"\n"
        (folder / name).write_bytes(
            b"".join(head % (when // 60_000, when // 1000 % 60, when % 1000, when) for when in times)
        )
    return folder / "ctr.log"


@pytest.mark.parametrize(
    ("window", "numbers"),
    [
        (Window(tail=10), range(299_990, 300_000)),
        (Window(since=BASE_NS + 299_995 * 10**6), range(299_995, 300_000)),
        (Window(since=BASE_NS + 199_000 * 10**6, until=BASE_NS + 199_002 * 10**6), range(199_000, 199_002)),
        (Window(since=BASE_NS + 299_000 * 10**6, tail=3), range(299_997, 300_000)),
        (Window(since=BASE_NS + 300_000 * 10**6), range(0)),
        (Window(tail=0), range(0)),
        (Window(tail=150_000), range(150_000, 300_000)),
    ],
)
def test_only_what_is_wanted_is_read(large: Path, window: Window, numbers: range) -> None:
    count = 0
    real = segments.LogFile.pread

    def counted(self: segments.LogFile, size: int, offset: int) -> bytes:
        nonlocal count
        data = real(self, size, offset)
        count += len(data)
        return data

    with patch.object(segments.LogFile, "pread", counted):
        found = shown(read(large, Reading(window)))
    assert [int(line.text.split()[1]) for line in found] == list(numbers)
    if window.until is None:
        wanted = 135 * len(numbers)
        assert count < 3_000_000 + 3 * wanted


def test_a_long_line_comes_in_parts_with_one_time(tmp_path: Path) -> None:
    parts = [Record(1000, 0, False, number == 499, b"%08d" % number * 1024) for number in range(500)]
    parts.insert(200, Record(1000, 0, True, True, b"between"))
    batches = read(write(tmp_path, parts, []), Reading(timed=True))
    assert max(len(batch.data) for batch in batches) < 1_200_000
    assert shown(batches) == sorted(lines(parts, timed=True), key=lambda line: not line.stderr)


def test_a_record_cut_off_at_the_end_is_passed_on(tmp_path: Path) -> None:
    record = Record(1000, 0, True, True, b"cut off").raw()
    for rest, text in ((record[:-4], b"cut "), (record[:20], b"")):
        path = write(tmp_path, [Record(0, 0, False, True, b"one")], [], rest)
        data = [batch.data for batch in read(path, Reading())]
        assert b"".join(data) == b"one\n" + text


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(
        NotReady, match=r"the log of s-c cannot be read: /.*ctr.log does not exist; start the container"
    ):
        read(tmp_path / "ctr.log", Reading())
    with pytest.raises(NotReady, match="not a regular file"):
        read(tmp_path, Reading())
    (tmp_path / "ctr.log").touch()
    with pytest.raises(NotReady, match="invalid log position"):
        read(tmp_path / "ctr.log", Reading(after=Position("x")))


def test_a_block_takes_the_memory_of_the_one_before(large: Path) -> None:
    async def pages() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        count = 0
        async with aclosing(K8sFileReader(Inotify()).read(source_at(large), Reading())) as batches:
            async for _ in batches:
                count += 1
        assert count > 70
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert min(asyncio.run(pages()) for _ in range(3)) < 8_000  # else it is 20,000


@pytest.fixture(scope="module")
def after_power_cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with a line a second, of which a power cut left 2000, a part of the next, and 3 MB of NULs."""
    path = tmp_path_factory.mktemp("cut") / "ctr.log"
    records = [Record(second * 10**9, 0, False, True, b"line %d" % second) for second in range(2010)]
    before, after = records[:2000], records[2001:]
    torn = records[2000].raw()[:30]
    path.write_bytes(b"".join(one.raw() for one in before) + torn + bytes(3_000_000) + b"".join(r.raw() for r in after))
    return path


@pytest.mark.parametrize(
    ("window", "numbers"),
    [
        (Window(), [*range(2000), *range(2001, 2010)]),
        (Window(tail=9), range(2001, 2010)),
        (Window(tail=10), [1999, *range(2001, 2010)]),
        (Window(since=BASE_NS + 2001 * 10**9), range(2001, 2010)),
        (Window(since=BASE_NS + 1999 * 10**9, until=BASE_NS + 2002 * 10**9), [1999, 2001]),
        (Window(since=BASE_NS + 1000 * 10**9, tail=10), [1999, *range(2001, 2010)]),
        (Window(until=BASE_NS + 2002 * 10**9, tail=2), [1999, 2001]),
    ],
)
def test_the_record_after_nuls_is_whole(after_power_cut: Path, window: Window, numbers: Sequence[int]) -> None:
    found = [line.text for line in shown(read(after_power_cut, Reading(window, timed=True)))]
    assert found == [Record(n * 10**9, 0, False, True, b"").utc() + b"line %d\n" % n for n in numbers]


@pytest.mark.parametrize("limit", [1_000, 3_000_500, 3_010_000])
def test_the_kept_end_of_a_log_begins_with_the_record_after_nuls(after_power_cut: Path, limit: int) -> None:
    async def kept() -> list[Batch]:
        data, place = await tail_raw(source_at(after_power_cut), limit)
        return [batch async for batch in read_raw(data, place, Reading())]

    found = [line.text for line in shown(asyncio.run(kept()))]
    assert found[-9:] == [b"line %d\n" % n for n in range(2001, 2010)]
    assert found[:-9] == [b"line %d\n" % n for n in range(2000 - len(found) + 9, 2000)]


def test_a_record_is_found_after_nuls_by_grep(after_power_cut: Path) -> None:
    async def found() -> bytes:
        async with Filter(["line 2001|line 199[89]"], [], ignore_case=False) as wanted:
            reader = wanted.filtered(K8sFileReader(Inotify()))
            async with aclosing(reader.read(source_at(after_power_cut), Reading())) as batches:
                return b"".join([batch.data async for batch in batches])

    assert asyncio.run(found()) == b"line 1998\nline 1999\nline 2001\n"
