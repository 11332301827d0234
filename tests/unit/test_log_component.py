"""The log of a component: from run to run of its containers, and on from where an earlier call broke off."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace

import pytest

from agent.logs import component
from agent.logs.component import ComponentLog, ComponentQuery, parse_cursor
from agent.logs.follow import Removed, Tracker
from agent.logs.inotify import Inotify
from agent.logs.model import Batch, LogReader, LogSource, Piece, Position, Reading, Window
from agent.store.previous_logs import PreviousLog, PreviousReason
from mcp.shared.errors import InvalidInput, McpError
from tests.unit.test_log_follow_container import World, seen

RECORDS = b"".join(b"2026-11-22T10:00:0%d.000000000+00:00 stdout F old %d\n" % (n, n) for n in range(4))
RECORD = len(RECORDS) // 4
KEPT = PreviousLog(
    *("web", "api", "id0", "web-api", 3, "1.0.0", "k8s-file"),
    *(None, 1, PreviousReason.REPLACED, RECORDS, "7.0.0"),
)


class Logged:
    """A reader of what the test says that each container logged; its positions are line numbers."""

    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = {}
        self.readings: list[tuple[str, Reading]] = []
        self.until: int | None = None

    async def read(self, source: LogSource, reading: Reading) -> AsyncGenerator[Batch]:
        self.readings.append((source.identifier, reading))
        at = int(reading.after.place) + reading.after.skip if reading.after else 0
        while True:
            over = reading.follow is None or reading.follow.is_set()
            over = over or (self.until is not None and time.time_ns() > self.until)
            lines = self.lines.get(source.identifier, [])
            if reading.after is None and reading.window.tail is not None and at == 0:
                at = max(0, len(lines) - reading.window.tail)
            data = "".join(f"{line}\n" for line in lines[at:]).encode()
            runs = [(len(data), False)] if data else []
            yield Batch(data, runs, Position(str(at)), Position(str(len(lines))), caught_up=True)
            at = len(lines)
            if over:
                return
            await asyncio.sleep(0.01)


def log_of(logged: Logged, wanted: ComponentQuery, kept: PreviousLog | None = None) -> ComponentLog:
    async def what_was_kept() -> PreviousLog | None:
        return kept

    def pick(what: LogReader | LogSource) -> LogReader:
        return logged if isinstance(what, LogSource) else what

    return ComponentLog(wanted, pick, what_was_kept)


Show = Callable[[str], Awaitable[None]]


def followed(
    logged: Logged, world: World, wanted: ComponentQuery, play: Callable[[Show], Awaitable[None]]
) -> list[str]:
    """What a follower is shown while `play` runs; play's argument waits until a text was shown."""
    shown: list[str] = []
    news = asyncio.Event()

    async def wait_for(text: str) -> None:
        async with asyncio.timeout(60):
            while not any(text in each for each in shown):
                news.clear()
                await news.wait()

    async def follow() -> None:
        tracker = Tracker("web/api", world.look, Inotify())
        async for piece in log_of(logged, wanted, KEPT).follow(tracker, wait=False):
            shown.extend(filter(None, [piece.batch.notice, piece.batch.data.decode()]))
            news.set()

    async def go() -> None:
        task = asyncio.create_task(follow())
        await play(wait_for)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(go())
    return shown


def test_a_follower_goes_on_through_an_end_a_start_and_a_replacement() -> None:
    logged, world = Logged(), World(seen())
    logged.lines = {"id1": ["one"]}

    async def play(wait_for: Show) -> None:
        await wait_for("one\n")
        logged.lines["id1"].append("last words")
        world.now = seen(running=False, exit_code=3)
        await wait_for("exited")
        logged.lines["id1"].append("again")
        world.now = seen(started=2.0)
        await wait_for("again")
        logged.lines["id2"] = ["new"]
        world.now = seen("id2", 3.0, image="localhost/web:1.2.4")
        await wait_for("new\n")

    assert followed(logged, world, ComponentQuery(Window(), False), play) == [
        *("web/api: attached to web-api, 1.0.0", "one\n", "last words\n", "web/api: exited with code 3"),
        *("web/api: restarted", "again\n"),
        *("web/api: replaced by 1.2.4", "new\n"),
    ]


