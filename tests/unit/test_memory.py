"""When the agent gives memory back."""

import asyncio
import ctypes
from types import SimpleNamespace

import pytest

from agent.daemon import memory
from agent.tasks import create_guarded_task

MIB = 1024 * 1024


def test_memory_is_given_back_however_long_a_flood_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    resident = 50 * MIB
    flood_until, calls = 100, 0

    def trim(_pad: int) -> int:
        nonlocal resident, calls
        calls += 1
        resident = (500 if calls < flood_until else 55) * MIB
        return 1

    async def flood() -> None:
        nonlocal resident
        task = create_guarded_task(memory.give_back(), "memory watch")
        await asyncio.sleep(0)
        resident = 500 * MIB
        async with asyncio.timeout(60):
            while resident > 60 * MIB:
                await asyncio.sleep(0)
        task.cancel()

    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace(malloc_trim=trim))
    monkeypatch.setattr(memory, "SECONDS", 0)
    monkeypatch.setattr(memory, "_resident", lambda: resident)
    asyncio.run(flood())
    assert calls == flood_until
