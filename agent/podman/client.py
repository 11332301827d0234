"""Run podman commands; argv.py builds the long ones, output.py and inspect.py parse their output."""

import asyncio
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from agent.podman.argv import NewContainer, run_argv, trial_argv
from agent.podman.checks import LEAST_TIMEOUT, check_ages, end_overdue
from agent.podman.inspect import ContainerDetails, ContainerObject, HealthCheck, parse_details, parse_objects
from agent.podman.output import (
    Container,
    Image,
    LocalImage,
    parse_archived_file,
    parse_containers,
    parse_count,
    parse_image,
    parse_image_ids,
    parse_local_images,
    parse_network_name,
    parse_places,
    parse_version,
)
from agent.podman.states import CheckResult, ContainerState
from agent.tasks import calculate, create_guarded_task
from mcp.shared import proc
from mcp.shared.errors import NotReady, Unavailable, shell_word
from mcp.shared.names import LABEL_SERVICE

T = TypeVar("T")

REMOVE_GRACE = 10  # seconds before SIGKILL for what runs still when it is removed; all others were stopped before
STOP_TIMEOUT = 30.0  # seconds, with the container's own, until a stop fails
STOP_FAILURES = 10  # failed attempts until a stop fails
# In a crash loop one attempt in three succeeds, and a failed one takes 0.2 s, or 2 s on a busy machine: ten in a row
# fail in one stop of sixty. There only the time counts.
CRASH_LOOP_TIMEOUT = 120.0
CLOCK_TOLERANCE = 1.0  # seconds between wall and monotonic clock above which the wall clock counts as set
EXIT_KILLED = 137  # exit code of a process that SIGKILL has ended
STEADY = 10.0  # seconds; a container that ran longer is not in a crash loop
RETRY_PAUSE = 0.05  # seconds between two attempts
OVERDUE_POLL = 0.25  # seconds between two looks for health checks that exceed their timeout
PROCESS_ENDED = "no such process"
PULL_TIMEOUT = 900.0  # seconds
VOLUME_UNKNOWN = 1  # exit status of `podman volume rm` for a volume that does not exist
IMAGES_REMEMBERED = 256
# Processes of podman at once; others wait, and their timeouts begin when they start. The commands that mostly wait, for
# a container or a registry, have places of their own: a slow pull must not delay a stop, nor either of them a query.
PROCESSES = 8
STOPS, CHECKS, PULLS = 16, 8, 4
LARGE = 256 * 1024  # bytes of output that is parsed beside the event loop

BUILT_IN_NETWORKS = ("", "host", "none", "bridge", "private", "pasta", "slirp4netns", "podman")  # always exist


@dataclass(frozen=True)
class _StopStart:
    """The start time of a stop: `wall` for comparison with podman's timestamps only, `clock` for durations.

    The stop fails after `patience` seconds.
    """

    patience: float
    wall: float = field(default_factory=lambda: time.time())
    clock: float = field(default_factory=lambda: time.monotonic())

    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.clock

    def is_over(self) -> bool:
        """Tell if the patience has come to its end."""
        return self.elapsed() > self.patience

    def clock_was_set(self) -> bool:
        """Tell if the wall clock was set since the start, which makes podman's timestamps unusable."""
        return abs(time.time() - self.wall - self.elapsed()) > CLOCK_TOLERANCE