def test_an_end_that_nobody_saw_is_told_by_the_next_start() -> None:
    logged, world = Logged(), World(seen())

    async def play(wait_for: Show) -> None:
        await wait_for("attached")
        world.now = seen(started=2.0)
        await wait_for("restarted")

    assert followed(logged, world, ComponentQuery(Window(), False), play)[1:] == ["web/api: exited and restarted"]


def test_an_end_of_which_podman_knows_no_code_is_told_without_one() -> None:
    logged, world = Logged(), World(seen(running=False, ended=0.0))

    async def play(wait_for: Show) -> None:
        await wait_for("exited")
        world.now = seen(started=2.0)
        await wait_for("restarted")

    assert followed(logged, world, ComponentQuery(Window(), False), play)[1:] == [
        "web/api: exited (exit code unknown)",
        "web/api: restarted",
    ]


def test_a_container_that_somebody_removed_is_said_to_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component, "GONE", 0.3)
    logged, world = Logged(), World(seen())

    async def play(wait_for: Show) -> None:
        await wait_for("attached")
        world.now = None
        await wait_for("gone")
        world.now = seen("id2")
        await wait_for("replaced")

    assert followed(logged, world, ComponentQuery(Window(), False), play)[1:] == [
        "web/api: the container web-api is gone",
        "web/api: replaced by 1.0.0",
    ]


def test_a_follower_that_comes_back_is_not_told_once_more_what_it_is_attached_to() -> None:
    logged, world = Logged(), World(seen())
    logged.lines = {"id1": ["one", "two"]}

    async def play(wait_for: Show) -> None:
        await wait_for("two")

    assert followed(logged, world, ComponentQuery(Window(), False, "id1/1+0"), play) == ["two\n"]


def test_following_ends_with_the_component() -> None:
    logged, world = Logged(), World(seen())

    async def play(wait_for: Show) -> None:
        await asyncio.sleep(0.1)
        world.now = Removed()
        await wait_for("removed")

    assert followed(logged, world, ComponentQuery(Window(), False), play) == [
        "web/api: attached to web-api, 1.0.0",
        "web/api: removed",
    ]


def test_the_tail_is_of_the_first_container_only() -> None:
    logged, world = Logged(), World(seen())
    logged.lines = {"id1": ["one", "two"], "id2": ["three", "four", "five"]}

    async def play(wait_for: Show) -> None:
        await wait_for("two")
        world.now = seen("id2")
        await wait_for("five")

    shown = followed(logged, world, ComponentQuery(Window(tail=1), False), play)
    assert shown == [
        "web/api: attached to web-api, 1.0.0",
        "two\n",
        "web/api: replaced by 1.0.0",
        "three\nfour\nfive\n",
    ]


def once(logged: Logged, wanted: ComponentQuery, kept: PreviousLog | None) -> list[str]:
    async def go() -> list[Piece]:
        return [piece async for piece in log_of(logged, wanted, kept).once(seen().source)]

    return [text for piece in asyncio.run(go()) for text in (piece.batch.notice, piece.batch.data.decode()) if text]


def test_a_cursor_goes_on_in_its_container() -> None:
    logged = Logged()
    logged.lines = {"id1": ["one", "two", "three"]}
    assert once(logged, ComponentQuery(Window(tail=1), False, "id1/1+1"), None) == ["three\n"]


def test_a_cursor_before_any_line_begins_at_the_start_of_its_container() -> None:
    logged = Logged()
    logged.lines = {"id1": ["one", "two"]}
    assert once(logged, ComponentQuery(Window(), False, "id1/+0"), None) == ["one\ntwo\n"]


def test_a_cursor_in_a_container_that_was_replaced_goes_on_in_what_was_kept() -> None:
    logged = Logged()
    logged.lines = {"id1": ["new"]}
    cursor = f"id0/7.0.{2 * RECORD:x}+0"
    shown = once(logged, ComponentQuery(Window(tail=1), False, cursor), KEPT)
    assert shown == ["old 2\nold 3\n", "web/api: replaced", "new\n"]


