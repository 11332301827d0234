"""The registry's record of the last alert for the agent's certificate."""

from datetime import UTC, datetime

from agent.store.database import Table, time_of


class CertificateAlertTable(Table):
    """Table of at most one row."""

    def last(self) -> datetime | None:
        """Return the time of the last alert that is not resolved."""
        rows = self._database.rows("SELECT at FROM certificate_alerts")
        return time_of(str(rows[0][0])) if rows else None

    def put(self, at: datetime) -> None:
        """Record an alert."""
        with self._database.transaction():
            self._database.db.execute(
                "INSERT OR REPLACE INTO certificate_alerts (id, at) VALUES (1, ?)", (at.astimezone(UTC).isoformat(),)
            )

    def clear(self) -> None:
        """Record that the last alert is resolved."""
        with self._database.transaction():
            self._database.db.execute("DELETE FROM certificate_alerts")
