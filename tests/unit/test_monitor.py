"""The monitor's rounds, on a podman that says what the test wants."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.config import MonitorConfig
from agent.log import logger
from agent.monitor import boots, loop
from agent.monitor.event_log import EventLog
from agent.monitor.healing import Repair
from agent.monitor.loop import Monitor
from agent.monitor.state import Boot
from agent.podman.inspect import ContainerDetails
from agent.podman.output import Container
from agent.services.operations import Operations
from agent.store.events import Event
from agent.store.registry import AsyncRegistry, Registry
from mcp.shared.errors import McpError, NotReady, Unavailable
from mcp.shared.spec import ComponentSpec
from mcp.shared.states import DesiredState

Listed = list[Container] | McpError


class Podman:
    """Answers with one list after the other."""

    def __init__(self, *answers: Listed) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.on_start: list[Callable[[str], object]] = []

    async def containers(self) -> list[Container]:
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, McpError):
            raise answer
        return answer

    async def inspect(self, *names: str) -> dict[str, ContainerDetails]:
        return {name: ContainerDetails("id", name, "exited", 3, ended=1.0) for name in names}

    async def end_overdue_checks(self, _identifiers: Collection[str]) -> None:
        """There are none."""


class FullDisk(EventLog):
    """Cannot write the first time."""

    full = True

    async def add(self, events: Sequence[Event]) -> None:
        if self.full:
            self.full = False
            raise NotReady("the disk is full")
        await super().add(events)


def web(state: str) -> list[Container]:
    """The container of web in a state."""
    return [Container("id", "web", "localhost/web:1", state, 0, None)]


async def not_repaired(_repair: Repair) -> bool:
    return False


def monitor_of(
    podman: Any,
    log: EventLog,
    registry: AsyncRegistry,
    interval: float,
    repair: Callable[[Repair], Awaitable[bool]] = not_repaired,
) -> Monitor:
    """A monitor that asks a stand-in."""
    rules: Any = MonitorConfig(interval=interval)
    return Monitor("rift", rules, podman, registry, Operations().services_since, log, repair)


def rounds(folder: Path, answers: Sequence[Listed], log: type[EventLog] = EventLog) -> list[tuple[str, str]]:
    """Let the monitor run until podman has given all its answers; return the events."""
    registry = Registry(folder / "mcp.db")
    registry.components.put("web", 0, ComponentSpec("web", "localhost/web:1"), DesiredState.RUNNING)
    shared, podman = AsyncRegistry(registry), Podman(*answers)

    async def play() -> None:
        monitor = monitor_of(podman, log(shared), shared, 0.01)
        task = asyncio.create_task(monitor.run(asyncio.create_task(asyncio.sleep(0))))
        async with asyncio.timeout(60):
            while podman.asked <= len(answers):  # the round of the last answer is over when the next one asks
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait({task})

    asyncio.run(play())
    events = [(event.previous, event.state) for event in registry.events.select()]
    shared.close()
    return events


def test_rounds_that_fail_are_skipped(tmp_path: Path) -> None:
    answers: list[Listed] = [web("running"), Unavailable("podman hangs"), web("running"), Unavailable("again"), []]
    assert rounds(tmp_path, answers) == [("", "running"), ("running", "unknown")]


def test_an_empty_list_that_follows_no_failure_is_believed(tmp_path: Path) -> None:
    assert rounds(tmp_path, [web("running"), []]) == [("", "running"), ("running", "removed")]


def test_events_that_cannot_be_written_are_written_later(tmp_path: Path) -> None:
    answers: list[Listed] = [web("running"), web("exited")]
    assert rounds(tmp_path, answers, FullDisk) == [("", "running"), ("running", "exited")]


def test_a_bug_in_a_round_does_not_end_the_monitor(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken: Any = RuntimeError  # not even an McpError
    assert rounds(tmp_path, [web("running"), broken, web("exited")])[-1] == ("running", "exited")


def test_a_round_that_fails_in_the_moment_of_the_cancellation_does_not_keep_the_monitor_alive(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "mcp.db")
    shared = AsyncRegistry(registry)

    class Hangs(Podman):
        async def containers(self) -> list[Container]:
            await asyncio.sleep(0)
            raise Unavailable("podman hangs")

    async def cancelled_after(ticks: int) -> bool:
        monitor = monitor_of(Hangs(), EventLog(shared), shared, 0)
        task = asyncio.create_task(monitor.run(asyncio.create_task(asyncio.sleep(0))))
        await asyncio.sleep(0.02)
        for _ in range(ticks):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=60)
        return bool(done)

    async def play() -> list[int]:
        return [ticks for ticks in range(40) if not await cancelled_after(ticks)]

    assert asyncio.run(play()) == []
    shared.close()


def test_the_end_of_a_process_is_noticed_at_once_and_repaired(tmp_path: Path) -> None:
    """However long the interval is; the event has the repair."""
    registry = Registry(tmp_path / "mcp.db")
    registry.components.put("web", 0, ComponentSpec("web", "localhost/web:1"), DesiredState.RUNNING)
    shared, repairs = AsyncRegistry(registry), list[Repair]()

    with subprocess.Popen([sys.executable, "-Ic", "input()"], stdin=subprocess.PIPE) as process:
        up = replace(web("running")[0], pid=process.pid)

        class Ends(Podman):
            async def containers(self) -> list[Container]:
                self.asked += 1
                return [up if process.poll() is None or repairs else replace(up, state="exited", exit_code=3)]

        async def repair(due: Repair) -> bool:
            repairs.append(due)
            return True

        async def play() -> None:
            podman = Ends()
            monitor = monitor_of(podman, EventLog(shared), shared, 3600, repair)
            await monitor.round()
            task = asyncio.create_task(monitor.run(asyncio.create_task(asyncio.sleep(0))))
            process.kill()
            await asyncio.to_thread(process.wait)
            async with asyncio.timeout(60):
                while len(registry.events.select()) < 3:
                    await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.wait({task})
            assert podman.asked <= 5, "not each second"

        asyncio.run(play())
    assert [(due.key, due.reason, due.attempt) for due in repairs] == [(("web", "web"), "exit code 3", 1)]
    events = [(event.previous, event.state, event.detail) for event in registry.events.select()]
    assert events == [
        ("", "running", ""),
        ("running", "exited", "exit code 3"),
        ("exited", "running", "started by the agent after exit code 3 (attempt 1)"),
    ]
    shared.close()


def test_one_that_was_started_a_moment_ago_is_watched_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any round has seen its process; as long as that runs, podman is not asked."""
    shared, podman, found = AsyncRegistry(Registry(tmp_path / "mcp.db")), Podman([]), list[list[str]]()
    monkeypatch.setattr(loop, "LOOK_PAUSE", 0.01)
    with subprocess.Popen([sys.executable, "-Ic", "input()"], stdin=subprocess.PIPE) as process:

        def conmons(names: list[str]) -> set[int]:
            found.append(names)
            return {process.pid}

        monkeypatch.setattr(loop, "conmons", conmons)

        async def play() -> None:
            task = asyncio.create_task(
                monitor_of(podman, EventLog(shared), shared, 3600).run(asyncio.create_task(asyncio.sleep(0)))
            )
            await asyncio.sleep(0.1)
            podman.on_start[0]("web")
            await asyncio.sleep(0.2)
            assert podman.asked == 0
            process.kill()
            await asyncio.to_thread(process.wait)
            async with asyncio.timeout(60):
                while not podman.asked:
                    await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.wait({task})

        asyncio.run(play())
    assert (found, podman.asked) == ([["web"]], 1)
    shared.close()


