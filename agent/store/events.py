"""The registry's table of events: what the monitor saw, and when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.store.database import Table

NO_LIMIT = -1  # as SQLite has it


@dataclass(frozen=True)
class Event:
    """A component's change of state; `previous` is empty where it was never seen before, `number` 0 until written."""

    service: str
    component: str
    previous: str
    state: str
    at: datetime
    detail: str = ""
    number: int = 0


class EventTable(Table):
    """Every method is one transaction."""

    def add(self, events: Sequence[Event]) -> None:
        """Write events, all or none; the registry gives them their numbers."""
        with self._database.transaction():
            self._database.db.executemany(
                "INSERT INTO events (service, component, prev_state, new_state, at, detail) VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (each.service, each.component, each.previous, each.state, _text(each.at), each.detail)
                    for each in events
                ],
            )

    def select(self, service: str = "", after: int = 0, limit: int = NO_LIMIT) -> list[Event]:
        """The events of a service (all where empty) numbered above `after`, oldest first, at most `limit`."""
        rows = self._database.rows(
            "SELECT service, component, prev_state, new_state, at, detail, number FROM events"
            " WHERE ?1 IN ('', service) AND number > ?2 ORDER BY number LIMIT ?3",
            service,
            after,
            limit,
        )
        return [_event(row) for row in rows]

    def number_before_last(self, service: str, count: int) -> int:
        """The number after which come the last `count` events of a service (of all where empty)."""
        rows = self._database.rows(
            "SELECT number FROM events WHERE ?1 IN ('', service) ORDER BY number DESC LIMIT 1 OFFSET ?2",
            service,
            count,
        )
        return int(str(rows[0][0])) if rows else 0

    def latest(self) -> list[Event]:
        """The last event of every component that there was."""
        rows = self._database.rows(
            "SELECT service, component, prev_state, new_state, at, detail, number FROM events"
            # from the index alone: grouping with other columns reads every event of a month
            " WHERE number IN (SELECT max(number) FROM events GROUP BY service, component)"
        )
        return [_event(row) for row in rows]

    def prune(self, before: datetime) -> int:
        """Remove older events, and return how many; the last one of a component says what it is, and stays."""
        with self._database.transaction():
            done = self._database.db.execute(
                "DELETE FROM events WHERE at < ? AND (new_state = 'removed'"
                " OR number NOT IN (SELECT max(number) FROM events GROUP BY service, component))",
                (_text(before),),
            )
        return done.rowcount


def _event(row: tuple[object, ...]) -> Event:
    service, component, previous, state, at, detail, number = (str(value) for value in row)
    return Event(service, component, previous, state, datetime.fromisoformat(at), detail, int(number))


def _text(moment: datetime) -> str:
    # always with microseconds: the texts are compared
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
