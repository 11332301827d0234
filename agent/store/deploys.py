"""The registry's table of deploys: the history, of a bounded length."""

import json
from dataclasses import dataclass
from datetime import datetime

from agent.store.database import Database, StoredRow, Table, now_text, readable, time_of
from mcp.shared.spec import ServiceSpec
from mcp.shared.states import DeployResult
from mcp.shared.wire import service_from_json, service_to_json


@dataclass(frozen=True)
class DeployRow:
    """One deploy in a service's history."""

    number: int
    at: datetime
    user: str
    definition: ServiceSpec
    component: str
    digests: dict[str, str]
    result: DeployResult
    error: str


# Kept are the newest deploys, the last definitions that succeeded, and before each of these two ranges the last success
# of each component, which tells the service after every kept deploy: a deploy of one component changed only that.
_PRUNE = """
    WITH mine AS (SELECT number, component, definition, result FROM deploys WHERE service = ?1),
    done AS (SELECT number, component, definition FROM mine WHERE result = 'done'),
    newest AS (SELECT number FROM mine ORDER BY number DESC LIMIT ?2),
    definitions AS (SELECT definition FROM done GROUP BY definition ORDER BY max(number) DESC LIMIT ?3),
    recent AS (
        SELECT max(number) AS number FROM done WHERE definition IN (SELECT definition FROM definitions)
        GROUP BY definition, component
        UNION SELECT number FROM newest
    ),
    bases AS (
        SELECT max(number) AS number FROM done WHERE number < (SELECT min(number) FROM newest) GROUP BY component
        UNION SELECT max(number) FROM done WHERE number < (SELECT min(number) FROM recent) GROUP BY component
    )
    DELETE FROM deploys WHERE service = ?1 AND result != 'running'
    AND number NOT IN (SELECT number FROM recent UNION SELECT number FROM bases)
"""
KEPT_DEFINITIONS = 3  # of each service: the present one, and those that `mcp rollback` returns to
KEEP_DEPLOYS = 100  # of each service, by default
GONE_DEPLOYS = 1000  # in all, of services that are no longer deployed


class DeployTable(Table):
    """Table of deploys."""

    def __init__(self, database: Database, keep: int) -> None:
        """Keep so many deploys of each service."""
        super().__init__(database)
        self._keep = keep

    def begin_after(self, number: int) -> None:
        """Number deploys above `number`: an earlier registry's containers carry the numbers up to it."""
        with self._database.transaction():
            updated = self._database.db.execute(
                "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'deploys'", (number,)
            )
            if updated.rowcount == 0:  # no deploy yet
                self._database.db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('deploys', ?)", (number,))

    def begin(self, definition: ServiceSpec, component: str, user: str) -> int:
        """Record the start of a deploy, and the components that it is to create; return its number."""
        with self._database.transaction():
            self._request(definition, component)
            cursor = self._database.db.execute(
                "INSERT INTO deploys (service, component, at, user, definition, digests, result, error)"
                " VALUES (?, ?, ?, ?, ?, '{}', ?, '')",
                (definition.name, component, now_text(), user, service_to_json(definition), DeployResult.RUNNING),
            )
            return cursor.lastrowid or 0

    def _request(self, definition: ServiceSpec, component: str) -> None:
        """Record the components to create; a successful deploy, or an undeploy, removes them again."""
        db = self._database.db
        db.execute("DELETE FROM requested WHERE service = ?1 AND ?2 IN ('', component)", (definition.name, component))
        db.executemany(
            "INSERT INTO requested (service, component, position, image) SELECT ?1, ?2, ?3, ?4"
            " WHERE NOT EXISTS (SELECT 1 FROM components WHERE service = ?1 AND name = ?2)",
            [
                (definition.name, spec.name, position, spec.image)
                for position, spec in enumerate(definition.components)
                if component in ("", spec.name)
            ],
        )

    def end(self, number: int, result: DeployResult, error: str, digests: dict[str, str]) -> None:
        """Record the result of a deploy."""
        with self._database.transaction():
            self._database.db.execute(
                "UPDATE deploys SET result = ?, error = ?, digests = ? WHERE number = ?",
                (result, error, json.dumps(digests, sort_keys=True), number),
            )
            self._prune(number)

    def add_error(self, number: int, error: str) -> None:
        """Add what became of a change to the error of a deploy that has not succeeded."""
        with self._database.transaction():
            self._database.db.execute(
                "UPDATE deploys SET error = CASE error WHEN '' THEN ?1 ELSE error || '; ' || ?1 END"
                " WHERE number = ?2 AND result != ?3",
                (error, number, DeployResult.DONE),
            )

    def _prune(self, number: int) -> None:
        """Remove the deploys that are too many of the service of deploy `number`, and of services that are gone."""
        rows = self._database.rows(
            "SELECT service, count(*) FROM deploys"
            " WHERE service = (SELECT service FROM deploys WHERE number = ?) GROUP BY service",
            number,
        )
        for service, count in rows:
            if int(str(count)) > self._keep:
                self._database.db.execute(_PRUNE, (service, self._keep, KEPT_DEFINITIONS))
        self._database.db.execute(
            "DELETE FROM deploys WHERE result != 'running' AND number IN (SELECT number FROM deploys"
            " WHERE service NOT IN (SELECT service FROM components) ORDER BY number DESC LIMIT -1 OFFSET ?)",
            (GONE_DEPLOYS,),
        )

    def recent_definitions(self, count: int) -> list[ServiceSpec]:
        """Return the last `count` different definitions of each service whose deploys succeeded."""
        rows = self._database.rows(
            "SELECT definition FROM (SELECT definition, row_number() OVER"
            " (PARTITION BY service ORDER BY max(number) DESC) AS place"
            " FROM deploys WHERE result = ? GROUP BY service, definition) WHERE place <= ?",
            DeployResult.DONE,
            count,
        )
        return readable("deploys", rows, lambda row: service_from_json(str(row[0])))

    def select(self, service: str, limit: int = 0, result: DeployResult | None = None) -> list[DeployRow]:
        """Return a service's deploys, newest first: at most `limit` (0: all), with `result` if given."""
        numbers = "SELECT number FROM deploys WHERE service = ?1 AND ?3 IN ('', result) ORDER BY number DESC LIMIT ?2"
        return self._deploys(f"number IN ({numbers})", service, limit or -1, result or "")[::-1]

    def numbered(self, number: int, service: str = "") -> list[DeployRow]:
        """Return the deploy with that number, of a service if given; none if there is no such deploy."""
        return self._deploys("number = ? AND ? IN ('', service)", number, service)

    def _deploys(self, condition: str, *parameters: object) -> list[DeployRow]:
        """Return deploys by number."""
        rows = readable("deploys", self._database.stored("deploys", condition, *parameters), _deploy)
        return sorted(rows, key=lambda row: row.number)


def _deploy(row: StoredRow) -> DeployRow:
    return DeployRow(
        number=row.number("number"),
        at=time_of(row.text("at")),
        user=row.text("user"),
        definition=service_from_json(row.text("definition")),
        component=row.text("component"),
        digests=json.loads(row.text("digests")),
        result=DeployResult(row.text("result")),
        error=row.text("error"),
    )
