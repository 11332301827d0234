"""The registry's table of operations under way; rows found at the start were left by a killed agent."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass

from agent.store.database import Table, now_text


@dataclass(frozen=True)
class OperationRow:
    """An operation that was begun and has not ended."""

    service: str
    operation: str
    component: str


@dataclass(frozen=True)
class TransactionRow:
    """The steps of one component's change, as JSON; those before `position` are done, the one there may be."""

    service: str
    component: str
    deploy: int  # the number for new containers
    undone_on_failure: bool
    steps: str
    position: int = 0


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
            self._database.db.execute("DELETE FROM transactions WHERE service = ?", (service,))

    def begin_transactions(self, rows: Iterable[TransactionRow]) -> None:
        """Write the steps that are about to be carried out."""
        with self._database.transaction():
            self._database.db.executemany(
                "INSERT OR REPLACE INTO transactions (service, component, deploy, undone_on_failure, steps, position)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                [astuple(row) for row in rows],
            )

    def advance(self, service: str, component: str, position: int) -> None:
        """Note that all steps before `position` are done, and that the one there begins."""
        with self._database.transaction():
            self._database.db.execute(
                "UPDATE transactions SET position = ? WHERE service = ? AND component = ?",
                (position, service, component),
            )

    def end_transaction(self, service: str, component: str) -> None:
        """Note that all steps of a component are done or undone."""
        with self._database.transaction():
            self._database.db.execute(
                "DELETE FROM transactions WHERE service = ? AND component = ?", (service, component)
            )

    def transactions(self, service: str) -> list[TransactionRow]:
        """Return the transactions of a service that have not ended."""
        rows = self._database.rows(
            "SELECT service, component, deploy, undone_on_failure, steps, position FROM transactions"
            " WHERE service = ? ORDER BY rowid",
            service,
        )
        return [
            TransactionRow(str(row[0]), str(row[1]), int(str(row[2])), bool(row[3]), str(row[4]), int(str(row[5])))
            for row in rows
        ]

    def unfinished(self) -> list[OperationRow]:
        """The operations that have not ended; a deploy that has not counts as one, whatever was begun after it."""
        rows = self._database.rows(
            "SELECT service, operation, component FROM operations UNION ALL"
            " SELECT DISTINCT service, 'deploy', '' FROM deploys"
            " WHERE result = 'running' AND service NOT IN (SELECT service FROM operations)"
        )
        return [OperationRow(*(str(value) for value in row)) for row in rows]
