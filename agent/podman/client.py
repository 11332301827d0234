"""Podman: its output is parsed by pure functions; `Podman` runs its commands (see argv.py) through proc."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.podman.argv import NewContainer, run_argv
from mcp.shared import proc
from mcp.shared.errors import NotReady, Unavailable
from mcp.shared.names import LABEL_DEPLOY, LABEL_SERVICE

STOP_GRACE = 10  # seconds that a container has to end after SIGTERM; podman's own default
STOP_PATIENCE = 30.0  # seconds after which it is given up; in a crash loop one attempt in three gets hold of it
STOP_FAILURES = 3  # the same; in a crash loop podman may fail for many reasons
CLOCK_TOLERANCE = 1.0  # seconds that the wall clock may differ from the monotonic one before it counts as set
STEADY = 10.0  # seconds; what ran longer is in no crash loop
AGAIN = 0.05  # seconds between two attempts or looks
ENDED_JUST_NOW = "no such process"
PULL_TIMEOUT = 900.0

BUILT_IN_NETWORKS = ("", "host", "none", "bridge", "private", "pasta", "slirp4netns", "podman")  # are always there

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
        return deploy_number(self.labels)

    @property
    def running(self) -> bool:
        """Whether its main process runs."""
        return self.state == "running"


def deploy_number(labels: Mapping[str, str]) -> int:
    """Return the number of the deploy that made the container with these labels, or 0."""
    number = str(labels.get(LABEL_DEPLOY, ""))
    return int(number) if number.isascii() and number.isdigit() and len(number) < 19 else 0


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
    identifier: str = ""  # never empty where it was parsed
    ended: float = 0.0  # Unix time
    ran: float = 0.0  # seconds, if it has ended


def parse_health(output: bytes) -> Health:
    """The state in `podman inspect --type container`; raises Unavailable where it is something else."""
    rows = _json(output, list)
    try:
        state, check = rows[0]["State"], rows[0].get("Config", {}).get("Healthcheck")
        started, ended = (unix_time(state.get(f"{what}At")) for what in ("Started", "Finished"))
        return Health(
            state=str(state["Status"]).lower(),
            exit_code=int(state["ExitCode"]),
            restarts=int(rows[0].get("RestartCount") or 0),
            patience=_patience(check) if check else 0.0,
            identifier=str(rows[0]["Id"]),
            ended=ended,
            ran=ended - started,
        )
    except _MISFITS:
        raise Unavailable("podman inspect answered with something that is not a container") from None


def unix_time(text: str | None) -> float:
    """Of a time as `podman inspect` writes it; what never was is the year 1, or nothing: 0. Raises ValueError."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0


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


