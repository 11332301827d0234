"""Which container a component's logs come from now: what `podman inspect` says of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.logs.model import LogSource
from agent.podman.client import Podman, unix_time
from agent.podman.import_spec import parse_inspected
from agent.store.registry import ComponentRow
from mcp.shared.errors import Unavailable
from mcp.shared.image import image_version


@dataclass(frozen=True)
class Seen:
    """A component's container as it was when podman was asked; `conmon` is 0 where its monitor does not run."""

    source: LogSource
    running: bool
    exit_code: int | None  # None where podman does not know it
    started: str  # as podman writes it; tells one run of a container from the next
    conmon: int
    version: str
    ended: float = 0.0  # Unix time of the last end that podman knows of; not above 0: of none

    @property
    def run(self) -> tuple[str, str]:
        """What is the same as long as neither the container nor its main process was replaced."""
        return self.source.identifier, self.started


async def inspect_containers(podman: Podman, rows: Sequence[ComponentRow]) -> dict[tuple[str, str], Seen]:
    """The containers of components, by (service, component); those that have none are left out."""
    found = await inspect(podman, [row.container for row in rows])
    by_name = {str(each.get("Name")): each for each in found}
    return {(row.service, row.name): seen(row, by_name[row.container]) for row in rows if row.container in by_name}


async def inspect(podman: Podman, names: Sequence[str]) -> list[dict[str, Any]]:
    """What podman says of the containers among `names` that there are. Raises McpError."""
    if not names:
        return []
    return parse_inspected(await podman.inspect(*names))


def source_of(container: dict[str, Any], service: str = "", component: str = "") -> LogSource:
    """Where the log of a container is, from an object of `podman inspect`; raises Unavailable."""
    try:
        log = (container.get("HostConfig") or {}).get("LogConfig") or {}
        path = str(log.get("Path") or "")
        return LogSource(
            service=service,
            component=component,
            container=str(container["Name"]),
            identifier=str(container.get("Id") or container["Name"]),
            driver=str(log.get("Type") or ""),
            path=Path(path) if path else None,
        )
    except (KeyError, AttributeError):
        raise Unavailable("podman inspect answered with something that is not a container") from None


def seen(row: ComponentRow, container: dict[str, Any]) -> Seen:
    """A component's container from an object of `podman inspect`; raises Unavailable where it has another form."""
    try:
        state = container["State"]
        return Seen(
            source=source_of(container, row.service, row.name),
            running=str(state["Status"]).lower() in ("running", "paused", "stopping"),
            exit_code=_exit_code(state),
            started=str(state.get("StartedAt", "")),
            conmon=int(state.get("ConmonPid") or 0),
            version=image_version(str(container.get("ImageName") or "")),
            ended=unix_time(state.get("FinishedAt")),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Unavailable("podman inspect answered with something that is not a container") from None


def _exit_code(state: dict[str, Any]) -> int | None:
    """The code of its last run; None where podman knows of no end of that.

    After a power cut podman has the 0 that the run began with, and an end in the year 1, or that of the run before.
    """
    code = int(state["ExitCode"])
    began, ended = state.get("StartedAt"), state.get("FinishedAt")
    if code or not (began and ended):
        return code
    return code if unix_time(ended) > unix_time(began) else None
