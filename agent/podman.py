"""Podman: the commands are built and their output is parsed by pure functions; `Podman` joins them through proc."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mcp.shared import proc
from mcp.shared.errors import NotReady, Unavailable
from mcp.shared.names import LABEL_COMPONENT, LABEL_DEPLOY, LABEL_SERVICE
from mcp.shared.spec import HealthSpec
from mcp.shared.times import parse_duration

STOP_GRACE = 10  # seconds that a container has to end after SIGTERM; podman's own default
PULL_TIMEOUT = 900.0

# What a parser meets in JSON of another form than podman's (OSError: a time that the C library cannot tell).
_MISFITS = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, OSError)


@dataclass(frozen=True)
class Container:
    """A container as podman lists it; `started` is None where it never ran."""

    identifier: str
    name: str
    image: str
    state: str
    exit_code: int
    started: datetime | None
    labels: dict[str, str] = field(default_factory=dict)
    image_id: str = ""
    restarts: int = 0  # by its restart policy; podman 4.3 lists none
    health: str = ""  # healthy, unhealthy or starting; empty without a health check

    @property
    def deploy(self) -> int:
        """The number of the deploy that made it; 0 where none of this agent's did."""
        number = self.labels.get(LABEL_DEPLOY, "")
        return int(number) if number.isascii() and number.isdigit() and len(number) < 19 else 0

    @property
    def running(self) -> bool:
        """Whether its main process runs."""
        return self.state == "running"


@dataclass(frozen=True)
class NewContainer:
    """All that `podman run` needs; environment entries are kept off the command line."""

    name: str
    image: str
    service: str
    component: str
    restart: str
    network: str = ""
    user: str = ""
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    deploy: int = 0
    health: HealthSpec | None = None
    log_driver: str = "k8s-file"
    log_max_bytes: int = 0  # at which a k8s-file is begun anew; 0: never


def run_argv(new: NewContainer) -> list[str]:
    """The arguments of `podman run` that make and start a container.

    The environment comes through stdin: argv can be read by every user of the node. The log driver is always said:
    journald, podman's default, drops lines of every container when one is loud.
    """
    argv = ["run", "--detach", f"--name={new.name}", "--pull=never", f"--log-driver={new.log_driver}"]
    argv += [f"--log-opt=max-size={new.log_max_bytes}"] if new.log_max_bytes else []
    argv += [f"--label={LABEL_SERVICE}={new.service}", f"--label={LABEL_COMPONENT}={new.component}"]
    argv += [f"--label={LABEL_DEPLOY}={new.deploy}"] if new.deploy else []
    argv += [f"--restart={new.restart}"]
    argv += [f"--network={new.network}"] if new.network else []
    argv += [f"--user={new.user}"] if new.user else []
    argv += [f"--publish={port}" for port in new.ports]
    argv += [f"--volume={volume}" for volume in new.volumes]
    argv += health_options(new.health) if new.health else []
    argv += ["--env-file=/dev/stdin"] if new.env else []
    return [*argv, new.image, *new.cmd]


def health_options(health: HealthSpec) -> list[str]:
    """The options of `podman run` for a health check.

    podman takes a JSON list of several words as an argv, but a list of one as a shell's command line; the
    compatible form `CMD WORD` is an argv again. Its durations know no days.
    """
    one_word = len(health.cmd) == 1 and not any(c.isspace() for c in health.cmd[0])
    options = [f"--health-cmd={f'CMD {health.cmd[0]}' if one_word else json.dumps(health.cmd, ensure_ascii=False)}"]
    for option, text in (
        ("interval", health.interval),
        ("timeout", health.timeout),
        ("start-period", health.start_period),
    ):
        options += [f"--health-{option}={parse_duration(text).total_seconds():g}s"] if text else []
    return [*options, *([f"--health-retries={health.retries}"] if health.retries else [])]


def logs_argv(name: str, *, tail: int | None, follow: bool, timestamps: bool, since: str) -> list[str]:
    """The arguments of `podman logs`; `tail` None shows all, `since` is an RFC 3339 time or empty."""
    argv = ["logs"]
    argv += [f"--tail={tail}"] if tail is not None else []
    argv += ["--follow"] if follow else []
    argv += ["--timestamps"] if timestamps else []
    argv += [f"--since={since}"] if since else []
    return [*argv, name]


def parse_containers(output: bytes) -> list[Container]:
    """The containers in `podman ps --format json`; raises Unavailable where it is something else."""
    rows = _json(output, list)
    try:
        return [_container(row) for row in rows]
    except _MISFITS:
        raise Unavailable("podman ps answered with something that is not a list of containers") from None