def test_a_cursor_in_the_journal_goes_on_there_after_its_container_was_replaced() -> None:
    logged = Logged()
    logged.lines = {"id0": ["old 0", "old 1", "old 2"], "id1": ["new"]}
    shown = once(logged, ComponentQuery(Window(), False, "id0/1+1"), replace(KEPT, driver="journald", place="0.0.0"))
    assert shown == ["old 2\n", "web/api: replaced", "new\n"]


def test_a_cursor_that_means_nothing_in_what_was_kept_is_no_error() -> None:
    logged = Logged()
    logged.lines = {"id1": ["new"]}
    cursor = "id0/1795342766000000001,1;0,0;0+0"  # of podman logs
    shown = once(logged, ComponentQuery(Window(), False, cursor), replace(KEPT, driver="passthrough", place="0.0.0"))
    assert shown == ["web/api: lines may be missing: the container was replaced, and its log was not saved", "new\n"]


def test_what_could_not_be_had_is_said() -> None:
    logged = Logged()
    logged.lines = {"id1": ["new"]}
    shown = once(logged, ComponentQuery(Window(), False, "gone/7.0.0+0"), KEPT)
    assert shown == ["web/api: lines may be missing: the container was replaced, and its log was not saved", "new\n"]


@pytest.mark.parametrize("text", ["", "x", "/0+0", "id/0", "id/0+x", "id/0+-1", "i" * 2000 + "/0+0"])
def test_a_cursor_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="cursors"):
        parse_cursor(text)


def test_a_cursor_keeps_its_place_where_a_duration_now_means_a_later_time() -> None:
    logged = Logged()
    logged.lines = {"id1": ["new"]}
    once(logged, ComponentQuery(Window(since=10**18, until=2 * 10**18), False, "gone/7.0.0+0"), None)
    once(logged, ComponentQuery(Window(since=10**18, until=2 * 10**18), False, "id1/+0"), None)
    assert [reading.window for _, reading in logged.readings] == [Window(until=2 * 10**18)] * 2


@pytest.mark.parametrize("running", [True, False])
def test_a_follower_ends_with_its_window(running: bool) -> None:
    logged, world = Logged(), World(seen(running=running))
    logged.lines = {"id1": ["one"]}

    async def go() -> list[str]:
        wanted = ComponentQuery(Window(until=time.time_ns() + 300_000_000), False)
        if running:  # as a reader does that has come to the end of the window
            logged.until = wanted.window.until
        pieces = log_of(logged, wanted).follow(Tracker("web/api", world.look, Inotify()), wait=False)
        async with asyncio.timeout(60):
            return [text async for piece in pieces for text in (piece.batch.data.decode(), piece.batch.notice) if text]

    shown = ["one\n", "web/api: attached to web-api, 1.0.0"]  # a batch's text comes before its notice here
    assert asyncio.run(go()) == shown + ([] if running else ["web/api: exited with code 0"])


def test_a_window_that_has_ended_is_not_followed() -> None:
    log = log_of(Logged(), ComponentQuery(Window(until=5), False))
    assert (log.is_over(4), log.is_over(5)) == (False, True)
    assert not log_of(Logged(), ComponentQuery(Window(), False)).is_over(5)


def test_a_follower_ends_with_an_error_where_the_tracking_dies() -> None:
    logged, world = Logged(), World(seen())
    logged.lines = {"id1": ["one"]}
    shown: list[str] = []

    async def go() -> None:
        tracker = Tracker("web-api", world.look, Inotify())
        async with asyncio.timeout(60):
            async for piece in log_of(logged, ComponentQuery(Window(), False)).follow(tracker, wait=False):
                shown.append(piece.batch.data.decode())
                world.now = KeyError("State")
                tracker.inspect_now()

    with pytest.raises(McpError, match="the tracking of web-api ended unexpectedly"):
        asyncio.run(go())
    assert "".join(shown) == "one\n"
