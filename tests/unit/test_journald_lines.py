"""Messages of the journal -> lines: whatever the chunks, each stream's lines come whole and in its own order."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from agent.logs.journald.lines import JournalLines, Runs

MESSAGES = st.lists(
    st.tuples(st.booleans(), st.sampled_from([b"\n", b"a\n", b"part", b"\0\r", b"two\nlines\n", b"x\ny", b"\xff\n"])),
    max_size=30,
)


def streams(data: bytes, runs: Runs) -> tuple[bytes, bytes]:
    """A batch's standard output and error."""
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    at = 0
    for length, is_stderr in runs:
        parts[is_stderr].append(data[at : at + length])
        at += length
    assert at == len(data)
    return b"".join(parts[0]), b"".join(parts[1])


def whole(messages: list[tuple[bool, bytes]], is_stderr: bool) -> bytes:
    return b"".join(message for stream, message in messages if stream == is_stderr)


def filled(messages: list[tuple[bool, bytes]], *, skip: int = 0, timed: bool = False) -> JournalLines:
    lines = JournalLines(timed=timed, skip=skip)
    for number, (is_stderr, message) in enumerate(messages):
        lines.add(number, is_stderr, message)
    return lines


@given(MESSAGES)
def test_each_stream_comes_whole(messages: list[tuple[bool, bytes]]) -> None:
    lines = filled(messages)
    held = lines.size
    lines.flush()
    data, runs = lines.take()
    assert streams(data, runs) == (whole(messages, False), whole(messages, True))
    assert held == len(data)
    assert (lines.size, lines.unfinished, lines.take()) == (0, False, (b"", []))
    assert all(earlier[1] != later[1] for earlier, later in itertools.pairwise(runs))


@given(MESSAGES)
def test_without_a_flush_only_whole_lines_come(messages: list[tuple[bool, bytes]]) -> None:
    lines = filled(messages)
    for stream, text in enumerate(streams(*lines.take())):
        expected = whole(messages, bool(stream))
        assert text == expected[: expected.rfind(b"\n") + 1]
    assert lines.unfinished == any(
        whole(messages, each) and not whole(messages, each).endswith(b"\n") for each in (False, True)
    )


@given(MESSAGES, st.integers(0, 12))
def test_skipped_lines_are_the_first_ones(messages: list[tuple[bool, bytes]], skip: int) -> None:
    everything = filled(messages).take()[0].splitlines(keepends=True)
    everything = b"".join(everything).split(b"\n")[:-1]
    left = filled(messages, skip=skip)
    assert left.take()[0].split(b"\n")[:-1] == everything[skip:]
    assert left.skips == (len(everything) < skip)


@given(MESSAGES, st.integers(0, 30))
def test_a_part_that_was_passed_on_is_gone_on_with(messages: list[tuple[bool, bytes]], cut: int) -> None:
    first = filled(messages[:cut], timed=True)
    first.flush()
    second = JournalLines(timed=True, skip=0, in_line=first.in_line)
    for number, (is_stderr, message) in enumerate(messages[cut:]):
        second.add(cut + number, is_stderr, message)
    second.flush()
    uncut = filled(messages, timed=True)
    uncut.flush()
    parts = zip(streams(*first.take()), streams(*second.take()), strict=True)
    assert tuple(before + after for before, after in parts) == streams(*uncut.take())
    assert second.in_line == uncut.in_line


def test_a_line_has_the_time_of_its_first_part() -> None:
    lines = JournalLines(timed=True, skip=0)
    lines.add(1_795_374_139_000_007, False, b"long ")
    lines.add(1_795_374_140_123_456, True, b"other\n")
    lines.add(1_795_374_141_000_000, False, b"line\n")
    data, runs = lines.take()
    assert data == b"2026-11-22T19:02:20.123456000Z other\n2026-11-22T19:02:19.000007000Z long line\n"
    assert runs == [(37, True), (41, False)]
