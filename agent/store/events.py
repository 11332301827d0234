"""The registry's table of events: state changes observed by the monitor."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.store.database import Table, readable

NO_LIMIT = -1  # SQLite's
KEPT_EVENTS = 100_000


@dataclass(frozen=True)
class Event:
    """A component's change of state; `previous` is empty for its first event, `number` 0 until it is stored."""

    service: str
    component: str
    previous: str
    state: str
    at: datetime
    detail: str = ""
    number: int = 0


class EventTable(Table):
    """Table of events."""

    def add(self, events: Sequence[Event]) -> None:
        """Insert events, all or none; the registry assigns their numbers."""
        with self._database.transaction():
            self._database.db.executemany(
                "INSERT INTO events (service, component, prev_state, new_state, at, detail) VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (event.service, event.component, event.previous, event.state, _text(event.at), event.detail)
                    for event in events
                ],
            )

    def select(self, service: str = "", after: int = 0, limit: int = NO_LIMIT) -> list[Event]:
        """Return the events of a service (of all if empty) numbered above `after`, oldest first, at most `limit`."""
        rows = self._database.rows(
            "SELECT service, component, prev_state, new_state, at, detail, number FROM events"
            " WHERE ?1 IN ('', service) AND number > ?2 ORDER BY number LIMIT ?3",
            service,
            after,
            limit,
        )
        return readable("events", rows, _event)

    def number_before_last(self, service: str, count: int) -> int:
        """Return the number preceding the last `count` events of a service (of all if empty)."""
        rows = self._database.rows(
            "SELECT number FROM events WHERE ?1 IN ('', service) ORDER BY number DESC LIMIT 1 OFFSET ?2",
            service,
            count,
        )
        return int(str(rows[0][0])) if rows else 0

    def latest(self) -> list[Event]:
        """Return the last event of every component, including removed ones."""
        rows = self._database.rows(
            "SELECT service, component, prev_state, new_state, at, detail, number FROM events"
            # from the index alone: grouping with other columns reads every event of a month
            " WHERE number IN (SELECT max(number) FROM events GROUP BY service, component)"
        )
        return readable("events", rows, _event)

    def prune(self, before: datetime) -> int:
        """Remove events older than `before`, and those before the newest KEPT_EVENTS; return their number.

        The last event of a component is its current state and stays, unless that is `removed`.
        """
        with self._database.transaction():
            deleted = self._database.db.execute(
                "DELETE FROM events WHERE (at < ? OR number <= (SELECT max(number) FROM events) - ?)"
                " AND (new_state = 'removed'"
                " OR number NOT IN (SELECT max(number) FROM events GROUP BY service, component))",
                (_text(before), KEPT_EVENTS),
            )
        return deleted.rowcount


def _event(row: tuple[object, ...]) -> Event:
    service, component, previous, state, at, detail, number = (str(value) for value in row)
    return Event(service, component, previous, state, datetime.fromisoformat(at), detail, int(number))


def _text(moment: datetime) -> str:
    # always with microseconds: the texts are compared
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
