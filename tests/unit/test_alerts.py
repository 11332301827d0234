"""The alert command: its environment, and that nothing it does can hold up the agent."""

import asyncio
import logging
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.log import logger
from agent.monitor.alerts import AT_ONCE, Alerter, environment
from agent.store.alerts import Alert, AlertKind

ALERT = Alert("web", "api", AlertKind.DRIFT, "running", "exited", "exit code 3", datetime(2026, 1, 31, 12, tzinfo=UTC))


class Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, object]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append((record.getMessage(), getattr(record, "fields", {})))


def send(alerter: Alerter, count: int = 1, *, wait: float = 60.0) -> list[tuple[str, dict[str, object]]]:
    """Send alerts, give the commands so many seconds, and return what was logged."""

    async def play() -> None:
        for _ in range(count):
            alerter.send(ALERT)
        end = time.monotonic() + wait
        while alerter._tasks and time.monotonic() < end:
            await asyncio.sleep(0.02)
        await alerter.close()

    records = Records()
    logger.addHandler(records)
    try:
        asyncio.run(play())
    finally:
        logger.removeHandler(records)
    return records.seen


def test_the_facts() -> None:
    assert environment("rift", ALERT) == {
        "MCP_NODE": "rift",
        "MCP_SERVICE": "web",
        "MCP_COMPONENT": "api",
        "MCP_KIND": "drift",
        "MCP_DESIRED": "running",
        "MCP_OBSERVED": "exited",
        "MCP_DETAIL": "exit code 3",
        "MCP_SINCE": "2026-01-31T12:00:00.000000Z",
    }


def test_without_a_command_it_is_only_logged() -> None:
    ((message, facts),) = send(Alerter("rift", ()))
    assert message == "alert"
    assert facts["kind"] == "drift"


def test_nothing_else_of_ours_is_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_TOKEN", "secret")
    monkeypatch.setenv("SECRET", "secret")
    send(Alerter("rift", ("/bin/sh", "-c", f"env >{tmp_path}/env; test -p /dev/stdin && exit 1; exit 0")))
    assert "secret" not in (tmp_path / "env").read_text()
    assert "MCP_KIND=drift" in (tmp_path / "env").read_text()


def test_one_that_hangs_is_ended() -> None:
    began = time.monotonic()
    logged = send(Alerter("rift", ("/bin/sleep", "600"), seconds=0.2))
    assert time.monotonic() - began < 60
    assert logged[-1][0] == "the alert command failed"
    assert "did not end within 0.2 s" in str(logged[-1][1]["error"])


def test_only_some_run_at_the_same_time(tmp_path: Path) -> None:
    async def play() -> None:
        alerter = Alerter("rift", ("/bin/sh", "-c", f"touch {tmp_path}/$$; sleep 600"))
        for _ in range(3 * AT_ONCE):
            alerter.send(ALERT)
        async with asyncio.timeout(60):
            while len(list(tmp_path.iterdir())) < AT_ONCE:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)  # in which none is added
        await alerter.close()

    asyncio.run(play())
    assert len(list(tmp_path.iterdir())) == AT_ONCE
