"""What the log says of refused calls."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from agent.rpc import refusals
from agent.rpc.refusals import Refusals

PEER = "ipv4:192.0.2.7:{}"


async def until(condition: Callable[[], bool]) -> None:
    """Let the timers of a test run."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, object, object]]:
    """The message, the address and the count of each line."""
    found = []
    for record in caplog.records:
        values: dict[str, object] = getattr(record, "fields", {})
        found.append((record.getMessage(), values.get("peer") or values.get("address"), values.get("count")))
    return found


@pytest.fixture(autouse=True)
def _heard(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(logging.getLogger("mcp-agent"), "propagate", True)
    caplog.set_level(logging.INFO)


def test_the_first_at_once_then_a_count(caplog: pytest.LogCaptureFixture) -> None:
    async def flood() -> None:
        noted = Refusals(0.01)
        for port in range(1000):
            noted.note(PEER.format(port + 1), {"peer": PEER.format(port + 1)})
        noted.note("ipv6:%5B2001:db8::1%5D:5", {"peer": "six"})
        noted.note("ipv6:%5B2001:db8::2%5D:5", {"peer": "six"})
        assert lines(caplog) == [("refused", PEER.format(1), None), ("refused", "six", None)]
        await until(lambda: len(caplog.records) == 4)

    asyncio.run(flood())
    assert lines(caplog)[2:] == [("refused again", "192.0.2.7", 999), ("refused again", "2001:db8::/64", 1)]


def test_after_a_quiet_time_the_next_one_is_logged_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async def twice() -> None:
        noted = Refusals(0.01)
        noted.note(PEER.format(1), {"peer": "first"})
        await until(lambda: noted._timer is None)
        noted.note(PEER.format(2), {"peer": "second"})

    asyncio.run(twice())
    assert lines(caplog) == [("refused", "first", None), ("refused", "second", None)]


def test_many_addresses_are_counted_together(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "ADDRESSES", 2)

    async def crowd() -> None:
        noted = Refusals(0.01)
        for number in range(50):
            noted.note(f"ipv4:192.0.2.{number}:1", {"peer": number})
        assert len(caplog.records) == 3
        await until(lambda: len(caplog.records) == 4)

    asyncio.run(crowd())
    assert lines(caplog)[3] == ("refused again", "other addresses", 47)
