"""Records to lines: each way of reading a block gives the same, and damage costs nothing else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.logs.k8s_file.records import RecordLines, in_utc, joined, time_of, time_text
from tests.cri_reference import BASE_NS, Record, lines, logs

HEAD = b"2026-11-22T10:19:26.532885487+00:00 stdout F "
NEXT = b"2026-11-22T10:19:27.000000000+00:00 stderr F next\n"


def fed(block: bytes, *, timed: bool = False, until: int | None = None) -> tuple[bytes, list[tuple[int, bool]]]:
    return RecordLines(timed, until).feed(block, 0)


@settings(max_examples=300, deadline=None)
@given(logs(), st.booleans(), st.none() | st.integers(0, 100), st.integers(0, 40))
def test_lines_are_those_of_the_reference(records: list[Record], timed: bool, seconds: int | None, cut: int) -> None:
    until = None if seconds is None else BASE_NS + seconds * 10**9
    reader = RecordLines(timed, until)
    data = b""
    runs: list[tuple[int, bool]] = []
    for part in (records[:cut], records[cut:]):
        if part:
            more, added = reader.feed(b"".join(record.raw() for record in part), 0)
            data, runs = data + more, runs + added
    for stderr in (False, True):
        rest = reader.flush(stderr)
        data, runs = data + rest, [*runs, (len(rest), stderr)]
    expected = lines(records, timed=timed, until=until)
    assert data == b"".join(line.text for line in expected)
    assert joined(runs) == joined((len(line.text), line.stderr) for line in expected)


@pytest.mark.parametrize("timed", [False, True])
def test_a_record_glued_to_one_that_was_cut_in_its_header_is_read(timed: bool) -> None:
    prefix = b"2026-11-22T10:19:27.000000000Z " if timed else b""
    for size in range(1, len(HEAD) - 1):
        assert fed(HEAD[:size] + NEXT, timed=timed) == (prefix + b"next\n", [(len(prefix) + 5, True)]), size


def test_a_record_glued_to_one_that_was_cut_in_its_text_stays_text() -> None:
    assert fed(HEAD + b"hel" + NEXT + NEXT) == (b"hel" + NEXT + b"next\n", [(3 + len(NEXT), False), (5, True)])


@pytest.mark.parametrize("junk", [b"", b"x", b"no record at all, but long enough to be taken for one", b"x\0\0"])
def test_what_is_no_record_is_passed_on(junk: bytes) -> None:
    data, runs = fed(HEAD + b"one\n" + junk + b"\n" + NEXT)
    assert data == b"one\n" + junk + b"\nnext\n"
    assert runs == [(len(junk) + 5, False), (5, True)]
    assert fed(junk + b"\n", timed=True)[0] == b"1970-01-01T00:00:00.000000000Z " + junk + b"\n"


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("nuls", [1, 4096, 5_000_000])
def test_nuls_before_a_record_are_skipped(nuls: int, timed: bool) -> None:
    first, second = (b"2026-11-22T10:19:26.532885487Z ", b"2026-11-22T10:19:27.000000000Z ") if timed else (b"", b"")
    for cut, text in ((0, b""), (20, b""), (44, b""), (45, first + b"\n"), (48, first + b"one\n")):
        data, _ = fed((HEAD + b"one")[:cut] + b"\0" * nuls + NEXT, timed=timed)
        assert data == text + second + b"next\n", cut


def test_nuls_that_a_container_wrote_are_passed_on() -> None:
    for text in (b"\0", b"a\0\0b\0", b"\0" * 5000):
        assert fed(HEAD + text + b"\n" + NEXT)[0] == text + b"\nnext\n"


def test_a_line_of_nuls_is_no_line() -> None:
    assert fed(HEAD + b"one\n" + b"\0" * 60 + b"\n" + NEXT)[0] == b"one\nnext\n"
    assert fed(b"\0" * 60) == (b"", [])


def test_text_between_nuls_and_the_end_of_its_line_stays() -> None:
    assert fed(b"\0" * 60 + b"rest of a text\n" + NEXT)[0] == b"rest of a text\nnext\n"


@pytest.mark.parametrize("offset", ["+02:00", "-03:30", "+00:00"])
def test_times_are_in_utc(offset: str) -> None:
    record = f"2026-01-01T00:15:26.532885487{offset} stdout F x".encode()
    hours = {"+02:00": b"2025-12-31T22:15", "-03:30": b"2026-01-01T03:45", "+00:00": b"2026-01-01T00:15"}[offset]
    assert in_utc(record) == hours + b":26.532885487+00:00 stdout F x"
    assert time_of(record) == hours + b":26.532885487"


@pytest.mark.parametrize("record", [b"", b"x" * 60, b"2026-99-99T00:15:26.532885487+02:00 stdout F x"])
def test_what_has_no_time_stays_as_it_is(record: bytes) -> None:
    assert in_utc(record) == record


def test_times_as_text_sort_as_they_do() -> None:
    moments = [-(10**30), -1, 0, 1, 999_999_999, 10**9, BASE_NS, BASE_NS + 1, 10**30]
    texts = [time_text(moment) for moment in moments]
    assert texts == sorted(texts)
    assert time_text(BASE_NS + 5) == b"2026-11-22T10:00:00.000000005"
