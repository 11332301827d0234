"""Read container logs from journald through libsystemd, in a process for each reading (worker.py)."""

import asyncio
import errno
import json
import os
import pwd
import struct
from collections.abc import AsyncGenerator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from agent.logs.journald import worker
from agent.logs.model import Batch, LogSource, Position, Reading
from agent.tasks import create_guarded_task
from mcp.shared import proc, resources
from mcp.shared.errors import InvalidInput, McpError, NotReady, Unavailable

HEADER = struct.Struct("<II")


class JournaldReader:
    """A model.LogReader for the journald driver.

    A place is a cursors.JournalCursor. If the journal no longer has its entry, the first batch's notice says so.
    A line's time is that of its arrival at journald, in microseconds.
    """

    def __init__(self, directory: Path | None = None, user: int | None = None) -> None:
        """Read this machine's journal, or the files in `directory`; `user` owns the containers, by default our user."""
        self._directory = directory
        self._user = os.getuid() if user is None else user

    async def read(self, source: LogSource, reading: Reading) -> AsyncGenerator[Batch]:
        """See model.LogReader. Also raises InvalidInput if `after` is not a position in a journal."""
        request = json.dumps(self._request(source, reading))
        argv = [*resources.module_argv(worker), request]
        process = await proc.start(argv, env=_environment(), pipe_stdin=True, dies_with_us=True)
        end = partial(_kill, process)  # nothing else could end the reading
        stderr = create_guarded_task(_last_stderr_line(process), "the journal reader's stderr", on_death=end)
        ending = create_guarded_task(_end_when(reading.follow, process), "the journal reader's end", on_death=end)
        try:
            while (batch := await _next(process)) is not None:
                yield batch
            if await process.wait() != 0:
                reason = await stderr or f"exit status {process.returncode}"
                raise Unavailable(f"the journal cannot be read: {reason}")
        finally:
            for task in (ending, stderr):
                task.cancel()
            await asyncio.shield(proc.end(process))
            await asyncio.gather(ending, stderr, return_exceptions=True)

    def _request(self, source: LogSource, reading: Reading) -> dict[str, Any]:
        window, after = reading.window, reading.after
        return {
            "identifier": source.identifier,
            "since": None if window.since is None else _microseconds(window.since),
            "until": None if window.until is None else _microseconds(window.until),
            "tail": window.tail,
            "timed": reading.timed,
            "place": after.place if after else None,
            "skip": after.skip if after else 0,
            "follow": reading.follow is not None,
            "user": self._user,
            "directory": str(self._directory) if self._directory else None,
        }


def _environment() -> dict[str, str]:
    """Pass LD_LIBRARY_PATH on: on NixOS, with libraries in folders of their own, the worker needs it for libsystemd."""
    folders = os.environ.get("LD_LIBRARY_PATH")
    return proc.environment({"LD_LIBRARY_PATH": folders} if folders else None)


def _microseconds(nanoseconds: int) -> int:
    """Round up, so that a time in microseconds is below the result exactly if it is below the argument."""
    return -(-nanoseconds // 1000)


async def _next(process: asyncio.subprocess.Process) -> Batch | None:
    """Read the worker's next frame; return None at its end."""
    assert process.stdout is not None
    try:
        head_size, size = HEADER.unpack(await process.stdout.readexactly(HEADER.size))
        head = json.loads(await process.stdout.readexactly(head_size))
        data = await process.stdout.readexactly(size)
    except asyncio.IncompleteReadError:
        return None
    if "error" in head:
        raise _error(head["error"], head["text"])
    return Batch(
        data,
        [(length, bool(is_stderr)) for length, is_stderr in head["runs"]],
        Position(head["begin"], head["skip"]),
        Position(head["end"], head["end_skip"]),
        head["notice"],
        head["caught_up"],
    )


def _error(kind: str, text: str) -> McpError:
    user = _own_name()
    if kind == "denied":
        return NotReady(
            f"the journal cannot be read: user {user} is not in the group systemd-journal",
            f"as root, run `usermod -aG systemd-journal {user}`, put SupplementaryGroups=systemd-journal into "
            "mcp-agent.service, and restart it",
        )
    if kind == "missing":
        return NotReady("there is no journal on this node", "start systemd-journald, or log through k8s-file")
    if kind == "place":
        return InvalidInput(f"invalid log position: {text}")
    what = f"the journal cannot be read: {text}"
    if kind == "library":
        return NotReady(what, "install libsystemd0, or name the folder of libsystemd.so.0 in LD_LIBRARY_PATH")
    if text == os.strerror(errno.EMFILE):
        return Unavailable(what, "raise fs.inotify.max_user_instances: each follower of the journal takes one")
    return Unavailable(what)


def _own_name() -> str:
    """Return our user's name; not by getpass, since LOGNAME may be another user's."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


async def _end_when(event: asyncio.Event | None, process: asyncio.subprocess.Process) -> None:
    """Ask the worker to end when the event is set, or at once without one."""
    assert process.stdin is not None
    if event is not None:
        await event.wait()
    process.stdin.close()


def _kill(process: asyncio.subprocess.Process, _error: BaseException) -> None:
    with suppress(ProcessLookupError):
        process.kill()


async def _last_stderr_line(process: asyncio.subprocess.Process) -> str:
    """Return the last line that the worker wrote to stderr."""
    assert process.stderr is not None
    last = b""
    while block := await process.stderr.read(64 * 1024):
        last = (last + block)[-4096:]
    lines = last.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""
