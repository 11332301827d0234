"""The registry's tables of deploys, for ever, and of operations, while they are under way."""

import json
from dataclasses import dataclass
from datetime import datetime

from agent.store.database import Database, now_text, time_of
from mcp.shared.spec import ServiceSpec
from mcp.shared.wire import service_from_json, service_to_json


@dataclass(frozen=True)
class DeployRow:
    """One deploy of a service's history; `result` is running, done, failed or interrupted."""

    number: int
    at: datetime
    user: str
    definition: ServiceSpec
    component: str
    digests: dict[str, str]
    result: str
    error: str


@dataclass(frozen=True)
class OperationRow:
    """An operation that was begun and has not ended."""

    service: str
    operation: str
    component: str


class DeployTable(Database):
    """What Registry can do with deploys and operations. Every method is one transaction."""

    def begin_deploys_after(self, number: int) -> None:
        """Give no deploy this number or a lower one: containers that an earlier registry's deploys made bear them."""
        with self._transaction():
            done = self._db.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'deploys'", (number,))
            if done.rowcount == 0:  # there was no deploy yet
                self._db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('deploys', ?)", (number,))

    def begin_deploy(self, definition: ServiceSpec, component: str, user: str) -> int:
        """Note that a deploy begins; returns its number."""
        with self._transaction():
            cursor = self._db.execute(
                "INSERT INTO deploys (service, component, at, user, definition, digests, result, error)"
                " VALUES (?, ?, ?, ?, ?, '{}', 'running', '')",
                (definition.name, component, now_text(), user, service_to_json(definition)),
            )
            return cursor.lastrowid or 0

    def end_deploy(self, number: int, result: str, error: str, digests: dict[str, str]) -> None:
        """Note how a deploy ended."""
        with self._transaction():
            self._db.execute(
                "UPDATE deploys SET result = ?, error = ?, digests = ? WHERE number = ?",
                (result, error, json.dumps(digests, sort_keys=True), number),
            )

    def deploys(self, service: str, limit: int = 0, result: str = "") -> list[DeployRow]:
        """The deploys of a service, newest first; at most `limit` (0: all), only those with `result` if given."""
        rows = self._rows(
            "SELECT number, at, user, definition, component, digests, result, error FROM deploys"
            " WHERE service = ?1 AND ?3 IN ('', result) ORDER BY number DESC LIMIT ?2",
            service,
            limit or -1,
            result,
        )
        return [
            DeployRow(
                number=int(str(row[0])),
                at=time_of(str(row[1])),
                user=str(row[2]),
                definition=service_from_json(str(row[3])),
                component=str(row[4]),
                digests=json.loads(str(row[5])),
                result=str(row[6]),
                error=str(row[7]),
            )
            for row in rows
        ]

    # --- operations ---

    def begin_operation(self, row: OperationRow, user: str) -> None:
        """Note that an operation begins, so that an agent that is killed in it finds it when it starts again."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO operations (service, operation, component, user, at) VALUES (?, ?, ?, ?, ?)",
                (row.service, row.operation, row.component, user, now_text()),
            )

    def end_operation(self, service: str) -> None:
        """Note that it has ended, in whatever way."""
        with self._transaction():
            self._db.execute("DELETE FROM operations WHERE service = ?", (service,))

    def left_operations(self) -> list[OperationRow]:
        """The operations that have not ended; a deploy that has not counts as one, whatever was begun after it."""
        rows = self._rows(
            "SELECT service, operation, component FROM operations UNION ALL"
            " SELECT DISTINCT service, 'deploy', '' FROM deploys"
            " WHERE result = 'running' AND service NOT IN (SELECT service FROM operations)"
        )
        return [OperationRow(*(str(value) for value in row)) for row in rows]
