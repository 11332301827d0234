"""Events in the registry."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.monitor.event_log import PAGE, EventLog
from agent.store import events
from agent.store.events import Event
from agent.store.registry import AsyncRegistry, Registry

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Registry]:
    """A fresh registry."""
    opened = Registry(tmp_path / "mcp.db")
    yield opened
    opened.close()


def event(service: str, state: str, days: float = 0, component: str = "api") -> Event:
    """An event of so many days ago."""
    return Event(service, component, "running", state, NOW - timedelta(days=days), "why")


def test_they_come_back_as_they_went_in_with_numbers(db: Registry) -> None:
    db.events.add([event("web", "exited"), event("db", "removed")])
    assert db.events.select() == [
        Event("web", "api", "running", "exited", NOW, "why", 1),
        Event("db", "api", "running", "removed", NOW, "why", 2),
    ]
    assert [each.number for each in db.events.select("db")] == [2]
    assert [each.number for each in db.events.select(after=1)] == [2]
    assert [each.number for each in db.events.select(limit=1)] == [1]


def test_the_last_ones(db: Registry) -> None:
    db.events.add([event(service, "exited") for service in ("web", "db", "web", "web", "db")])
    assert [each.number for each in db.events.select("web", db.events.number_before_last("web", 2))] == [3, 4]
    assert db.events.number_before_last("", 2) == 3
    assert db.events.number_before_last("web", 0) == 4
    assert db.events.number_before_last("web", 3) == 0
    assert db.events.number_before_last("none", 0) == 0


def test_the_last_of_each_component(db: Registry) -> None:
    db.events.add([event("web", "exited"), event("web", "running"), event("web", "removed", component="work")])
    assert [(each.component, each.state, each.number) for each in db.events.latest()] == [
        ("api", "running", 2),
        ("work", "removed", 3),
    ]


def test_old_ones_go_but_for_what_says_how_things_are(db: Registry) -> None:
    db.events.add([event("web", "exited", 40), event("web", "running", 39), event("gone", "removed", 38)])
    db.events.add([event("db", "exited", 31), event("db", "running", 1)])
    assert db.events.prune(NOW - timedelta(days=30)) == 3
    assert [(each.service, each.state) for each in db.events.select()] == [("web", "running"), ("db", "running")]
    assert db.events.prune(NOW - timedelta(days=30)) == 0


def test_too_many_go_the_oldest_first(db: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEPT_EVENTS", 3)
    db.events.add([event("db", "running"), *[event("web", "exited")] * 5])
    assert db.events.prune(NOW - timedelta(days=30)) == 2
    assert [each.service for each in db.events.select()] == ["db", "web", "web", "web"]


def test_numbers_are_not_used_again(db: Registry) -> None:
    db.events.add([event("gone", "removed", 40)])
    db.events.prune(NOW)
    db.events.add([event("web", "exited")])
    assert [each.number for each in db.events.select()] == [2]


async def read(db: Registry, after: int, tail: int | None) -> list[int]:
    """The numbers of past events, read through a log."""
    log = EventLog(AsyncRegistry(db))
    return [each.number async for each in log.read("", after, tail, follow=False)]


def test_all_pages_are_read(db: Registry) -> None:
    db.events.add([event("web", "exited")] * (2 * PAGE))
    assert asyncio.run(read(db, 0, None)) == list(range(1, 2 * PAGE + 1))
    assert asyncio.run(read(db, 0, 3)) == [2 * PAGE - 2, 2 * PAGE - 1, 2 * PAGE]
    assert asyncio.run(read(db, 2 * PAGE - 1, 3)) == [2 * PAGE]
    assert asyncio.run(read(db, 0, 0)) == []


def test_following_misses_none(db: Registry) -> None:
    async def play() -> list[int]:
        log = EventLog(AsyncRegistry(db))
        await log.add([event("web", "exited")])
        following = log.read("web", 0, None, follow=True)
        numbers = [(await anext(following)).number]
        waiting = asyncio.ensure_future(anext(following))
        await asyncio.sleep(0.05)
        await log.add([event("db", "exited")])
        await log.add([event("web", "running")])
        numbers.append((await waiting).number)
        await following.aclose()
        return numbers + [each.number for each in await log.last("web", 1)]

    assert asyncio.run(play()) == [1, 3, 3]
