"""The journald reader on journals that were recorded on a Debian 12 and a Debian 13 node, podman 4.3.1 and 5.4.2.

In each, one container wrote OUTPUT and ERRORS, and another one more than a strict rate limit let through.
"""

import asyncio
import json
import lzma
import os
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.logs.journald import reader, sd_journal, worker
from agent.logs.journald.cursors import JournalCursor
from agent.logs.journald.reader import JournaldReader
from agent.logs.model import TIME_WIDTH, Batch, LogSource, Position, Reading, Window
from mcp.shared import resources
from mcp.shared.errors import InvalidInput, McpError, NotReady, Unavailable
from tests.unit.test_journald_lines import streams

DATA = Path(__file__).parent / "data"
USER = 992  # whose containers they were
NUMBERED = range(10)
OUTPUT = (
    b"plain\n\nback\nnul\0in line\r\nbad \xff\xfe utf8\n\0\n\r\n%s\n%s\npart whole\n"
    % (b"0123456789" * 10_000, b"x" * 8192)
    + b"".join(b"out %d\n" % number for number in NUMBERED)
    + b"no end"
)
ERRORS = b"err1\n%s\nerr2\n" % (b"e" * 20_000) + b"".join(b"error %d\n" % number for number in NUMBERED)
LINES = 34
FOREIGN = "s=00000000000000000000000000000001;i=5;b=00000000000000000000000000000001;m=5;t=5;x=5"


@dataclass(frozen=True)
class Recorded:
    """A journal, and the ids of its containers."""

    folder: Path
    odd: str
    loud: str

    def source(self, identifier: str = "") -> LogSource:
        return LogSource("web", "api", "web-api", identifier or self.odd, "journald")

    def reader(self) -> JournaldReader:
        return JournaldReader(self.folder, USER)


@pytest.fixture(
    scope="module",
    params=[
        (
            "debian12",
            "7bb1f0a73dd4b5ef74b07e4c1ab7156ae8a33021140d9bd5be067bdad5efac6e",
            "27e62df55d5aec50ad8d2501523a472ab9f6a3b0886ea7b04704fffc7bb759cd",
        ),
        (
            "debian13",
            "8a3a4ec48989a59a26e304d47ba5fd65f1a91d774575845e186a4d3633f7d7ef",
            "d0b4c040895541a0e9bb6b64a0c018e69199ab202469db91094fed55e7eb7384",
        ),
    ],
    ids=["debian12", "debian13"],
)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    name, odd, loud = request.param
    folder = tmp_path_factory.mktemp(name)
    (folder / "system.journal").write_bytes(lzma.decompress((DATA / f"{name}.journal.xz").read_bytes()))
    return Recorded(folder, odd, loud)


async def collect(batches: AsyncGenerator[Batch]) -> list[Batch]:
    return [batch async for batch in batches]


def read(recorded: Recorded, identifier: str = "", **reading: Any) -> list[Batch]:
    """What the reader yields, through its process."""
    return asyncio.run(collect(recorded.reader().read(recorded.source(identifier), Reading(**reading))))