def _container(row: dict[str, object]) -> Container:
    names, labels = row["Names"], row.get("Labels") or {}
    started = row.get("StartedAt")
    if not isinstance(names, list) or not isinstance(labels, dict):
        raise TypeError("Names or Labels")
    return Container(
        identifier=str(row["Id"]),
        name=str(names[0]),
        image=str(row.get("Image", "")),
        state=str(row["State"]).lower(),
        exit_code=int(str(row.get("ExitCode", 0))),
        # podman gives a container that never ran the year 1, as negative seconds
        started=datetime.fromtimestamp(started, UTC) if isinstance(started, int) and started > 0 else None,
        labels={str(key): str(value) for key, value in labels.items()},
        image_id=str(row.get("ImageID", "")),
        restarts=int(str(row.get("Restarts") or 0)),
        health=_health(str(row.get("Status", ""))),
    )


def _health(status: str) -> str:
    """The health in a status as in `Up 5 seconds (unhealthy)`; the list of containers has it nowhere else."""
    word = status.rpartition("(")[2].removesuffix(")")
    return word if word in ("healthy", "unhealthy", "starting") else ""


@dataclass(frozen=True)
class Health:
    """What `podman inspect` says of a container's life; `restarts` counts its restart policy's doings.

    `patience` is how many seconds its health check may take to succeed for the first time: the start period, and
    then all the retries. It is 0 where there is no health check.
    """

    state: str
    exit_code: int
    restarts: int
    patience: float = 0.0


def parse_health(output: bytes) -> Health:
    """The state in `podman inspect --type container`; raises Unavailable where it is something else."""
    rows = _json(output, list)
    try:
        state, check = rows[0]["State"], rows[0].get("Config", {}).get("Healthcheck")
        return Health(
            state=str(state["Status"]).lower(),
            exit_code=int(state["ExitCode"]),
            restarts=int(rows[0].get("RestartCount") or 0),
            patience=_patience(check) if check else 0.0,
        )
    except _MISFITS:
        raise Unavailable("podman inspect answered with something that is not a container") from None


def _patience(check: dict[str, Any]) -> float:
    """Seconds, from podman's nanoseconds; podman's own defaults are 30 s and 3 retries."""
    if check.get("Test") in (None, [], ["NONE"]):
        return 0.0
    interval, start = check.get("Interval") or 30e9, check.get("StartPeriod") or 0
    return float((start + interval * (check.get("Retries") or 3)) / 1e9)


@dataclass(frozen=True)
class Image:
    """An image on the node; `digest` is that of its manifest, `architecture` as in GOARCH."""

    identifier: str
    digest: str
    architecture: str


def parse_image(output: bytes) -> Image:
    """The image in `podman image inspect`; raises Unavailable where it is something else."""
    rows = _json(output, list)
    try:
        row = rows[0]
        return Image(str(row["Id"]), str(row.get("Digest", "")), str(row.get("Architecture", "")))
    except _MISFITS:
        raise Unavailable("podman image inspect answered with something that is not an image") from None


def parse_image_ids(output: bytes) -> dict[str, str]:
    """Image ids by name, from `podman images --format json`; raises Unavailable where it is something else."""
    rows = _json(output, list)
    try:
        return {str(name): str(row["Id"]) for row in rows for name in row.get("Names") or ()}
    except _MISFITS:
        raise Unavailable("podman images answered with something that is not a list of images") from None


def parse_network_name(output: bytes) -> str:
    """The name in `podman network inspect`; raises Unavailable where it is something else."""
    try:
        return str(_json(output, list)[0]["name"])
    except _MISFITS:
        raise Unavailable("podman network inspect answered with something that is not a network") from None


def parse_version(output: bytes) -> str:
    """The version in `podman version --format json`; raises Unavailable."""
    try:
        return str(_json(output, dict)["Client"]["Version"])
    except (KeyError, TypeError):
        raise Unavailable("podman version answered with something that is not a version") from None


def _json(output: bytes, kind: type) -> Any:
    try:
        value = json.loads(output)
    except (ValueError, RecursionError):
        raise Unavailable("podman answered with something that is not JSON") from None
    if value is None and kind is list:
        return []
    if not isinstance(value, kind):
        raise Unavailable("podman answered with JSON of an unexpected form")
    return value


