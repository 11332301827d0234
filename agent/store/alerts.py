"""The registry's record of alerts whose conditions are not over, as the monitor may restart in the meantime."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from agent.store.database import Table, readable, time_of


class AlertKind(StrEnum):
    """Kind of an alert."""

    DRIFT = "drift"
    FLAPPING = "flapping"
    CERTIFICATE = "certificate"  # of the agent itself
    REGISTRY = "registry"  # damaged or lost; never recorded, as that would need the registry
    RESOLVED = "resolved"  # a condition that was alerted is over


@dataclass(frozen=True)
class Alert:
    """An alert for a component, or for the agent itself if that is empty; `since` is the start of its condition."""

    service: str
    component: str
    kind: AlertKind
    desired: str
    observed: str
    detail: str
    since: datetime


@dataclass(frozen=True)
class SentAlert:
    """An alert, and when it was sent."""

    alert: Alert
    at: datetime


class AlertTable(Table):
    """Table of the last alert of each component, and of the agent itself, until it is resolved."""

    def select(self) -> list[SentAlert]:
        """Return all alerts."""
        rows = self._database.rows(
            "SELECT service, component, kind, desired, observed, detail, since, sent FROM open_alerts"
        )
        return readable("open_alerts", rows, _sent_alert)

    def of(self, service: str, component: str) -> SentAlert | None:
        """Return the alert of a component, if any."""
        key = (service, component)
        return next((sent for sent in self.select() if (sent.alert.service, sent.alert.component) == key), None)

    def record(self, alerts: Iterable[Alert], at: datetime) -> None:
        """Record alerts that were sent `at` this time; those of the kind `resolved` end the earlier ones."""
        with self._database.transaction():
            for alert in alerts:
                self._database.db.execute(
                    "DELETE FROM open_alerts WHERE service = ? AND component = ?", (alert.service, alert.component)
                )
                if alert.kind is not AlertKind.RESOLVED:
                    facts = (alert.service, alert.component, alert.kind, alert.desired, alert.observed, alert.detail)
                    self._database.db.execute(
                        "INSERT INTO open_alerts (service, component, kind, desired, observed, detail, since, sent)"
                        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                        (*facts, _text(alert.since), _text(at)),
                    )


def _sent_alert(row: tuple[object, ...]) -> SentAlert:
    service, component, kind, desired, observed, detail, since, sent = (str(value) for value in row)
    alert = Alert(service, component, AlertKind(kind), desired, observed, detail, time_of(since))
    return SentAlert(alert, time_of(sent))


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
