"""The registry's table of previous logs: the log tail of each component's last removed container."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from agent.store.database import Table, time_of


class PreviousReason(StrEnum):
    """Reason for the removal of a container."""

    FAILED = "failed"
    REPLACED = "replaced"


@dataclass(frozen=True)
class PreviousLog:
    """The log tail of a removed container. `version` is the tag of its image.

    `data` consists of k8s-file records, whatever the container's `driver`; `place` is their start as text of a
    k8s_file.segments.Mark. `ended_at` is None if podman did not report it.
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
    """Table of previous logs, one for each component."""

    def put(self, previous: PreviousLog) -> None:
        """Store a component's previous log in place of an earlier one."""
        with self._database.transaction():
            self._database.db.execute(
                "INSERT OR REPLACE INTO kept_logs (service, component, identifier, container, deploy, version, driver,"
                " ended_at, exit_code, reason, data, place) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(previous.service, previous.component, previous.identifier, previous.container),
                    *(previous.deploy, previous.version, previous.driver),
                    *(previous.ended_at.isoformat() if previous.ended_at else None, previous.exit_code),
                    *(previous.reason, previous.data, previous.place),
                ),
            )

    def names(self) -> list[tuple[str, str]]:
        """Return the (service, component) of every previous log, sorted."""
        rows = self._database.rows("SELECT service, component FROM kept_logs ORDER BY service, component")
        return [(str(service), str(component)) for service, component in rows]

    def find(self, service: str, component: str) -> PreviousLog | None:
        """Return a component's previous log, if any."""
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
