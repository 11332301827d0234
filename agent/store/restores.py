"""The registry's record of the last copy that was put back, and of what the agent registered again afterwards."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.store.database import Table, time_of


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
        rows = self._database.rows("SELECT copied, notes FROM restores")
        if not rows:
            return None
        copied, notes = rows[0]
        return RestoreRow(time_of(str(copied)), None if notes is None else tuple(json.loads(str(notes))))