class Podman:
    """Podman on this node."""

    def __init__(
        self, runtime: str, timeout: float, auth_file: Path | None = None, oom_score: int | None = None
    ) -> None:
        """Set podman's name or path, the timeout of a query in seconds, and the file of registry logins.

        Containers start with this oom_score_adj (proc(5)), by default with ours.
        """
        self.runtime = runtime
        self.auth_file = auth_file
        self.timeout = timeout
        self._oom_score = oom_score
        self.on_start: list[Callable[[str], object]] = []  # called with the name of each started container
        self._networks = asyncio.Lock()
        self._places: tuple[Path, ...] = ()
        self._commands = asyncio.Semaphore(PROCESSES)
        self._stops = asyncio.Semaphore(STOPS)
        self._waiting = {"healthcheck": asyncio.Semaphore(CHECKS), "pull": asyncio.Semaphore(PULLS)}
        self._images: dict[str, Image] = {}  # by id, which names the content
        self._starts = 0  # attempts to create or start a container
        self._empty_after: int | None = None  # the number of them after which podman was known to have no container

    async def containers(self) -> list[Container]:
        """Return all containers of this user, running or not; raises Unavailable if podman's answers disagree.

        A podman that is broken may list nothing and exit with 0. Whoever believed that would take every container for
        gone: an empty list is compared with podman's count, which takes some 300 ms, once until a container is started.
        """
        starts = self._starts
        found = await self._list()
        if not found and self._empty_after != starts:
            if (count := await self._count()) and not (found := await self._list()):
                raise Unavailable(f"podman lists no containers, but has {count}", "see `podman ps --all` on the node")
            self._empty_after = starts
        if found:
            self._empty_after = None
        orphans = await self._orphans(found)
        return [replace(each, orphaned=True) if each.identifier in orphans else each for each in found]

    async def _list(self) -> list[Container]:
        return await _parsed(parse_containers, await self._read(["ps", "--all", "--no-trunc", "--format=json"]))

    async def _count(self) -> int:
        return parse_count(await self._read(["info", "--format=json"]))

    async def _orphans(self, containers: Sequence[Container]) -> set[str]:
        """Return the ids of the containers that podman calls running although their conmon is gone.

        podman hears of a container's end from conmon only, which first drains its output and waits until the log is on
        the disk. One that has just ended is told apart by asking again once conmon is gone: it writes down the end
        before its own.
        """
        suspects = {each.identifier: each for each in containers if each.running and not is_attended(each.pid)}
        attended = await asyncio.to_thread(attended_containers) if suspects else set()
        details = await self.inspect(*(suspects.keys() - attended))
        return {
            each.identifier
            for each in details.values()
            if each.state == ContainerState.RUNNING and each.pid == suspects[each.identifier].pid
        }

    async def find(self, *names: str) -> dict[str, Container]:
        """Return the existing containers of these names, by name."""
        return {container.name: container for container in await self.containers() if container.name in names}

    async def details(self, name: str) -> ContainerDetails:
        """Return the details of one container, by name or full id. Raises NotReady if there is none."""
        details = await self.inspect(name)
        if not details:
            raise NotReady(f"the container {name} is gone")
        return next(iter(details.values()))

    async def inspect(self, *names: str) -> dict[str, ContainerDetails]:
        """Return the details of existing containers by name, given names or full ids.

        podman takes a name that no container has for the prefix of an id: such a match is left out.
        """
        details = await _parsed(parse_details, await self._inspect(names)) if names else []
        return {item.name: item for item in details if item.name in names or item.identifier in names}

    async def inspect_objects(self, *names: str) -> list[ContainerObject]:
        """Return the existing containers of these names, each with podman's whole objects of it and its image."""
        output = await self._inspect(names) if names else b"[]"
        image_ids = sorted({details.image_id for details in parse_details(output)} - {""})
        images = await self._check(["image", "inspect", *image_ids], self.timeout * 2) if image_ids else b"[]"
        return [container for container in parse_objects(output, images) if container.details.name in names]

    async def _inspect(self, names: Sequence[str]) -> bytes:
        """Run `podman inspect`, tolerating missing containers. Raises CommandFailed.

        podman fails for a missing container after it has printed the others. It also fails if a container's process
        ends while it reads the cgroup, as in a crash loop. As it changes nothing, it is tried again.
        """
        for pause in (RETRY_PAUSE, RETRY_PAUSE, 0):
            completed = await self._run(["inspect", "--type=container", *names])
            raced = completed.returncode != 0 and PROCESS_ENDED in completed.last_words()
            if not raced and (completed.returncode == 0 or completed.stdout.strip().startswith(b"[")):
                return completed.stdout
            await asyncio.sleep(pause)
        raise proc.CommandFailed(completed)

    async def version(self) -> str:
        """Return podman's version."""
        return parse_version(await self._check(["version", "--format=json"]))

    async def places(self) -> tuple[Path, ...]:
        """Return the folders of podman's own files, such as its storage."""
        if not self._places:
            self._places = parse_places(await self._check(["info", "--format=json"], self.timeout * 2))
        return self._places

    async def ensure_image(self, image: str, identifier: str = "") -> Image:
        """Return an image, pulled if the node does not have it; one with a known id is inspected only once.

        Raises NotReady.
        """
        if identifier in self._images:
            return self._images[identifier]
        found = await self._provide_image(image)
        self._remember(found)
        return found

    async def image_volumes(self, identifier: str) -> tuple[str, ...]:
        """Return the paths at which a local image asks for volumes; none if it is gone."""
        if identifier not in self._images:
            local = await self._run(["image", "inspect", identifier])
            if local.returncode != 0:
                return ()
            self._remember(parse_image(local.stdout))
        return self._images[identifier].volumes

    def _remember(self, image: Image) -> None:
        if len(self._images) >= IMAGES_REMEMBERED:
            self._images.clear()
        self._images[image.identifier] = image

    async def _provide_image(self, image: str) -> Image:
        local = await self._run(["image", "inspect", image])
        if local.returncode == 0:
            return parse_image(local.stdout)
        try:
            await self._check(["pull", "--quiet", *self._login(), image], PULL_TIMEOUT)
        except proc.CommandFailed as error:
            reason = error.completed.last_words()
            hint = ""
            if self.auth_file is not None and re.search("unauthorized|access to the resource is denied", reason):
                hint = f"log in to the registry on the node: podman login --authfile {shell_word(str(self.auth_file))}"
            raise NotReady(f"the image {image} is not on this node and cannot be pulled: {reason}", hint) from None
        return parse_image(await self._check(["image", "inspect", image]))

    def _login(self) -> list[str]:
        """Return the option for registry logins, if there are any; raises NotReady if others could read them.

        By default podman keeps logins below /run/user, where they do not survive a reboot.
        """
        path = self.auth_file
        if path is None or not path.exists():
            return []
        if path.stat().st_mode & 0o077:
            raise NotReady(
                f"{path} is accessible to other users",
                f"chmod 600 {shell_word(str(path))}, and log in with new passwords",
            )
        return [f"--authfile={path}"]

    async def volume_names(self) -> set[str]:
        """Return the names of all volumes."""
        return set((await self._read(["volume", "ls", "--quiet"])).decode().split())

    async def unused_volumes(self) -> set[str]:
        """Return the names of the volumes that no container has."""
        return set((await self._read(["volume", "ls", "--filter=dangling=true", "--quiet"])).decode().split())

    async def image_ids(self) -> dict[str, str]:
        """Return the ids of the node's images by name and by digest."""
        return await _parsed(parse_image_ids, await self._read(["images", "--format=json"]))

    async def local_images(self) -> list[LocalImage]:
        """Return the node's images."""
        return parse_local_images(await self._read(["images", "--format=json"]))

    async def check_health(self, identifier: str, check: HealthCheck) -> CheckResult:
        """Run the health check of the container with this id now, for its timeout; podman's own timer needs systemd."""
        async with self._place("healthcheck"):
            began, argv = time.monotonic(), self.argv(["healthcheck", "run", identifier])
            overdue = create_guarded_task(_end_overdue(identifier, check), "overdue health checks")
            try:
                completed = await proc.run(argv, seconds=check.timeout + self.timeout)
            except Unavailable:  # the check could not be ended, or podman itself hangs
                return CheckResult.TIMED_OUT
            finally:
                overdue.cancel()
        if completed.returncode == 0:
            return CheckResult.HEALTHY
        return CheckResult.TIMED_OUT if time.monotonic() - began >= check.timeout else CheckResult.UNHEALTHY

    async def end_overdue_checks(self, identifiers: Collection[str]) -> None:
        """End health checks of containers that exceed their timeout, which podman's own timers would wait for."""
        ages = await asyncio.to_thread(check_ages)
        old = [identifier for identifier in identifiers if ages.get(identifier, 0.0) >= LEAST_TIMEOUT]
        for details in (await self.inspect(*old)).values():
            if details.check is not None:
                check = details.check
                await asyncio.to_thread(end_overdue, details.identifier, check.command, check.timeout)

    async def ensure_network(self, name: str) -> None:
        """Create a network unless it exists."""
        async with self._networks:  # components that are deployed together may all lack the same network
            existing = await self._run(["network", "inspect", name])
            if existing.returncode != 0:
                await self._check(["network", "create", name])
            elif parse_network_name(existing.stdout) != name:
                raise NotReady(f"podman takes {name} for the prefix of another network's id", "choose another name")

    async def run(self, new: NewContainer) -> None:
        """Create and start a container; podman may fail after it has started it, or have been killed before it knew it.

        What an attempt left that podman does know keeps the name in use: its step undoes it, for the sake of volumes.
        """
        argv, env = run_argv(new), "".join(f"{entry}\n" for entry in new.env).encode()
        try:
            await self._check_start(argv, env)
        except proc.CommandFailed:
            made = (await self.find(new.name)).get(new.name)
            if made is None or not (made.is_of(new.service, new.deploy) and made.has_begun):
                if not await self._remove_storage(new.name):
                    raise
                await self._check_start(argv, env)
        self._started(new.name)

    async def try_create(self, new: NewContainer) -> str:
        """Create a container that is never started, without its image's volumes, and return its id.

        It takes the place of one that a killed attempt left. Raises CommandFailed for bad options, missing sources of
        bind mounts and the like.
        """
        try:
            output = await self._check(trial_argv(new), self.timeout * 4)
        except proc.CommandFailed:
            if (left := (await self.find(new.name)).get(new.name)) is not None:
                await self.remove_by_id(left.identifier)
            elif not await self._remove_storage(new.name):
                raise
            output = await self._check(trial_argv(new), self.timeout * 4)
        return output.decode().strip()

    async def read_file(self, identifier: str, path: str) -> bytes | None:
        """Return a file of a container, empty if it does not exist; None if it cannot be read."""
        copied = await self._run(["cp", f"{identifier}:{path}", "-"])
        if copied.returncode == 0:
            return parse_archived_file(copied.stdout)
        return b"" if "could not be found" in copied.last_words() else None

    async def _remove_storage(self, name: str) -> bool:
        """Remove what bears a container's name in the storage only; returns False if nothing does.

        A killed `podman run` or `podman rm` leaves it: `podman ps` does not list it, and the name stays in use.
        """
        listed = parse_containers(await self._read(["ps", "--all", "--external", "--no-trunc", "--format=json"]))
        left = [each for each in listed if each.name == name and each.state == ContainerState.STORAGE]
        for container in left:
            await self.remove_by_id(container.identifier)
        return bool(left)

    async def start(self, name: str) -> None:
        """Start an existing container; one whose `podman stop` was killed is stopped first.

        podman leaves that one in the state stopping permanently, with its process running, and refuses to start it.
        """
        try:
            await self._start(name)
        except proc.CommandFailed:
            if (await self.details(name)).state != ContainerState.STOPPING:
                raise
            await self.stop(name)
            await self._start(name)
        self._started(name)

    async def _start(self, name: str) -> None:
        """Start a container once; podman may fail after it has started it."""
        try:
            await self._check_start(["start", name])
        except proc.CommandFailed:
            if (await self.details(name)).state != ContainerState.RUNNING:
                raise

    def _started(self, name: str) -> None:
        for callback in self.on_start:
            callback(name)

    async def stop(self, name: str) -> str:
        """Stop a container permanently; podman kills it at the end of its stop timeout. Raises McpError.

        Returns a note for the user if it had to be killed, else an empty string.

        A container in a crash loop may be between two runs: podman then takes it for stopped while its restart policy
        still restarts it, or podman fails. Therefore this verifies, and retries.
        """
        async with self._stops:  # before its patience begins
            return await self._stop_permanently(name)

    async def _stop_permanently(self, name: str) -> str:
        grace, failures = (await self.details(name)).stop_seconds, 0
        start = _StopStart(grace + STOP_TIMEOUT)
        while True:
            began = time.monotonic()
            error = await self._stop(name, grace)
            took = time.monotonic() - began
            details = await self.details(name)
            if error is None and await self._stays_down(details, start):
                return killed_note(details, took)
            failures += int(error is not None)
            if details.restarts:
                given_up = start.elapsed() > grace + CRASH_LOOP_TIMEOUT
            else:
                given_up = failures >= STOP_FAILURES or start.is_over()
            if given_up:
                raise error or NotReady(f"{name} restarts each time podman stops it")
            await asyncio.sleep(RETRY_PAUSE)

    async def _stays_down(self, stopped: ContainerDetails, start: "_StopStart") -> bool:
        """Tell if a container that podman has stopped since `start` does not restart."""
        if stopped.state == ContainerState.RUNNING:
            return False
        if stopped.ended >= start.wall and stopped.ended - stopped.started > STEADY and not start.clock_was_set():
            return True  # podman ended it
        before = await asyncio.to_thread(restarters, stopped.identifier)
        remaining = before
        while remaining:
            await asyncio.sleep(RETRY_PAUSE)
            remaining = await asyncio.to_thread(restarters, stopped.identifier)
            if any(pid not in before for pid, is_conmon in remaining.items() if is_conmon):
                return False
            if start.is_over():
                break
        after = await self.details(stopped.name)
        return after.state != ContainerState.RUNNING and after.restarts == stopped.restarts

    async def _stop(self, name: str, grace: int) -> proc.CommandFailed | None:
        """Stop a container once, within its own stop timeout `grace`; returns podman's error, if any."""
        try:
            await proc.check(self.argv(["stop", name]), seconds=grace + self.timeout * 2)
        except proc.CommandFailed as error:
            return error
        return None

    async def rename(self, name: str, new_name: str) -> None:
        """Rename a container."""
        await self._check(["rename", name, new_name])

    async def remove_by_id(self, identifier: str) -> None:
        """Remove the container with this id, but not its volumes, if it still exists; end what runs still.

        podman takes a name that no container has for the prefix of an id: `rm db` could remove another container.
        """
        argv = ["rm", "--force", "--ignore", f"--time={REMOVE_GRACE}", identifier]
        await self._check(argv, REMOVE_GRACE + self.timeout * 2)

    async def remove_volume(self, name: str) -> None:
        """Remove a volume, if it exists. Raises CommandFailed if a container has it."""
        completed = await self._run(["volume", "rm", name])
        if completed.returncode not in (0, VOLUME_UNKNOWN):
            raise proc.CommandFailed(completed)

    def argv(self, arguments: Sequence[str]) -> list[str]:
        """Return a complete podman command line."""
        return [self.runtime, *arguments]

    def _place(self, command: str) -> asyncio.Semaphore:
        """Return the semaphore of a command, held while its process runs; nobody who holds it waits for another one."""
        return self._waiting.get(command, self._commands)

    async def _run(self, arguments: Sequence[str]) -> proc.Completed:
        async with self._place(arguments[0]):
            return await proc.run(self.argv(arguments), seconds=self.timeout)

    async def _check_start(self, arguments: Sequence[str], stdin: bytes | None = None) -> None:
        """Run a command that starts conmon, which keeps the score for as long as the container runs."""
        self._starts += 1
        choom = [] if self._oom_score is None else ["choom", "--adjust", str(self._oom_score), "--"]
        async with self._commands:
            await proc.check(self.argv(arguments), seconds=self.timeout * 4, stdin=stdin, through=choom)

    async def _read(self, arguments: Sequence[str]) -> bytes:
        """Run a command that changes nothing, once more if it fails."""
        try:
            return await self._check(arguments)
        except proc.CommandFailed:
            await asyncio.sleep(RETRY_PAUSE)
            return await self._check(arguments)

    async def _check(self, arguments: Sequence[str], seconds: float | None = None, stdin: bytes | None = None) -> bytes:
        async with self._place(arguments[0]):
            return await proc.check(self.argv(arguments), seconds=seconds or self.timeout, stdin=stdin)