class Podman:
    """Podman on this node."""

    def __init__(self, runtime: str, timeout: float) -> None:
        """`runtime` is podman's name or path, `timeout` how many seconds a query may take."""
        self.runtime = runtime
        self.timeout = timeout
        self.on_start: Callable[[str], None] | None = None  # is told the name of each container that was started
        self._networks = asyncio.Lock()

    async def containers(self) -> list[Container]:
        """Every container of this user, running or not."""
        return parse_containers(await self._check(["ps", "--all", "--no-trunc", "--format=json"]))

    async def find(self, *names: str) -> dict[str, Container]:
        """The containers with these names that there are."""
        return {container.name: container for container in await self.containers() if container.name in names}

    async def health(self, name: str) -> Health:
        """How a container is doing."""
        return parse_health(await self._check(["inspect", "--type=container", name]))

    async def version(self) -> str:
        """Podman's version."""
        return parse_version(await self._check(["version", "--format=json"]))

    async def ensure_image(self, image: str) -> Image:
        """Have an image on the node: pull it only where it is not there, so a registry that is down costs nothing."""
        found = await proc.run(self.argv(["image", "inspect", image]), seconds=self.timeout)
        if found.returncode == 0:
            return parse_image(found.stdout)
        try:
            await self._check(["pull", "--quiet", image], PULL_TIMEOUT)
        except proc.CommandFailed as error:
            raise NotReady(
                f"the image {image} is not on this node and cannot be pulled: {error.completed.last_words()}"
            ) from None
        return parse_image(await self._check(["image", "inspect", image]))

    async def image_ids(self) -> dict[str, str]:
        """The images on the node by name."""
        return parse_image_ids(await self._check(["images", "--format=json"]))

    async def is_healthy(self, name: str) -> bool:
        """Run a container's health check once; it does not wait for podman's timer, which needs systemd."""
        return (await proc.run(self.argv(["healthcheck", "run", name]), seconds=self.timeout * 2)).returncode == 0

    async def ensure_network(self, name: str) -> None:
        """Have a network; podman's built-in ones are always there."""
        if name in ("", "host", "none", "bridge", "private", "pasta", "slirp4netns", "podman"):
            return
        async with self._networks:  # components that are prepared together may all lack the same one
            found = await proc.run(self.argv(["network", "inspect", name]), seconds=self.timeout)
            if found.returncode != 0:
                await self._check(["network", "create", name])
            elif parse_network_name(found.stdout) != name:
                raise NotReady(f"podman takes {name} for the beginning of another network's id", "choose another name")

    async def run(self, new: NewContainer) -> None:
        """Make and start a container."""
        await self._check(run_argv(new), self.timeout * 4, "".join(f"{entry}\n" for entry in new.env).encode())
        self._started(new.name)

    async def start(self, name: str) -> None:
        """Start a container that is there."""
        await self._check(["start", name], self.timeout * 4)
        self._started(name)

    def _started(self, name: str) -> None:
        if self.on_start is not None:
            self.on_start(name)

    async def stop(self, name: str) -> None:
        """Stop a container; one that ignores SIGTERM is killed after STOP_GRACE seconds."""
        await self._check(["stop", f"--time={STOP_GRACE}", name], STOP_GRACE + self.timeout * 2)

    async def rename(self, name: str, new_name: str) -> None:
        """Rename a container."""
        await self._check(["rename", name, new_name])

    async def remove(self, name: str) -> None:
        """Stop and remove a container, and its anonymous volumes; one that is not there is fine.

        podman takes a name that no container has for the beginning of an id: `rm db` could remove any other one.
        """
        found = (await self.find(name)).get(name)
        if found is not None:
            await self.remove_container(found)

    async def remove_container(self, container: Container) -> None:
        """Stop and remove a container that was found before, whatever it is called by now."""
        argv = ["rm", "--force", "--ignore", "--volumes", f"--time={STOP_GRACE}", container.identifier]
        await self._check(argv, STOP_GRACE + self.timeout * 2)

    async def last_lines(self, name: str, count: int) -> list[str]:
        """The last lines that a container wrote, to either stream."""
        argv = logs_argv(name, tail=count, follow=False, timestamps=False, since="")
        completed = await proc.run(self.argv(argv), seconds=self.timeout)
        # where it fails, as for the log driver none, stderr has its own words as well
        text = (completed.stdout + (completed.stderr if completed.returncode == 0 else b"")).decode(errors="replace")
        return text.splitlines()[-count:]

    def argv(self, arguments: Sequence[str]) -> list[str]:
        """The whole command."""
        return [self.runtime, *arguments]

    async def _check(self, arguments: Sequence[str], seconds: float | None = None, stdin: bytes | None = None) -> bytes:
        return await proc.check(self.argv(arguments), seconds=seconds or self.timeout, stdin=stdin)


def labelled(containers: Sequence[Container], service: str) -> Iterator[Container]:
    """The containers that MCP made for a service."""
    return (container for container in containers if container.labels.get(LABEL_SERVICE) == service)