def test_a_repair_that_fails_and_a_container_that_cannot_be_examined_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry(tmp_path / "mcp.db")
    registry.components.put("web", 0, ComponentSpec("web", "localhost/web:1"), DesiredState.RUNNING)
    shared = AsyncRegistry(registry)

    class Blind(Podman):
        async def inspect(self, *names: str) -> dict[str, ContainerDetails]:
            if self.asked == 1:
                raise Unavailable("podman hangs")
            return await super().inspect(*names)

    async def repair(_due: Repair) -> bool:
        raise NotReady("no such device")

    async def play() -> None:
        podman = Blind(*[web("exited")] * 1000)
        monitor = monitor_of(podman, EventLog(shared), shared, 0.05, repair)
        task = asyncio.create_task(monitor.run(asyncio.create_task(asyncio.sleep(0))))
        async with asyncio.timeout(60):
            while "cannot repair a failed component" not in caplog.text:
                await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait({task})

    with watched_log(caplog):
        asyncio.run(play())
    assert "cannot examine failed components" in caplog.text
    assert [(event.previous, event.state) for event in registry.events.select()] == [("", "exited")]
    shared.close()


@contextmanager
def watched_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Have caplog see the agent's log, which does not propagate."""
    logger.addHandler(caplog.handler)
    try:
        yield
    finally:
        logger.removeHandler(caplog.handler)


def test_the_end_of_a_job_is_written_down_and_outlasts_a_change_of_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the record the next agent would run the job again."""
    job = replace(web("exited")[0], started=datetime.now(UTC), exited=True)
    service = replace(web("exited")[0], identifier="other", name="web-api", started=datetime.now(UTC), exited=True)
    monkeypatch.setattr(boots, "boot_time", lambda: datetime.now(UTC) - timedelta(hours=1))
    registry = AsyncRegistry(Registry(tmp_path / "mcp.db"))
    for spec in (ComponentSpec("web", "localhost/web:1", restart="no"), ComponentSpec("api", "localhost/web:1")):
        registry.components.put("web", 0, spec, DesiredState.RUNNING)

    async def round_and_boot() -> Boot:
        monitor = monitor_of(Podman([job, service]), EventLog(registry), registry, 1)
        await monitor.round()
        monkeypatch.setattr(boots, "boot_time", lambda: datetime.now(UTC) + timedelta(days=1))
        return await boots.present_boot(registry)

    boot = asyncio.run(round_and_boot())
    assert boot.has_completed("no", job)
    assert not boot.has_completed("no", service), "that is no job, so its end is not written down"
    registry.components.remove("web", "web")
    monkeypatch.setattr(boots, "boot_id", lambda: "that of another boot")
    assert not asyncio.run(boots.present_boot(registry)).ended
    registry.close()