def in_process(recorded: Recorded, batch: int, reading: Reading) -> list[Batch]:
    """The same without a process, in batches of another size."""
    batches: list[Batch] = []

    def take(header: dict[str, Any], data: bytes = b"") -> None:
        header = json.loads(json.dumps(header))
        begin, end = Position(header["begin"], header["skip"]), Position(header["end"], header["end_skip"])
        batches.append(Batch(data, header["runs"], begin, end, header["notice"], header["caught_up"]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "BATCH", batch)
        patch.setattr(worker, "send", take)
        child = worker.JournalReading(recorded.reader()._request(recorded.source(), reading))
        child.run()
        child.close()
    return batches


def text(batches: list[Batch]) -> bytes:
    return b"".join(batch.data for batch in batches)


def lines_of(recorded: Recorded) -> list[tuple[int, bytes]]:
    """Every line with its time in nanoseconds, in the order in which they ended."""
    found = []
    for line in text(in_process(recorded, 1 << 20, Reading(timed=True))).split(b"\n"):
        second = datetime.fromisoformat(f"{line[:19].decode()}+00:00")
        assert line[29:TIME_WIDTH] == b"Z "
        found.append((int(second.timestamp()) * 10**9 + int(line[20:29]), line[TIME_WIDTH:]))
    return found


def test_both_streams_are_byte_for_byte_what_was_written(recorded: Recorded) -> None:
    batches = read(recorded)
    assert streams(text(batches), [run for batch in batches for run in batch.runs]) == (OUTPUT, ERRORS)
    assert [batch.caught_up for batch in batches] == [*[False] * (len(batches) - 1), True]
    said = [batch for batch in batches if batch.notice]  # the other container was loud when this one had ended
    assert all(batch.data == b"" for batch in said)


def test_the_process_looks_for_libsystemd_where_we_are_told_to(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "libsystemd.so.0").write_text("not a library")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    with pytest.raises(NotReady, match=rf"{tmp_path}/libsystemd.so.0: .*install libsystemd0"):
        read(recorded)


def test_a_journal_that_is_rotated_just_now_is_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [None, True]
    monkeypatch.setattr(worker, "is_readable", lambda _user: found.pop(0))
    assert worker._readable(USER) is True
    monkeypatch.setattr(worker, "is_readable", lambda _user: False)
    assert worker._readable(USER) is False


def test_a_small_batch_holds_whole_lines(recorded: Recorded) -> None:
    batches = in_process(recorded, 100, Reading())
    assert len(batches) > 5
    assert all(
        batch.data.endswith(b"\n")
        for batch in batches
        if not batch.notice and b"no end" not in batch.data and batch.data
    )
    assert text(batches) == text(read(recorded))


def test_a_line_without_end_is_passed_on_in_parts(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "HELD", 20_000)
    batches = in_process(recorded, 100, Reading())
    assert max(len(batch.data) for batch in batches) < 40_000
    assert streams(text(batches), [run for batch in batches for run in batch.runs]) == (OUTPUT, ERRORS)
    for number, batch in enumerate(batches):
        rest = in_process(recorded, 100, Reading(after=batch.end, timed=True))
        assert batch.data.endswith(b"\n") or not rest[0].data[:31].endswith(b"Z "), number
        assert text(in_process(recorded, 1 << 20, Reading(after=batch.end))) == text(batches[number + 1 :])


def test_a_line_has_its_time(recorded: Recorded) -> None:
    lines = lines_of(recorded)
    assert len(lines) == LINES
    first = read(recorded)[0].begin.place
    assert f"t={lines[0][0] // 1000:x};" in first
    assert b"\n".join(line for _, line in lines) == text(read(recorded))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    st.integers(0, LINES - 1),
    st.integers(0, LINES - 1),
    st.integers(-1500, 1500),
    st.none() | st.integers(0, LINES + 2),
    st.sampled_from([1, 300, 1 << 20]),
)
def test_the_window_comes_first_and_then_the_tail(
    recorded: Recorded, begin: int, end: int, off: int, tail: int | None, batch: int
) -> None:
    lines = lines_of(recorded)
    since, until = lines[begin][0] + off, lines[end][0] + 1 + off
    window = Window(since, until, tail)
    expected = [line for when, line in lines if since <= when < until]
    shown = expected if tail is None else expected[len(expected) - min(tail, len(expected)) :]
    found = text(in_process(recorded, batch, Reading(window)))
    # a line begins with the first of its messages, but stays unfinished where its last is beyond the window
    assert found.rstrip(b"\n").split(b"\n") == b"\n".join(shown).rstrip(b"\n").split(b"\n") or _cuts(
        lines, since, until
    )


def _cuts(lines: list[tuple[int, bytes]], since: int, until: int) -> bool:
    """Whether a bound of the window may lie within a line of several messages."""
    long = [when for when, line in lines if len(line) > 8000 or line == b"part whole"]
    return any(when - 2 * 10**9 < bound < when + 2 * 10**9 for when in long for bound in (since, until))


