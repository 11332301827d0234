"""The monitor: compare podman's containers with the registry and the previous round, at an interval."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from datetime import UTC, datetime, timedelta

from agent.config import MonitorConfig
from agent.log import fields, logger
from agent.monitor.alerts import Alerter
from agent.monitor.boots import present_boot
from agent.monitor.changes import ChangeDetector, Moment, Repairs
from agent.monitor.event_log import EventLog
from agent.monitor.healing import Healing, Key, Repair
from agent.monitor.node import boot_id
from agent.monitor.state import observe, unrecorded_runs
from agent.podman.client import Podman, conmons
from agent.podman.output import Container
from agent.store.events import Event
from agent.store.registry import AsyncRegistry, ComponentRow
from agent.tasks import create_guarded_task, not_cancelled
from mcp.shared.errors import McpError

PRUNE_SECONDS = 3600.0
BOOT_PATIENCE = 120.0  # seconds; a slow pull must not delay the monitor for a quarter of an hour
LOOK_PAUSE = 1.0  # seconds between two looks for containers that have ended, and for repairs that are due
UNWRITTEN_LIMIT = 10_000  # events kept in memory while the registry cannot be written


class Monitor:
    """Monitors the components of this node while `run` runs."""

    def __init__(
        self,
        node: str,
        rules: MonitorConfig,
        podman: Podman,
        registry: AsyncRegistry,
        services_since: Callable[[float], set[str]],
        events: EventLog,
        repair: Callable[[Repair], Awaitable[bool]],
    ) -> None:
        """Write to `events`, and have failed components repaired.

        `services_since` returns the services with operations since a monotonic time.
        """
        self._rules = rules
        self._podman = podman
        self._registry = registry
        self._services_since = services_since
        self._events = events
        self._repair = repair
        self._alerter = Alerter(node, rules.alert_command)
        self.healing = Healing(rules)
        # what failed operations have left to be undone or completed, which is told and not repaired
        self.pending: Callable[[], Awaitable[Mapping[Key, str]]] = _nothing
        self._repaired: dict[Key, str] = {}  # the details of events to come
        self._repairs: set[asyncio.Task[None]] = set()
        self._watched: set[int] = set()  # processes of the components that should run
        self._started: set[str] = set()  # containers that may have none of them yet
        podman.on_start.append(self._started.add)
        self._detector: ChangeDetector | None = None
        self._unwritten: list[Event] = []
        self._last_round = time.monotonic()
        self._pruned = float("-inf")
        self._in_doubt = False

    async def run(self, boot: "asyncio.Task[None]") -> None:
        """Run a round each interval until cancelled, starting after `boot` or BOOT_PATIENCE."""
        try:
            await asyncio.wait({boot}, timeout=BOOT_PATIENCE)
            while not_cancelled():
                await self._pause()
                await self._safe_round()
        finally:
            for task in self._repairs:  # their operations continue
                task.cancel()
            await self._alerter.close()

    async def _pause(self) -> None:
        """Wait for the interval, or until a component ends, or is to be repaired, or was."""
        end = time.monotonic() + self._rules.interval
        while (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(left, LOOK_PAUSE))
            await self._watch_started()
            ended = {pid for pid in self._watched if not _exists(pid)}
            self._watched -= ended  # if podman fails now, the next round has to do
            if ended or self._repaired or self.healing.is_due(time.monotonic()):
                return

    async def _watch_started(self) -> None:
        """Watch the containers that were started since the last look, as one can end before the next round."""
        if names := list(self._started):
            self._started.clear()
            self._watched |= await asyncio.to_thread(conmons, names)

    async def _safe_round(self) -> None:
        try:
            await self.round()
        except McpError as error:
            self._in_doubt = True
            logger.warning("monitor: round skipped", extra=fields(error=str(error)))
        except Exception:  # noqa: BLE001 - a bug in one round must not end the monitor
            logger.exception("monitor: bug in a round")

    async def round(self) -> None:
        """Run one round; raises McpError if podman or the registry fails."""
        began = time.monotonic()
        # of before the list: a repair that ends while podman lists its containers is for the next round
        done, in_progress = dict(self._repaired), self.healing.in_progress
        now = Moment(datetime.now(UTC), began)
        detector = self._detector or await self._remember(now)
        containers, registered, boot = await asyncio.gather(
            self._podman.containers(), self._registry.call(self._registry.components.read), present_boot(self._registry)
        )
        by_name = {container.name: container for container in containers}
        # an empty list after a failure is unreliable: podman may have lost its database, or use another one
        self._in_doubt = self._in_doubt and not containers
        worked_on, busy = self._services_since(self._last_round), self._services_since(began)
        pending = await self.pending()
        if not self._in_doubt:
            await self._heal(registered.rows, by_name, worked_on, busy, pending.keys())
        in_progress |= self.healing.in_progress
        result = detector.round(
            observe(registered, containers, boot),
            now,
            worked_on=worked_on,
            busy=busy,
            doubtful=self._in_doubt,
            repairs=Repairs(done, in_progress, self.healing.pending, self.healing.given_up),
            pending=pending,
        )
        self._repaired = {key: note for key, note in self._repaired.items() if key not in done}
        self._last_round = began
        for alert in result.alerts:
            self._alerter.send(alert)
        if result.alerts:
            await self._registry.call(self._registry.alerts.record, result.alerts, now.wall)
        await self._write(result.events)
        if ended := unrecorded_runs(registered.rows, by_name, boot):
            await self._registry.call(self._registry.components.record_ended, boot_id(), ended)

    async def _heal(
        self,
        rows: Sequence[ComponentRow],
        containers: Mapping[str, Container],
        worked_on: set[str],
        busy: set[str],
        left: Set[Key],
    ) -> None:
        """Begin the repairs that are due, and end health checks that podman's timers wait for."""
        present = [containers[row.container] for row in rows if row.container in containers]
        try:
            await self._podman.end_overdue_checks([container.identifier for container in present])
            details = await self._podman.inspect(*self.healing.suspects(rows, containers))
        except McpError as error:  # the list is still worth its events
            logger.warning("cannot examine failed components", extra=fields(error=error))
            return
        now = time.monotonic()
        for repair in self.healing.round(rows, containers, details, now, worked_on=worked_on, held=busy, left=left):
            task = create_guarded_task(self._carry_out(repair), "repair")
            self._repairs.add(task)
            task.add_done_callback(self._repairs.discard)
        self._watched = {container.pid for container in present if container.running and container.pid}

    async def _carry_out(self, repair: Repair) -> None:
        was_needed = True
        try:
            was_needed = await self._repair(repair)
            if was_needed:
                self._repaired[repair.key] = repair.note
        except McpError as error:
            about = fields(component="/".join(repair.key), remedy=repair.remedy, error=error)
            logger.warning("cannot repair a failed component", extra=about)
        finally:
            self.healing.finished(repair.key, was_needed=was_needed)

    async def _remember(self, now: Moment) -> ChangeDetector:
        """Continue from the latest events and the unresolved alerts in the registry."""
        last = await self._registry.call(self._registry.events.latest)
        states = {(event.service, event.component): event.state for event in last}
        sent = await self._registry.call(self._registry.alerts.select)
        self._detector = ChangeDetector(self._rules, now, states, sent)
        return self._detector

    async def _write(self, events: tuple[Event, ...]) -> None:
        """Write events; retry failed ones in the next round."""
        self._unwritten = [*self._unwritten, *events][-UNWRITTEN_LIMIT:]
        if self._unwritten:
            await self._events.add(self._unwritten)
            self._unwritten = []
        if time.monotonic() - self._pruned >= PRUNE_SECONDS:
            await self._registry.call(
                self._registry.events.prune, datetime.now(UTC) - timedelta(seconds=self._rules.retention)
            )
            self._pruned = time.monotonic()


async def _nothing() -> Mapping[Key, str]:
    return {}


def _exists(pid: int) -> bool:
    """Tell if a process exists, of whatever user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