async def _parsed(parse: Callable[[bytes], T], output: bytes) -> T:
    return await calculate(parse, output) if len(output) > LARGE else parse(output)


def is_attended(pid: int) -> bool:
    """Tell if a container's main process exists, and its parent is a conmon; True if that cannot be known."""
    if not pid:
        return True
    try:
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        return Path(f"/proc/{parent}/comm").read_text().strip() == "conmon"
    except (FileNotFoundError, ProcessLookupError):
        return False
    except (OSError, IndexError, ValueError):
        return True


def killed_note(stopped: ContainerDetails, took: float) -> str:
    """Return a note for the user about a container that podman had to kill in a stop of `took` seconds, else nothing.

    A stop timeout of 0 asks for the kill.
    """
    if stopped.exit_code != EXIT_KILLED or not 0 < stopped.stop_seconds <= took:
        return ""
    grace, signal = stopped.stop_seconds, stopped.stop_signal
    return f"had to be killed: still running {grace} s after {signal}; raise stop_timeout in its definition"


async def _end_overdue(identifier: str, check: HealthCheck) -> None:
    """End a container's health checks at the end of their timeout, until cancelled."""
    await asyncio.sleep(check.timeout)
    while True:
        await asyncio.to_thread(end_overdue, identifier, check.command, check.timeout)
        await asyncio.sleep(OVERDUE_POLL)


