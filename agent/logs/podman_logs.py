"""Container logs, read through `podman logs`: blocks of whole lines, standard output and standard error told apart."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass

from agent.podman import Podman, logs_argv
from mcp.shared import proc
from mcp.shared.errors import NotReady

BLOCK = 256 * 1024  # bytes read at once; gRPC's own limit for a message is 4 MiB
LINE_LIMIT = 1024 * 1024  # a longer line is passed on in parts, so that memory stays bounded
QUEUE = 4  # blocks that wait for a slow client; then podman waits too


@dataclass(frozen=True)
class Request:
    """What to show; `tail` None shows all, `since` is an RFC 3339 time or empty."""

    tail: int | None
    follow: bool
    timestamps: bool
    since: str


@dataclass(frozen=True)
class Block:
    """Whole lines of one component, or a part of a very long one."""

    component: str
    is_stderr: bool
    data: bytes


async def read(podman: Podman, containers: dict[str, str], request: Request) -> AsyncGenerator[Block]:
    """The logs of several components (component -> container), each in its own order.

    Raises NotReady with podman's last words where podman fails. Closing the iterator ends every process it started.
    """
    queue: asyncio.Queue[Block | BaseException | None] = asyncio.Queue(QUEUE)
    tasks = [
        asyncio.create_task(_follow(podman, component, container, request, queue))
        for component, container in containers.items()
    ]
    try:
        left = len(tasks)
        while left:
            item = await queue.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _follow(
    podman: Podman,
    component: str,
    container: str,
    request: Request,
    queue: "asyncio.Queue[Block | BaseException | None]",
) -> None:
    """Put everything that one container logged into the queue, then None, or the error that ended it."""
    argv = podman.argv(
        logs_argv(
            container,
            tail=request.tail,
            follow=request.follow,
            timestamps=request.timestamps,
            since=request.since,
        )
    )
    try:
        process = await proc.start(argv, dies_with_us=True)
    except Exception as error:  # noqa: BLE001 - handed to the reader of the queue, which raises it
        await queue.put(error)
        return
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        _, last = await asyncio.gather(
            _pump(process.stdout, component, False, queue), _pump(process.stderr, component, True, queue)
        )
        status = await process.wait()
        if status != 0:
            words = last.decode(errors="replace").strip().splitlines()
            await queue.put(NotReady(f"podman logs {container}: {words[-1] if words else f'exit status {status}'}"))
        await queue.put(None)
    finally:
        if process.returncode is None:
            with suppress(asyncio.CancelledError):
                await asyncio.shield(proc.end(process))


async def _pump(
    stream: asyncio.StreamReader, component: str, is_stderr: bool, queue: "asyncio.Queue[Block | BaseException | None]"
) -> bytes:
    """Pass a stream on in blocks of whole lines; returns the last block, for an error message."""
    rest, last = b"", b""
    while data := await stream.read(BLOCK):
        block, newline, rest = (rest + data).rpartition(b"\n")
        if not newline and len(rest) > LINE_LIMIT:
            block, rest = rest, b""
        if block or newline:
            last = block + newline
            await queue.put(Block(component, is_stderr, last))
    if rest:
        last = rest
        await queue.put(Block(component, is_stderr, rest))
    return last
