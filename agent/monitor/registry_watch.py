"""Watch the registry: its file must be the one that is open, each round, and intact, at the start and once a day.

The alerts are not kept in the registry, so they are sent again by an agent that starts.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

from agent.log import fields, logger
from agent.monitor.alerts import Alerter
from agent.store.alerts import Alert, AlertKind
from agent.store.check import damages
from agent.store.registry import AsyncRegistry
from agent.tasks import not_cancelled
from mcp.shared.errors import McpError

DAY = 86400.0  # seconds between two checks for damage, and between two alerts for one condition


class RegistryWatch:
    """Sends alerts for a registry that is damaged, removed or replaced; `problems` says which."""

    def __init__(
        self,
        alerter: Alerter,
        registry: AsyncRegistry,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look at the file every `interval` seconds."""
        self._alerter = alerter
        self._registry = registry
        self._interval = interval
        self._clock = clock
        self._lost = ""
        self._damages: list[str] = []
        self._checked = self._alerted = float("-inf")
        self._alert: Alert | None = None

    @property
    def problems(self) -> list[str]:
        """The faults of the registry, for people."""
        return [self._lost] if self._lost else [f"the registry is damaged: {each}" for each in self._damages]

    async def run(self) -> None:
        """Run until cancelled."""
        try:
            while not_cancelled():
                try:
                    await self.look()
                except McpError as error:
                    logger.warning("registry not checked", extra=fields(error=str(error)))
                await asyncio.sleep(self._interval)
        finally:
            await self._alerter.close()

    async def look(self) -> None:
        """Look at the file, and send an alert if one is due; raises McpError if a lost registry cannot be copied."""
        was, self._lost = self._lost, await self._registry.call(self._registry.lost)
        if not self._lost and self._clock() - self._checked >= DAY:
            self._damages = await asyncio.to_thread(damages, self._registry.path)
            self._checked = self._clock()
        self._tell()
        if self._lost and not was:
            copy = await self._registry.call(self._registry.rescue)
            logger.warning("what the agent has of the lost registry is copied", extra=fields(file=copy))

    def _tell(self) -> None:
        now = datetime.now(UTC)
        problems = self.problems
        if not problems:
            if self._alert is not None:
                self._send(AlertKind.RESOLVED, "intact", "the registry is in its place and intact", self._alert.since)
                self._alert, self._alerted = None, float("-inf")
        elif self._alert is None or "; ".join(problems) != self._alert.detail or self._clock() - self._alerted >= DAY:
            since = now if self._alert is None else self._alert.since
            self._alert = self._send(
                AlertKind.REGISTRY, "lost" if self._lost else "damaged", "; ".join(problems), since
            )
            self._alerted = self._clock()

    def _send(self, kind: AlertKind, observed: str, detail: str, since: datetime) -> Alert:
        alert = Alert("", "", kind, "intact", observed, detail, since)
        self._alerter.send(alert)
        return alert
