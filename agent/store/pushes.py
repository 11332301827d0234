"""The registry's table of the folders that pushes in progress create."""

import json
from collections.abc import Sequence

from agent.store.database import StoredRow, Table, readable


class PushTable(Table):
    """Table of paths below the services root whose last `created` folders did not exist; a killed agent leaves rows."""

    def begin(self, names: Sequence[str], created: int) -> int:
        """Record folders before they are created; return the number of the row."""
        with self._database.transaction():
            insert = "INSERT INTO pushes (names, created) VALUES (?, ?)"
            return self._database.db.execute(insert, (json.dumps(list(names)), created)).lastrowid or 0

    def end(self, number: int) -> None:
        """Remove a row."""
        with self._database.transaction():
            self._database.db.execute("DELETE FROM pushes WHERE number = ?", (number,))

    def unfinished(self) -> list[tuple[int, list[str], int]]:
        """Return number, names and created of all readable rows."""
        return readable("pushes", self._database.stored("pushes"), _push)


def _push(row: StoredRow) -> tuple[int, list[str], int]:
    return row.number("number"), [str(name) for name in json.loads(row.text("names"))], row.number("created")
