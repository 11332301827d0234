"""Alerts for the agent's certificate: from 30 days before its end, once a day, and resolved by a later one."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.admin.pki import make_ca, make_server_certificate
from agent.monitor.alerts import Alerter
from agent.monitor.certificate import CertificateWatch, certificate_end
from agent.store.alerts import Alert
from agent.store.registry import AsyncRegistry, Registry

NOW = datetime(2026, 12, 1, tzinfo=UTC)


class Sent(Alerter):
    """An alerter that keeps what it is to send."""

    def __init__(self) -> None:
        super().__init__("rift", ())
        self.alerts: list[Alert] = []

    def send(self, alert: Alert) -> None:
        self.alerts.append(alert)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[AsyncRegistry]:
    made = AsyncRegistry(Registry(tmp_path / "mcp.db"))
    yield made
    made.close()


def check(registry: AsyncRegistry, end: datetime, *moments: datetime) -> list[tuple[str, str, str]]:
    """Check at these times, by an agent that has just started; return kind, state and detail of what was sent."""
    times, sent = iter(moments), Sent()
    watch = CertificateWatch("rift", end, sent, registry, lambda: next(times))

    async def all_of_them() -> None:
        for _ in moments:
            await watch.check()

    asyncio.run(all_of_them())
    return [(alert.kind, alert.observed, alert.detail) for alert in sent.alerts]


def test_it_is_sent_from_30_days_before_the_end_once_a_day(registry: AsyncRegistry) -> None:
    end = NOW + timedelta(days=31, hours=1)
    hours = [NOW + timedelta(hours=hour) for hour in range(0, 72)]
    sent = check(registry, end, *hours)
    assert sent == [
        ("certificate", "ending", "the agent's certificate ends on 2027-01-01, in 30 days; renew it with"
         " `mcp node provision rift`"),
        ("certificate", "ending", "the agent's certificate ends on 2027-01-01, in 29 days; renew it with"
         " `mcp node provision rift`"),
    ]  # fmt: skip
    assert check(registry, end, NOW + timedelta(hours=72)) == []  # by the next agent, on the same day
    ((kind, state, detail),) = check(registry, end, end + timedelta(days=1))
    assert (kind, state) == ("certificate", "expired")
    assert detail.startswith("the agent's certificate ended on 2027-01-01; renew it")


def test_it_is_resolved_by_an_agent_with_a_later_one(registry: AsyncRegistry) -> None:
    assert [kind for kind, *_ in check(registry, NOW + timedelta(days=3), NOW)] == ["certificate"]
    later = NOW + timedelta(days=825)
    assert check(registry, later, NOW, NOW) == [
        ("resolved", "valid", "the agent's certificate is valid until 2029-03-05")
    ]
    assert check(registry, later, NOW) == []


def test_a_clock_that_was_set_back_silences_nothing(registry: AsyncRegistry) -> None:
    end = NOW + timedelta(days=3)
    assert len(check(registry, end, NOW, NOW - timedelta(days=400))) == 2


@pytest.mark.parametrize("days", [1, 825, 36500])  # after 2049 the date has another form
def test_the_end_is_read_from_the_certificate(days: int) -> None:
    made = make_server_certificate(make_ca("MCP test CA"), ["localhost", "127.0.0.1"], days=days)
    end = certificate_end(made.certificate)
    assert end is not None
    assert abs(end - datetime.now(UTC) - timedelta(days=days)) < timedelta(minutes=5)


@pytest.mark.parametrize(
    "text", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nMAAwAA==\n-----END CERTIFICATE-----"]
)
def test_what_is_no_certificate_has_no_end(text: bytes) -> None:
    assert certificate_end(text) is None
