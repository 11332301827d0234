"""The registry's table of kept logs: the end of the log of each component's last container that is gone."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from agent.store.database import Table, time_of


class PreviousReason(StrEnum):
    """Reason why a container was removed."""

    FAILED = "failed"
    REPLACED = "replaced"


@dataclass(frozen=True)
class PreviousLog:
    """What is left of a container. `version` is the tag of its image.

    `data` has the records as a k8s-file has them, whatever `driver` it had; `place` is where they begin, as its reader
    says it. `ended_at` is None where podman did not say.
    """

    service: str
    component: str
    identifier: str
    container: str
    deploy: int
    version: str
    driver: str
    ended_at: datetime | None
    exit_code: int
    reason: PreviousReason
    data: bytes
    place: str


class PreviousLogTable(Table):
    """Every method is one transaction."""

    def put(self, kept: PreviousLog) -> None:
        """Keep the log of a component's container, instead of that of an earlier one."""
        with self._database.transaction():
            self._database.db.execute(
                "INSERT OR REPLACE INTO kept_logs (service, component, identifier, container, deploy, version, driver,"
                " ended_at, exit_code, reason, data, place) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(kept.service, kept.component, kept.identifier, kept.container, kept.deploy, kept.version),
                    *(kept.driver, kept.ended_at.isoformat() if kept.ended_at else None, kept.exit_code, kept.reason),
                    *(kept.data, kept.place),
                ),
            )

    def names(self) -> list[tuple[str, str]]:
        """The (service, component) of every log that is kept, in order."""
        rows = self._database.rows("SELECT service, component FROM kept_logs ORDER BY service, component")
        return [(str(service), str(component)) for service, component in rows]

    def find(self, service: str, component: str) -> PreviousLog | None:
        """What was kept of a component's last container that is gone."""
        rows = self._database.rows(
            "SELECT identifier, container, deploy, version, driver, ended_at, exit_code, reason, data, place"
            " FROM kept_logs WHERE service = ? AND component = ?",
            service,
            component,
        )
        for row in rows:
            data = row[8]
            assert isinstance(data, bytes), "the table is STRICT"
            return PreviousLog(
                *(service, component, str(row[0]), str(row[1]), int(str(row[2])), str(row[3]), str(row[4])),
                ended_at=time_of(str(row[5])) if row[5] else None,
                exit_code=int(str(row[6])),
                reason=PreviousReason(str(row[7])),
                data=data,
                place=str(row[9]),
            )
        return None
