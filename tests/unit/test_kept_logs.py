"""The end of a container's log, as the registry keeps it."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.logs.model import Batch, Reading, Window
from agent.logs.previous import LIMIT, PreviousLogReader, as_records, previous_source
from agent.logs.tail import TailLine
from agent.store.previous_logs import PreviousLog, PreviousReason
from agent.store.registry import Registry
from mcp.shared.spec import ComponentSpec
from mcp.shared.states import DesiredState

KEPT = PreviousLog(
    *("web", "api", "f00d" * 16, "web-api", 7, "1.0.0", "journald"),
    ended_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
    exit_code=137,
    reason=PreviousReason.FAILED,
    data=b"2026-11-22T10:19:26.500000000+00:00 stdout F a \xff\n"
    b"2026-11-22T10:19:26.500000001+00:00 stderr F b\n"
    b"2026-11-22T10:19:27.000000000+00:00 stdout F c\n",
    place="0.0.0",
)
API = ComponentSpec("api", "localhost/web:1")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Registry]:
    """A fresh registry."""
    opened = Registry(tmp_path / "mcp.db")
    yield opened
    opened.close()


def test_it_comes_back_as_it_was_and_the_last_one_counts(db: Registry) -> None:
    assert db.previous_logs.find("web", "api") is None
    assert db.previous_logs.names() == []
    db.previous_logs.put(KEPT)
    assert db.previous_logs.find("web", "api") == KEPT
    assert db.previous_logs.names() == [("web", "api")]
    never_ended = replace(KEPT, ended_at=None, reason=PreviousReason.REPLACED, data=b"")
    db.previous_logs.put(never_ended)
    assert db.previous_logs.find("web", "api") == never_ended
    assert db.previous_logs.find("web", "web") is None


def test_it_goes_with_its_component(db: Registry) -> None:
    for component in ("api", "worker"):
        db.components.put("web", 0, replace(API, name=component), DesiredState.RUNNING)
        db.previous_logs.put(replace(KEPT, component=component))
    db.components.remove("web", "api")
    assert db.previous_logs.find("web", "api") is None
    assert db.previous_logs.find("web", "worker") is not None


def timed(second: str, text: bytes, *, is_stderr: bool = False) -> TailLine:
    return TailLine(f"2026-11-22T10:19:{second}Z ".encode() + text, is_stderr)


def test_timed_lines_become_records() -> None:
    lines = [
        TailLine(b"no time before", False),
        timed("26.500000000", b"a b"),
        timed("27.123456789", b"error", is_stderr=True),
        timed("28.000000000", b""),
        TailLine(b"no time\r\x00\xff", False),
    ]
    assert as_records(lines) == (
        b"1970-01-01T00:00:00.000000000+00:00 stdout F no time before\n"
        b"2026-11-22T10:19:26.500000000+00:00 stdout F a b\n"
        b"2026-11-22T10:19:27.123456789+00:00 stderr F error\n"
        b"2026-11-22T10:19:28.000000000+00:00 stdout F \n"
        b"2026-11-22T10:19:28.000000000+00:00 stdout F no time\r\x00\xff\n"
    )
    assert as_records([]) == b""


def test_of_much_the_last_whole_records_are_kept() -> None:
    records = as_records([timed(f"26.{number:09d}", b"line") for number in range(3000)]).splitlines(keepends=True)
    assert LIMIT - 100 < sum(map(len, records)) <= LIMIT
    assert records[-1] == b"2026-11-22T10:19:26.000002999+00:00 stdout F line\n"
    assert {len(record) for record in records} == {len(records[-1])}


def test_of_a_last_line_that_is_longer_than_what_is_kept_the_end_is() -> None:
    last = timed("27.000000000", b"x" * LIMIT + b" the cause", is_stderr=True)
    records = as_records([timed("26.000000000", b"first"), last])
    assert records.startswith(b"2026-11-22T10:19:27.000000000+00:00 stderr F x")
    assert records.endswith(b"x the cause\n")
    assert len(records) == LIMIT


def read(kept: PreviousLog, reading: Reading) -> list[Batch]:
    async def work() -> list[Batch]:
        source = previous_source(kept, "web", "api")
        assert (source.container, source.identifier) == ("web-api", "f00d" * 16)
        async with aclosing(PreviousLogReader(kept).read(source, reading)) as batches:
            return [batch async for batch in batches]

    return asyncio.run(work())


def test_it_is_read_as_any_log() -> None:
    batches = read(KEPT, Reading())
    assert b"".join(batch.data for batch in batches) == b"a \xff\nb\nc\n"
    assert batches[-1].caught_up
    assert [run for batch in batches for run in batch.runs] == [(4, False), (2, True), (2, False)]
    assert b"".join(batch.data for batch in read(KEPT, Reading(Window(tail=1), timed=True))) == (
        b"2026-11-22T10:19:27.000000000Z c\n"
    )
    assert b"".join(batch.data for batch in read(KEPT, Reading(after=batches[-1].end))) == b""


def test_nothing_was_logged() -> None:
    assert b"".join(batch.data for batch in read(replace(KEPT, data=b""), Reading())) == b""
