"""Parse the output of `podman inspect --type=container`. All pure."""

import posixpath
import re
import signal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.podman.output import deploy_number, expecting, load_rows
from agent.podman.states import ContainerState
from mcp.shared.image import image_version

ANONYMOUS = re.compile(r"[0-9a-f]{64}")  # the name that podman gives a volume without one
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - podman's meaning of no address
STOP_SECONDS = 10  # podman's default
STOP_SECONDS_MOST = 3600  # longest wait for a container; podman knows endless ones


@dataclass(frozen=True)
class HealthCheck:
    """A container's health check: `command` is CMD and an argv, or CMD-SHELL and a command line; times in seconds."""

    command: tuple[str, ...]
    interval: float = 30.0
    timeout: float = 30.0
    retries: int = 3
    start_period: float = 0.0

    @property
    def patience(self) -> float:
        """Time in which it must succeed for the first time, without the time that its attempts take."""
        return self.start_period + self.interval * self.retries


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
    check: HealthCheck | None = None
    check_output: str = ""  # of the last check
    ports: tuple[str, ...] = ()  # published ones, as in 127.0.0.1:8443->8443/tcp
    pid: int = 0  # of its main process; 0: not running
    conmon: int = 0  # process id of its monitor; 0: not running
    stop_seconds: int = STOP_SECONDS  # between the stop signal and SIGKILL
    stop_signal: str = "SIGTERM"
    log_driver: str = ""
    log_path: Path | None = None  # of the k8s-file driver
    anonymous_volumes: Mapping[str, str] = field(default_factory=dict)  # names of its volumes without one, by target

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
        check=_check(config.get("Healthcheck") or {}),
        check_output=str((health.get("Log") or [{}])[-1].get("Output") or ""),
        ports=tuple(_ports((row.get("NetworkSettings") or {}).get("Ports") or host.get("PortBindings") or {})),
        pid=int(state.get("Pid") or 0),
        conmon=int(state.get("ConmonPid") or 0),
        stop_seconds=_stop_seconds(config),
        stop_signal=_signal_name(config.get("StopSignal") or signal.SIGTERM),
        log_driver=str(log.get("Type") or ""),
        log_path=Path(log["Path"]) if log.get("Path") else None,
        anonymous_volumes=dict(_anonymous_volumes(row.get("Mounts") or ())),
    )


def _anonymous_volumes(mounts: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for mount in mounts:
        name = str(mount.get("Name", ""))
        if mount.get("Type") == "volume" and ANONYMOUS.fullmatch(name):
            yield posixpath.normpath(str(mount["Destination"])), name


def _unix_time(text: str | None) -> float:
    """Convert a time of `podman inspect`, which prints the year 1 or nothing for never."""
    return max(0.0, datetime.fromisoformat(text).timestamp()) if text else 0.0


def _check(check: dict[str, Any]) -> HealthCheck | None:
    """Return the health check, with podman's defaults for what is not set."""
    if check.get("Test") in (None, [], ["NONE"]):
        return None
    return HealthCheck(
        command=tuple(str(word) for word in check["Test"]),
        interval=(check.get("Interval") or 30e9) / 1e9,
        timeout=(check.get("Timeout") or 30e9) / 1e9,
        retries=check.get("Retries") or 3,
        start_period=(check.get("StartPeriod") or 0) / 1e9,
    )


def _stop_seconds(config: dict[str, Any]) -> int:
    seconds = config.get("StopTimeout")
    return STOP_SECONDS if seconds is None else min(int(seconds), STOP_SECONDS_MOST)


def _signal_name(value: int | str) -> str:
    """Return a signal's name; podman 4 prints the number, podman 5 the name."""
    if isinstance(value, str):
        return value
    names = {number.value: number.name for number in signal.Signals}
    return names.get(value) or f"SIGRTMIN+{value - signal.SIGRTMIN}"


def _ports(bindings: dict[str, list[dict[str, str]] | None]) -> Iterator[str]:
    for inside, hosts in sorted(bindings.items()):
        for host in hosts or ():  # None: exposed by the image, but not published
            address = host.get("HostIp") or ANY_ADDRESS
            yield f"{address}:{host['HostPort']}->{inside}"
