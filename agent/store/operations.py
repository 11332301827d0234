"""The registry's tables of operations and transactions in progress; at startup, those of a killed agent."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace

from agent.store.database import Database, StoredRow, Table, now_text, readable


@dataclass(frozen=True)
class OperationRow:
    """An operation in progress."""

    service: str
    operation: str
    component: str


@dataclass(frozen=True)
class TransactionRow:
    """The steps of one component's change, as JSON; those before `position` are done, that at it may be."""

    service: str
    component: str
    deploy: int  # the number for new containers
    undone_on_failure: bool
    steps: str
    position: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """The service and the component."""
        return self.service, self.component


class OperationTable(Table):
    """Tables of operations and transactions.

    While the registry cannot be written, the progress of transactions is held in memory. From the file alone, a full
    disk would make the agent carry out the same steps again and again.
    """

    def __init__(self, database: Database) -> None:
        """Use an open registry file."""
        super().__init__(database)
        self._unwritten: dict[tuple[str, str], int | None] = {}  # by service and component; None: it has ended

    def begin(self, row: OperationRow, user: str) -> None:
        """Record the start of an operation; after a kill, the next agent finds it."""
        with self._database.transaction():
            self._database.db.execute(
                "INSERT OR REPLACE INTO operations (service, operation, component, user, at) VALUES (?, ?, ?, ?, ?)",
                (row.service, row.operation, row.component, user, now_text()),
            )

    def end(self, service: str) -> None:
        """Record the end of a service's operation, successful or not, unless changes of it are left.

        A damaged row is none that could be carried out; the next change of the component clears up.
        """
        left = json.dumps([row.component for row in self.transactions(service)])
        with self._database.transaction():
            self._database.db.execute(
                "DELETE FROM transactions WHERE service = ? AND component NOT IN (SELECT value FROM json_each(?))",
                (service, left),
            )
            self._database.db.execute(
                "DELETE FROM operations WHERE service = ?1 AND NOT EXISTS"
                " (SELECT 1 FROM transactions WHERE service = ?1)",
                (service,),
            )

    def begin_transactions(self, rows: Iterable[TransactionRow]) -> None:
        """Record the steps to be carried out, in place of earlier ones of the same components."""
        rows = list(rows)
        with self._database.transaction():
            self._database.db.executemany(
                "INSERT OR REPLACE INTO transactions (service, component, deploy, undone_on_failure, steps, position)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                [astuple(row) for row in rows],
            )
        for row in rows:
            self._unwritten.pop(row.key, None)

    def advance(self, service: str, component: str, position: int) -> None:
        """Record that the steps before `position` are done and that the one at it begins."""
        with self._noting(service, component, position):
            self._database.db.execute(
                "UPDATE transactions SET position = ? WHERE service = ? AND component = ?",
                (position, service, component),
            )

    def end_transaction(self, service: str, component: str) -> None:
        """Record that all steps of a component are done or undone."""
        with self._noting(service, component, None):
            self._database.db.execute(
                "DELETE FROM transactions WHERE service = ? AND component = ?", (service, component)
            )

    @contextmanager
    def _noting(self, service: str, component: str, position: int | None) -> Iterator[None]:
        """Run a write transaction about a position, which is remembered if the registry cannot be written."""
        self._unwritten[service, component] = position
        with self._database.transaction():
            yield
        del self._unwritten[service, component]

    def transactions(self, service: str = "") -> list[TransactionRow]:
        """Return the readable ones of the unfinished transactions of a service, or of all."""
        rows = readable(
            "transactions", self._database.stored("transactions", "?1 IN ('', service)", service), _transaction
        )
        positions = {row.key: self._unwritten.get(row.key, row.position) for row in rows}
        return [replace(row, position=now) for row in rows if (now := positions[row.key]) is not None]

    def unfinished(self) -> list[OperationRow]:
        """Return the unfinished operations; an unfinished deploy without an operation counts as one."""
        rows = self._database.rows(
            "SELECT service, operation, component FROM operations UNION ALL"
            " SELECT DISTINCT service, 'deploy', '' FROM deploys"
            " WHERE result = 'running' AND service NOT IN (SELECT service FROM operations)"
        )
        return [OperationRow(*(str(value) for value in row)) for row in rows]


def _transaction(row: StoredRow) -> TransactionRow:
    """Decode a row; raises one of CELL_ERRORS."""
    if not all(step["kind"] for step in json.loads(row.text("steps"))):
        raise ValueError("steps")
    return TransactionRow(
        row.text("service"),
        row.text("component"),
        row.number("deploy"),
        bool(row.number("undone_on_failure")),
        row.text("steps"),
        row.number("position"),
    )