@pytest.mark.parametrize("tail", [0, 1, 2, 11, 21, 24, LINES - 1, LINES, LINES + 1])
def test_a_tail_is_the_last_lines(recorded: Recorded, tail: int) -> None:
    lines = [line for _, line in lines_of(recorded)]
    assert text(in_process(recorded, 500, Reading(Window(tail=tail)))) == b"\n".join(lines[LINES - min(tail, LINES) :])


@pytest.mark.parametrize("batch", [1, 300, 1 << 20])
@pytest.mark.parametrize("tail", [None, 5])
def test_every_place_goes_on_exactly_there(recorded: Recorded, batch: int, tail: int | None) -> None:
    batches = in_process(recorded, batch, Reading(Window(tail=tail)))
    for number, each in enumerate(batches):
        assert text(in_process(recorded, 700, Reading(after=each.end))) == text(batches[number + 1 :])
        for lines in range(0, each.data.count(b"\n") + 1, 7):
            after = Position.parse(str(Position(each.begin.place, each.begin.skip + lines)))
            rest = text(batches[number:]).split(b"\n", lines)[lines]
            assert text(in_process(recorded, 700, Reading(after=after))) == rest


def test_a_place_that_the_journal_forgot_is_said_once(recorded: Recorded) -> None:
    batches = read(recorded, after=Position(f"00>0,{FOREIGN}"))
    assert [batch.notice for batch in batches].count(worker.POSITION_LOST) == 1
    assert (batches[0].notice, batches[0].data) == (worker.POSITION_LOST, b"")
    assert text(batches) == text(read(recorded))
    assert not any(batch.notice == worker.POSITION_LOST for batch in read(recorded, after=batches[0].end))


def test_a_place_behind_the_end_is_said_too(recorded: Recorded) -> None:
    late = FOREIGN.replace("t=5", "t=7ffffffffffff")
    batches = read(recorded, after=Position(f"00>9,{late}"))
    assert batches[0].notice == worker.POSITION_LOST
    assert (text(batches), batches[-1].caught_up) == (b"", True)


@pytest.mark.parametrize("place", ["", "nonsense", "00>", "00>1,nonsense", "00@1,-1", "00@1," + "9" * 30, "22>1,s=1"])
def test_what_is_no_place_is_an_error(recorded: Recorded, place: str) -> None:
    with pytest.raises(InvalidInput, match="invalid log position: not a "):
        read(recorded, after=Position(place))


@given(
    st.sampled_from([(">", FOREIGN), ("=", FOREIGN), ("@", "0"), ("@", "1795374139000007")]),
    st.integers(0, 10**17 - 1),
    st.tuples(st.booleans(), st.booleans()),
)
def test_a_place_is_text(at: tuple[str, str], said: int, begun: tuple[bool, bool]) -> None:
    place = JournalCursor(*at, said, begun)
    assert JournalCursor.parse(str(place)) == place


def test_a_container_that_logged_nothing_has_a_place_too(recorded: Recorded) -> None:
    batches = read(recorded, "0" * 64, window=Window(since=7_001))
    assert (text(batches), batches[-1].caught_up, batches[0].begin) == (b"", True, Position("00@7,8"))
    [again] = read(recorded, "0" * 64, after=batches[-1].end)
    assert (again.data, again.runs, again.notice, again.caught_up) == (b"", [], "", True)


def test_what_journald_dropped_is_said_where_it_was(recorded: Recorded) -> None:
    batches = read(recorded, recorded.loud)
    assert text(batches).endswith(b"after\n")
    [said] = [batch for batch in batches if batch.notice]
    assert said.notice == (
        "journald, because of its rate limit: Suppressed 371 messages from user@992.service: lines may be missing"
    )
    assert text(batches[batches.index(said) + 1 :]) == b"after\n"
    assert not any(batch.notice for batch in read(recorded, recorded.loud, after=said.end))
    assert read(recorded, recorded.loud, after=said.begin)[0].notice == said.notice


def test_what_journald_dropped_of_other_users_is_not_ours(recorded: Recorded) -> None:
    source = recorded.source(recorded.loud)
    batches = asyncio.run(collect(JournaldReader(recorded.folder, USER + 1).read(source, Reading())))
    assert not any(batch.notice for batch in batches)


