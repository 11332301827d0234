"""All starts of processes: argv lists, no stdin unless given, a minimal environment, a timeout.

The environment is not inherited, so that no child sees variables that it does not need.
"""

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from mcp.shared.errors import McpError, NotReady, Unavailable, one_line
from mcp.shared.times import in_seconds

OUTPUT_LIMIT = 32 * 1024 * 1024  # bytes per stream; a command that prints more is killed
BLOCK = 256 * 1024  # bytes per read or write
KILL_GRACE = 2.0  # seconds between SIGTERM and SIGKILL
_DISK_FULL = "the disk is full: make room on the node"

# The variables that tools need from our environment: paths and proxies. No other is passed on.
_PASSED_ON = (
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ"),
    *("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "DBUS_SESSION_BUS_ADDRESS"),
    *("CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF", "CONTAINERS_REGISTRIES_CONF", "CONTAINER_HOST"),
    *("REGISTRY_AUTH_FILE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)

Stdin = bytes | Sequence[bytes]  # several blocks need not be joined


@dataclass(frozen=True)
class Completed:
    """A process that exited; a negative `returncode` is the signal that ended it."""

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes

    def last_words(self) -> str:
        """The last line of stderr, or the exit status if there is none."""
        lines = [line for line in self.stderr.decode(errors="replace").splitlines() if line.strip()]
        return one_line(lines[-1].strip())[:500] if lines else f"exit status {self.returncode}"


class CommandFailed(McpError):
    """A command that exited with a non-zero status; `completed` holds its output."""

    def __init__(self, completed: Completed) -> None:
        """Compose the message of the command, quoted for a shell, and its last line."""
        self.completed = completed
        words = completed.last_words()
        hint = _DISK_FULL if "no space left on device" in words.lower() else ""
        super().__init__(f"{shlex.join(completed.argv[:3])}: {words}", hint)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a child: the variables that tools need, a fixed locale, and `extra`."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**passed, "LC_ALL": "C.UTF-8", **(extra or {})}


async def start(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    pipe_stdin: bool = False,
    dies_with_us: bool = False,
    through: Sequence[str] = (),
) -> asyncio.subprocess.Process:
    """Start a process with its output in pipes; raises NotReady if the program is not installed.

    `through` is a command that ends by executing another one, such as choom(1).

    With `dies_with_us` the kernel ends it when we end, however we end. util-linux's setpriv sets that up, since a
    preexec function is not safe in a process with threads. The caller must be the main thread, which lives as long
    as the process.
    """
    command = ["setpriv", "--pdeathsig", "KILL", "--", *argv] if dies_with_us else [*through, *argv]
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE if pipe_stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment() if env is None else env,
            start_new_session=True,
            limit=1024 * 1024,
        )
    except FileNotFoundError:
        raise NotReady(f"{command[0]} was not found on PATH", f"install {command[0]} on the node") from None
    except OSError as error:
        raise Unavailable(f"{command[0]} cannot be started: {error.strerror}") from None


async def run(
    argv: Sequence[str],
    *,
    seconds: float,
    env: Mapping[str, str] | None = None,
    stdin: Stdin | None = None,
    through: Sequence[str] = (),
) -> Completed:
    """Run a command to completion and return its output, whatever its exit status.

    Raises NotReady if the program is not installed, Unavailable if it exceeds `seconds` or OUTPUT_LIMIT; its whole
    process group is then killed.
    """
    process = await start(argv, env=env, pipe_stdin=stdin is not None, through=through)
    returncode = None
    try:
        async with asyncio.timeout(seconds):
            stdout, stderr = await _collect(process, stdin)
            returncode = await process.wait()
    except TimeoutError:
        raise Unavailable(f"{shlex.join(argv[:3])}: did not end within {in_seconds(seconds)} s") from None
    finally:
        if returncode is None:  # not process.returncode: it may have exited and left children that hold our pipes
            await asyncio.shield(end(process))
    return Completed(tuple(argv), returncode, stdout, stderr)


async def check(
    argv: Sequence[str],
    *,
    seconds: float,
    env: Mapping[str, str] | None = None,
    stdin: Stdin | None = None,
    through: Sequence[str] = (),
) -> bytes:
    """Run a command like `run` and return stdout; raises CommandFailed if the exit status is not 0."""
    completed = await run(argv, seconds=seconds, env=env, stdin=stdin, through=through)
    if completed.returncode != 0:
        raise CommandFailed(completed)
    return completed.stdout


def on_terminal(argv: Sequence[str]) -> int:
    """Run an interactive program, such as an editor, in our terminal and environment; return its exit status.

    Ctrl-C goes to the program while it runs. Raises NotReady if it cannot be started.
    """
    # a caught signal, unlike an ignored one, is reset to its default in the child
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(os.posix_spawnp(argv[0], list(argv), os.environ), 0)[1])
    except FileNotFoundError:
        raise NotReady(f"{argv[0]} was not found on PATH") from None
    except OSError as error:
        raise NotReady(f"{argv[0]} cannot be started: {error.strerror}") from None
    finally:
        signal.signal(signal.SIGINT, before)


def in_child(work: Callable[[], None]) -> None:
    """Run `work` in a forked child and wait for it, so that its imports do not stay in our memory.

    Must be called before the first thread starts. Raises McpError with the parts of the error that `work` raised.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work()
            status = 0
        except McpError as error:
            os.write(writer, f"{error.what}\0{error.hint}".encode(errors="replace")[:4096])
            status = 1
        except BaseException:  # noqa: BLE001 - a child must never return into its parent's code
            sys.excepthook(*sys.exc_info())
            status = 1
        os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        what, _, hint = pipe.read().decode(errors="replace").partition("\0")  # may be cut within a character
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
        raise McpError(what or "a child process failed", hint)


async def end(process: asyncio.subprocess.Process) -> None:
    """End a process group: SIGTERM, then SIGKILL after KILL_GRACE seconds; unread output is lost."""
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(TimeoutError):
                async with asyncio.timeout(KILL_GRACE):
                    await process.wait()
                    return
    finally:
        # asyncio closes pipes only after they were read to the end, which nobody does from here on, and has no
        # public way to close them: https://github.com/python/cpython/issues/88050
        process._transport.close()  # type: ignore[attr-defined]


async def _collect(process: asyncio.subprocess.Process, stdin: Stdin | None) -> tuple[bytes, bytes]:
    assert process.stdout is not None
    assert process.stderr is not None
    out, err, _ = await asyncio.gather(
        _bounded(process.stdout, process), _bounded(process.stderr, process), _feed(process, stdin)
    )
    return out, err


async def _bounded(stream: asyncio.StreamReader, process: asyncio.subprocess.Process) -> bytes:
    blocks, size = [], 0
    while block := await stream.read(BLOCK):
        blocks.append(block)
        size += len(block)
        if size > OUTPUT_LIMIT:
            raise Unavailable(f"process {process.pid}: printed more than {OUTPUT_LIMIT >> 20} MiB")
    return b"".join(blocks)


async def _feed(process: asyncio.subprocess.Process, stdin: Stdin | None) -> None:
    if process.stdin is None:
        return
    with suppress(BrokenPipeError, ConnectionResetError):  # it may exit without reading; its status tells
        try:
            for block in _blocks(stdin or b""):
                process.stdin.write(block)
                await process.stdin.drain()
        except asyncio.CancelledError:
            process.stdin.transport.abort()  # else asyncio logs the lost rest once the process is killed
            raise
    process.stdin.close()
    with suppress(BrokenPipeError, ConnectionResetError):
        await process.stdin.wait_closed()  # else Python 3.11 prints a traceback if the process left input unread


def _blocks(stdin: Stdin) -> Iterator[memoryview]:
    """Yield small blocks, since asyncio copies each until the process reads it."""
    for part in (stdin,) if isinstance(stdin, bytes) else stdin:
        for place in range(0, len(part), BLOCK):
            yield memoryview(part)[place : place + BLOCK]
