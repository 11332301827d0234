"""The registry's table of previous logs: the log tail of each component's last removed container."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from agent.store.database import StoredRow, Table, readable, time_of


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
        rows = self._database.stored("kept_logs", "service = ? AND component = ?", service, component)
        return next(iter(readable("kept_logs", rows, _previous_log)), None)


def _previous_log(row: StoredRow) -> PreviousLog:
    return PreviousLog(
        service=row.text("service"),
        component=row.text("component"),
        identifier=row.text("identifier"),
        container=row.text("container"),
        deploy=row.number("deploy"),
        version=row.text("version"),
        driver=row.text("driver"),
        ended_at=time_of(row.text("ended_at")) if row.cells["ended_at"] else None,
        exit_code=row.number("exit_code"),
        reason=PreviousReason(row.text("reason")),
        data=row.data("data"),
        place=row.text("place"),
    )