@dataclass(frozen=True)
class _Begin:
    """The begin of a stop: `wall` is for comparison with podman's timestamps only, `clock` for durations."""

    wall: float = field(default_factory=lambda: time.time())
    clock: float = field(default_factory=lambda: time.monotonic())

    def elapsed(self) -> float:
        """Seconds since then."""
        return time.monotonic() - self.clock

    def clock_was_set(self) -> bool:
        """Tell whether somebody has set the wall clock since then, so that podman's timestamps mean nothing."""
        return abs(time.time() - self.wall - self.elapsed()) > CLOCK_TOLERANCE


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
        """How a container is doing; raises NotReady where there is none."""
        output = await self.inspect(name)
        if not _json(output, list):
            raise NotReady(f"the container {name} is gone")
        return parse_health(output)

    async def inspect(self, *names: str) -> bytes:
        """What podman says of those of these containers that there are, as JSON; raises CommandFailed.

        One that is missing makes podman fail only after it has shown the others. It fails as well where a container's
        process ends while podman reads its cgroup, as in a crash loop: then it is asked again.
        """
        for pause in (AGAIN, AGAIN, 0):
            done = await proc.run(self.argv(["inspect", "--type=container", *names]), seconds=self.timeout)
            if ended := done.returncode != 0 and ENDED_JUST_NOW in done.last_words():
                await asyncio.sleep(pause)
            else:
                break
        if ended or (done.returncode != 0 and not done.stdout.strip().startswith(b"[")):
            raise proc.CommandFailed(done)
        return done.stdout

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
        """Create a network unless it exists."""
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
        """Stop a container for good; one that ignores SIGTERM is killed after STOP_GRACE seconds.

        A container of a crash loop may be between two runs: podman then takes it for stopped, and its restart policy
        starts it again all the same; or podman fails. Therefore this looks, and does it again.
        """
        began, failures = _Begin(), 0
        while True:
            error = await self._stop(name)
            health = await self.health(name)
            if error is None and await self._stays_down(name, health, began):
                return
            failures += int(error is not None)
            if failures == STOP_FAILURES or began.elapsed() > STOP_PATIENCE:
                raise error or NotReady(f"podman stops {name}, and it is started again each time")
            await asyncio.sleep(AGAIN)

    async def _stays_down(self, name: str, health: Health, began: "_Begin") -> bool:
        """Whether a container that podman says it has stopped, at `began` or later, is not started again."""
        if health.state == "running":
            return False
        if health.ended >= began.wall and health.ran > STEADY and not began.clock_was_set():
            return True  # it is podman who ended it
        before = await asyncio.to_thread(keepers, health.identifier)
        left = before
        while left:
            await asyncio.sleep(AGAIN)
            left = await asyncio.to_thread(keepers, health.identifier)
            if any(pid not in before for pid, is_conmon in left.items() if is_conmon):
                return False
            if began.elapsed() > STOP_PATIENCE:
                break
        after = await self.health(name)
        return after.state != "running" and after.restarts == health.restarts

    async def _stop(self, name: str) -> proc.CommandFailed | None:
        """Stop a container once; returns the error where podman has one."""
        try:
            await self._check(["stop", f"--time={STOP_GRACE}", name], STOP_GRACE + self.timeout * 2)
        except proc.CommandFailed as error:
            return error
        return None

    async def rename(self, name: str, new_name: str) -> None:
        """Rename a container."""
        await self._check(["rename", name, new_name])

    async def remove(self, name: str) -> None:
        """Stop and remove a container, and its anonymous volumes; one that is not there is fine.

        podman takes a name that no container has for the beginning of an id: `rm db` could remove any other one.
        """
        found = (await self.find(name)).get(name)
        if found is not None:
            await self.remove_by_id(found.identifier)

    async def remove_by_id(self, identifier: str) -> None:
        """Stop and remove the container with this id, whatever it is called by now; one that is gone is fine."""
        argv = ["rm", "--force", "--ignore", "--volumes", f"--time={STOP_GRACE}", identifier]
        await self._check(argv, STOP_GRACE + self.timeout * 2)

    def argv(self, arguments: Sequence[str]) -> list[str]:
        """The whole command."""
        return [self.runtime, *arguments]

    async def _check(self, arguments: Sequence[str], seconds: float | None = None, stdin: bytes | None = None) -> bytes:
        return await proc.check(self.argv(arguments), seconds=seconds or self.timeout, stdin=stdin)


def keepers(identifier: str) -> dict[int, bool]:
    """The processes that could start a container again, by number; whether each is conmon, and so a run of its own.

    They are its conmon and the `podman container cleanup` that conmon starts: both have these words in their arguments.
    """
    found, wanted = {}, {b"cleanup", identifier.encode()}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):  # gone just now
                argv = (process / "cmdline").read_bytes().split(b"\0")
                if wanted <= set(argv):
                    found[int(process.name)] = argv[0].endswith(b"conmon")
    return found


def labelled(containers: Sequence[Container], service: str) -> Iterator[Container]:
    """The containers that MCP made for a service."""
    return (container for container in containers if container.labels.get(LABEL_SERVICE) == service)
