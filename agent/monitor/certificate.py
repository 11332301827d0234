"""Alert before the agent's certificate ends, once a day; resolved when an agent starts with a later one."""

import asyncio
import base64
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from agent.log import fields, logger
from agent.monitor.alerts import Alerter
from agent.store.alerts import Alert, AlertKind
from agent.store.registry import AsyncRegistry
from agent.tasks import not_cancelled
from mcp.shared.errors import McpError

WARNING = timedelta(days=30)
AGAIN = timedelta(days=1)
CHECK_SECONDS = 3600.0
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_VERSION, _UTC_TIME = 0xA0, 0x17  # DER tags


def certificate_end(chain: bytes) -> datetime | None:
    """Return the end of the first certificate in PEM; None if it cannot be read.

    Reads the few fields of RFC 5280 before it: the cryptography package would cost 16 MB of memory.
    """
    block = _PEM.search(chain)
    try:
        der = base64.b64decode(block[1]) if block else b""
        ((_, certificate),) = _elements(der)
        fields = [content for tag, content in _elements(next(_elements(certificate))[1]) if tag != _VERSION]
        _, (tag, text) = _elements(fields[3])  # serial number, algorithm, issuer, validity
        century = "" if tag != _UTC_TIME else "19" if text >= b"5" else "20"
        return datetime.strptime(century + text.decode(), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except (ValueError, IndexError, StopIteration):
        return None


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each DER element."""
    place = 0
    while place < len(data):
        tag, length, place = data[place], data[place + 1], place + 2
        if length & 0x80:
            size = length & 0x7F
            length, place = int.from_bytes(data[place : place + size], "big"), place + size
        yield tag, data[place : place + length]
        place += length


class CertificateWatch:
    """Sends alerts for the certificate that the agent serves with."""

    def __init__(
        self,
        node: str,
        end: datetime,
        alerter: Alerter,
        registry: AsyncRegistry,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Keep in `registry` what was sent, since only a restart loads another certificate."""
        self._node = node
        self._end = end
        self._alerter = alerter
        self._registry = registry
        self._now = now

    async def run(self) -> None:
        """Check every hour until cancelled."""
        try:
            while not_cancelled():
                try:
                    await self.check()
                except McpError as error:
                    logger.warning("certificate not checked", extra=fields(error=str(error)))
                await asyncio.sleep(CHECK_SECONDS)
        finally:
            await self._alerter.close()

    async def check(self) -> None:
        """Send an alert if one is due, or that the last one is resolved; raises McpError."""
        now = self._now()
        last = await self._registry.call(self._registry.alerts.of, "", "")
        if self._end - now > WARNING:
            if last is not None:
                await self._send(self._alert(AlertKind.RESOLVED, now, last.alert.since), now)
        elif last is None or not timedelta(0) <= now - last.at < AGAIN:
            await self._send(self._alert(AlertKind.CERTIFICATE, now, self._end - WARNING), now)

    async def _send(self, alert: Alert, now: datetime) -> None:
        self._alerter.send(alert)
        await self._registry.call(self._registry.alerts.record, [alert], now)

    def _alert(self, kind: AlertKind, now: datetime, since: datetime) -> Alert:
        days, date = (self._end - now).days, f"{self._end:%Y-%m-%d}"
        if kind is AlertKind.RESOLVED:
            state, detail = "valid", f"the agent's certificate is valid until {date}"
        else:
            left = f"ends on {date}, in {days} day{'' if days == 1 else 's'}"
            state, when = ("expired", f"ended on {date}") if now >= self._end else ("ending", left)
            detail = f"the agent's certificate {when}; renew it with `mcp node provision {self._node}`"
        return Alert("", "", kind, "valid", state, detail, since)