def test_a_follower_catches_up_and_ends_when_it_is_told(recorded: Recorded) -> None:
    async def follow() -> tuple[list[Batch], float]:
        end, batches, told = asyncio.Event(), [], 0.0
        async for batch in recorded.reader().read(recorded.source(), Reading(Window(tail=1), follow=end)):
            batches.append(batch)
            end.set()
            told = time.monotonic()
        return batches, time.monotonic() - told

    batches, took = asyncio.run(follow())
    assert (text(batches), batches[-1].caught_up) == (b"no end", True)
    assert took < 15


def test_a_follower_ends_at_the_end_of_its_window(recorded: Recorded) -> None:
    window = Window(until=lines_of(recorded)[-1][0])
    batches = read(recorded, window=window, follow=asyncio.Event())
    assert text(batches).endswith(b"error 9\n")
    assert batches[0].caught_up


def test_closing_ends_the_process_at_once(recorded: Recorded) -> None:
    async def close() -> float:
        batches = recorded.reader().read(recorded.source(), Reading(follow=asyncio.Event()))
        await anext(batches)
        assert _children() == 1
        began = time.monotonic()
        await batches.aclose()
        assert _children() == 0
        assert len(asyncio.all_tasks()) == 1
        return time.monotonic() - began

    assert asyncio.run(close()) < 5


def _children() -> int:
    """How many processes of worker.py there are below this one."""
    count = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            is_ours = int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid()
            count += is_ours and worker.__name__.encode() in stat.with_name("cmdline").read_bytes()
        except OSError:
            continue  # it has ended meanwhile
    return count


def child_argv(code: str) -> list[str]:
    """The argv of a child that runs this code in our tree."""
    return [sys.executable, "-I", "-c", f"import sys; sys.path.append({str(resources.ROOT)!r}); {code}"]


def test_a_child_that_fails_is_quoted(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "module_argv", lambda _: child_argv("raise SystemExit('no such thing')"))
    with pytest.raises(Unavailable, match=r"^the journal cannot be read: no such thing$"):
        read(recorded)


def test_a_folder_without_a_journal_is_an_error(tmp_path: Path) -> None:
    reader = JournaldReader(tmp_path / "missing")
    with pytest.raises(Unavailable, match="the journal cannot be read: No such file or directory"):
        asyncio.run(collect(reader.read(LogSource("a", "b", "c", "0" * 64, "journald"), Reading())))


def test_without_libsystemd_it_says_what_is_missing(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"import {sd_journal.__name__} as library, {worker.__name__} as child"
    code = f"{code}; library.LIBRARY = 'libnot.so.0'; child.main()"
    monkeypatch.setattr(resources, "module_argv", lambda _: child_argv(code))
    with pytest.raises(NotReady, match=r"libnot\.so\.0.*; install libsystemd0"):
        read(recorded)


def test_a_missing_group_is_named_with_what_to_do() -> None:
    error: McpError = reader._error("denied", "")
    assert isinstance(error, NotReady)
    assert "is not in the group systemd-journal; as root, run `usermod -aG systemd-journal " in str(error)
    assert "SupplementaryGroups=systemd-journal" in str(error)


@pytest.mark.parametrize(
    ("files", "user", "readable"),
    [
        ({}, USER, None),
        ({"system.journal": True}, USER, True),
        ({"system.journal": False}, USER, False),
        ({"system.journal": False, "user-1000.journal": True}, 1000, True),
        ({"system.journal": False, "user-1000.journal": True}, USER, False),
        ({"system.journal": True, "system@0-1.journal": False}, USER, True),
    ],
)
def test_the_file_that_matters_must_be_readable(
    files: dict[str, bool], user: int, readable: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "machine-id").write_text("17\n")
    (tmp_path / "log/17").mkdir(parents=True)
    for name in files:
        (tmp_path / "log/17" / name).touch()
    monkeypatch.setattr(sd_journal, "MACHINE_ID", tmp_path / "machine-id")
    monkeypatch.setattr(sd_journal, "_may_read", lambda path: files[path.name])
    assert sd_journal.is_readable(user, (tmp_path / "none", tmp_path / "log")) is readable
