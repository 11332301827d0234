"""The registry's table of operations under way; rows found at the start were left by a killed agent."""

from dataclasses import dataclass

from agent.store.database import Table, now_text


@dataclass(frozen=True)
class OperationRow:
    """An operation that was begun and has not ended."""

    service: str
    operation: str
    component: str


class OperationTable(Table):
    """Every method is one transaction."""

    def begin(self, row: OperationRow, user: str) -> None:
        """Note that an operation begins, so that an agent that is killed in it finds it when it starts again."""
        with self._database.transaction():
            self._database.db.execute(
                "INSERT OR REPLACE INTO operations (service, operation, component, user, at) VALUES (?, ?, ?, ?, ?)",
                (row.service, row.operation, row.component, user, now_text()),
            )

    def end(self, service: str) -> None:
        """Note that it has ended, in whatever way."""
        with self._database.transaction():
            self._database.db.execute("DELETE FROM operations WHERE service = ?", (service,))

    def unfinished(self) -> list[OperationRow]:
        """The operations that have not ended; a deploy that has not counts as one, whatever was begun after it."""
        rows = self._database.rows(
            "SELECT service, operation, component FROM operations UNION ALL"
            " SELECT DISTINCT service, 'deploy', '' FROM deploys"
            " WHERE result = 'running' AND service NOT IN (SELECT service FROM operations)"
        )
        return [OperationRow(*(str(value) for value in row)) for row in rows]
