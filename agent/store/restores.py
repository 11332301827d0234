"""The registry's record of the last copy that was put back, and of what the agent registered again afterwards."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.store.database import StoredRow, Table, readable, time_of


@dataclass(frozen=True)
class RestoreRow:
    """A copy put back; `notes` is None until the agent has registered what was deployed since `copied`."""

    copied: datetime
    notes: tuple[str, ...] | None


class RestoreTable(Table):
    """Table of one row."""

    def begin(self, copied: datetime) -> None:
        """Record that a copy made at `copied` is being put back."""
        with self._database.transaction():
            self._database.db.execute(
                "INSERT OR REPLACE INTO restores (id, copied, notes) VALUES (1, ?, NULL)",
                (copied.astimezone(UTC).isoformat(),),
            )

    def end(self, notes: Sequence[str]) -> None:
        """Record what was registered again."""
        with self._database.transaction():
            self._database.db.execute("UPDATE restores SET notes = ?", (json.dumps(list(notes)),))

    def last(self) -> RestoreRow | None:
        """Return the last copy put back, if any."""
        rows = readable("restores", self._database.stored("restores"), _restore)
        return rows[0] if rows else None


def _restore(row: StoredRow) -> RestoreRow:
    notes = None if row.cells["notes"] is None else tuple(json.loads(row.text("notes")))
    return RestoreRow(time_of(row.text("copied")), notes)
