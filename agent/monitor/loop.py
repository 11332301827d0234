"""The monitor: every interval one look at podman, compared with the registry and with what was there before."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from agent.config import MonitorConfig
from agent.log import fields, logger
from agent.monitor.alerts import Alerter
from agent.monitor.changes import ChangeDetector, Moment
from agent.monitor.event_log import EventLog
from agent.monitor.state import observe
from agent.podman.client import Podman
from agent.store.events import Event
from agent.store.registry import AsyncRegistry
from agent.tasks import not_cancelled
from mcp.shared.errors import McpError

PRUNE_SECONDS = 3600.0
BOOT_PATIENCE = 120.0  # seconds; one image that cannot be pulled must not hide for a quarter of an hour what else fails
UNWRITTEN_LIMIT = 10_000  # events kept in memory while the registry cannot be written


class Monitor:
    """Watches this node's components for as long as `run` runs."""

    def __init__(
        self,
        node: str,
        rules: MonitorConfig,
        podman: Podman,
        registry: AsyncRegistry,
        services_since: Callable[[float], set[str]],
        events: EventLog,
    ) -> None:
        """Write what is seen to `events`; `services_since` names the services worked on since a monotonic time."""
        self._rules = rules
        self._podman = podman
        self._registry = registry
        self._services_since = services_since
        self._events = events
        self._alerter = Alerter(node, rules.alert_command)
        self._watch: ChangeDetector | None = None
        self._unwritten: list[Event] = []
        self._last_round = time.monotonic()
        self._pruned = float("-inf")
        self._in_doubt = False

    async def run(self, boot: "asyncio.Task[None]") -> None:
        """A round each interval, until cancelled. What `boot` is still bringing up is not missed yet."""
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
            logger.warning("monitor: the round is skipped", extra=fields(error=str(error)))
        except Exception:  # noqa: BLE001 - a bug in one round must not end the monitor for good
            logger.exception("monitor: bug in a round")

    async def round(self) -> None:
        """Look once; raises McpError where podman or the registry does not answer."""
        began = time.monotonic()
        watch = self._watch or await self._remember()
        containers, rows = await asyncio.gather(
            self._podman.containers(), self._registry.call(self._registry.components.select)
        )
        # an empty list right after a failure proves nothing: podman may have lost its database, or look elsewhere
        self._in_doubt = self._in_doubt and not containers
        verdict = watch.round(
            observe(rows, containers),
            Moment(datetime.now(UTC), began),
            worked_on=self._services_since(self._last_round),
            busy=self._services_since(began),
            doubtful=self._in_doubt,
        )
        self._last_round = began
        for alert in verdict.alerts:
            self._alerter.send(alert)
        await self._write(verdict.events)

    async def _remember(self) -> ChangeDetector:
        """Go on from what an earlier agent saw."""
        last = await self._registry.call(self._registry.events.latest)
        self._watch = ChangeDetector(self._rules, {(event.service, event.component): event.state for event in last})
        return self._watch

    async def _write(self, events: tuple[Event, ...]) -> None:
        """Write events; those that cannot be written now are tried again in the next round."""
        self._unwritten = [*self._unwritten, *events][-UNWRITTEN_LIMIT:]
        if self._unwritten:
            await self._events.add(self._unwritten)
            self._unwritten = []
        if time.monotonic() - self._pruned >= PRUNE_SECONDS:
            await self._registry.call(
                self._registry.events.prune, datetime.now(UTC) - timedelta(seconds=self._rules.retention)
            )
            self._pruned = time.monotonic()
