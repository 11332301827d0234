"""The monitor: compare podman's containers with the registry and the previous round, at an interval."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from agent.config import MonitorConfig
from agent.log import fields, logger
from agent.monitor.alerts import Alerter
from agent.monitor.changes import ChangeDetector, Moment
from agent.monitor.event_log import EventLog
from agent.monitor.node import boot_time
from agent.monitor.state import observe
from agent.podman.client import Podman
from agent.store.events import Event
from agent.store.registry import AsyncRegistry
from agent.tasks import not_cancelled
from mcp.shared.errors import McpError

PRUNE_SECONDS = 3600.0
BOOT_PATIENCE = 120.0  # seconds; a slow pull must not delay the monitor for a quarter of an hour
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
    ) -> None:
        """Write to `events`; `services_since` returns the services with operations since a monotonic time."""
        self._rules = rules
        self._podman = podman
        self._registry = registry
        self._services_since = services_since
        self._events = events
        self._alerter = Alerter(node, rules.alert_command)
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
                await asyncio.sleep(self._rules.interval)
                await self._safe_round()
        finally:
            await self._alerter.close()

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
        detector = self._detector or await self._remember()
        containers, rows = await asyncio.gather(
            self._podman.containers(), self._registry.call(self._registry.components.select)
        )
        # an empty list after a failure is unreliable: podman may have lost its database, or use another one
        self._in_doubt = self._in_doubt and not containers
        result = detector.round(
            observe(rows, containers, boot_time()),
            Moment(datetime.now(UTC), began),
            worked_on=self._services_since(self._last_round),
            busy=self._services_since(began),
            doubtful=self._in_doubt,
        )
        self._last_round = began
        for alert in result.alerts:
            self._alerter.send(alert)
        await self._write(result.events)

    async def _remember(self) -> ChangeDetector:
        """Continue from the latest events in the registry."""
        last = await self._registry.call(self._registry.events.latest)
        self._detector = ChangeDetector(self._rules, {(event.service, event.component): event.state for event in last})
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