def restarters(identifier: str) -> dict[int, bool]:
    """Return the pids of processes that could restart a container; True for a conmon, which stands for a run.

    They are its conmon and the `podman container cleanup` that conmon starts: both have `cleanup` and the id among
    their arguments.
    """
    arguments = {b"cleanup", identifier.encode()}
    return {pid: _is_conmon(argv) for pid, argv in _command_lines() if arguments <= set(argv)}


def attended_containers() -> set[str]:
    """Return the ids of the containers that a conmon runs."""
    found = [argv for _, argv in _command_lines() if _is_conmon(argv) and b"-e" not in argv]
    return {after.decode() for argv in found for option, after in pairwise(argv) if option == b"-c"}


def conmons(names: Collection[str]) -> set[int]:
    """Return the pids of the conmons that run containers of these names; each ends with its container."""
    wanted = [[b"-n", name.encode()] for name in names]
    return {
        pid
        for pid, argv in _command_lines()
        if _is_conmon(argv) and b"-e" not in argv and any(list(pair) in wanted for pair in pairwise(argv))
    }


def _is_conmon(argv: Sequence[bytes]) -> bool:
    return argv[0].endswith(b"conmon")


def _command_lines() -> Iterator[tuple[int, list[bytes]]]:
    """Yield the pid and the arguments of every process."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):  # ended in the meantime
                yield int(process.name), (process / "cmdline").read_bytes().split(b"\0")


def labelled(containers: Sequence[Container], service: str) -> Iterator[Container]:
    """Yield the containers that MCP created for a service."""
    return (container for container in containers if container.labels.get(LABEL_SERVICE) == service)
