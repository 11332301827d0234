"""Parse the output of `podman inspect --type=container`. All pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.podman.output import deploy_number, expecting, load_rows
from agent.podman.states import ContainerState
from mcp.shared.image import image_version


@dataclass(frozen=True)
class ContainerDetails:
    """A container as `podman inspect` describes it; times are Unix seconds, 0 for never."""

    identifier: str
    name: str
    state: str
    exit_code: int  # of its last run, or 0; see known_exit_code
    image: str = ""
    image_id: str = ""
    digest: str = ""
    deploy: int = 0  # the number of the deploy that created it; 0: none of this agent's
    started: float = 0.0
    ended: float = 0.0  # of the run before, if it has been restarted
    restarts: int = 0  # by its restart policy
    health: str = ""  # healthy, unhealthy or starting; empty without a health check
    patience: float = 0.0  # seconds in which its health check must succeed for the first time; 0 without one
    ports: tuple[str, ...] = ()  # published ones, as in 127.0.0.1:8443->8443/tcp
    conmon: int = 0  # process id of its monitor; 0: not running
    log_driver: str = ""
    log_path: Path | None = None  # of the k8s-file driver

    @property
    def version(self) -> str:
        """Tag or digest of its image."""
        return image_version(self.image)

    @property
    def has_process(self) -> bool:
        """Tell if its main process exists, even if paused."""
        return self.state in (ContainerState.RUNNING, ContainerState.PAUSED, ContainerState.STOPPING)

    @property
    def known_exit_code(self) -> int | None:
        """Exit code of its last run; None if podman recorded no end of that run.

        After a power cut podman has the initial exit code 0 of the run, and an end in the year 1 or of the run before.
        """
        return self.exit_code if self.exit_code or self.ended > self.started else None


@dataclass(frozen=True)
class ContainerObject:
    """A container with podman's whole objects of it and of its image, for import_spec."""

    details: ContainerDetails
    container: dict[str, Any] = field(repr=False)
    image: dict[str, Any] = field(repr=False)


def parse_details(output: bytes) -> list[ContainerDetails]:
    """Parse `podman inspect`. Raises Unavailable."""
    with expecting("podman inspect", "a list of containers"):
        return [_details(row) for row in load_rows(output)]


def parse_objects(containers: bytes, images: bytes) -> list[ContainerObject]:
    """Join the outputs of `podman inspect` and of `podman image inspect`. Raises Unavailable."""
    with expecting("podman image inspect", "a list of images"):
        by_id = {str(row["Id"]): row for row in load_rows(images)}
    pairs = zip(parse_details(containers), load_rows(containers), strict=True)
    return [ContainerObject(details, row, by_id.get(details.image_id, {})) for details, row in pairs]


def _details(row: dict[str, Any]) -> ContainerDetails:
    state, config, host = row["State"], row.get("Config") or {}, row.get("HostConfig") or {}
    health = state.get("Health") or state.get("Healthcheck") or {}  # podman before 4.0 has it under another name
    log = host.get("LogConfig") or {}
    return ContainerDetails(
        identifier=str(row["Id"]),
        name=str(row["Name"]),
        state=str(state["Status"]).lower(),
        exit_code=int(state["ExitCode"]),
        image=str(row.get("ImageName") or ""),
        image_id=str(row.get("Image") or ""),
        digest=str(row.get("ImageDigest") or ""),
        deploy=deploy_number(config.get("Labels") or {}),
        started=_unix_time(state.get("StartedAt")),
        ended=_unix_time(state.get("FinishedAt")),
        restarts=int(row.get("RestartCount") or 0),
        health=str(health.get("Status") or ""),
        patience=_patience(config.get("Healthcheck") or {}),
        ports=tuple(_ports((row.get("NetworkSettings") or {}).get("Ports") or host.get("PortBindings") or {})),
        conmon=int(state.get("ConmonPid") or 0),
        log_driver=str(log.get("Type") or ""),
        log_path=Path(log["Path"]) if log.get("Path") else None,
    )


def _unix_time(text: str | None) -> float:
    """Convert a time of `podman inspect`, which prints the year 1 or nothing for never."""
    return max(0.0, datetime.fromisoformat(text).timestamp()) if text else 0.0


def _patience(check: dict[str, Any]) -> float:
    """Return the start period plus all retries in seconds; podman's default is 3 retries, 30 s apart."""
    if check.get("Test") in (None, [], ["NONE"]):
        return 0.0
    nanoseconds = (check.get("StartPeriod") or 0) + (check.get("Interval") or 30e9) * (check.get("Retries") or 3)
    return float(nanoseconds / 1e9)


def _ports(bindings: dict[str, list[dict[str, str]] | None]) -> Iterator[str]:
    for inside, hosts in sorted(bindings.items()):
        for host in hosts or ():  # None: exposed by the image, but not published
            address = host.get("HostIp") or "0.0.0.0"  # noqa: S104 - podman's meaning of no address
            yield f"{address}:{host['HostPort']}->{inside}"
