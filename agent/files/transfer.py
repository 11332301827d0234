"""Transfer files to and from clients in chunks: disk access in threads, at most two chunks in memory."""

import asyncio
import hashlib
import hmac
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from agent.files.files import FileWriter, ServiceFiles
from agent.store.registry import AsyncRegistry
from agent.tasks import create_guarded_task
from mcp.shared.errors import InvalidInput, McpError, NotReady
from proto.mcp.v1 import mcp_pb2 as pb

T = TypeVar("T")

CHUNK = 512 * 1024  # bytes
UNARY_LIMIT = 4 * 1024 * 1024 - 1024  # bytes of a file in one message: clients accept 4 MiB by default

_SHA256 = re.compile(r"[0-9a-f]{64}")


async def receive(
    files: ServiceFiles, registry: AsyncRegistry, chunks: AsyncIterator[pb.FileChunk]
) -> pb.PushFileStreamResponse:
    """Write a pushed file if it arrived completely and its checksum matches; otherwise change nothing.

    Raises InvalidInput for an inconsistent sequence of chunks, and the errors of FileWriter.
    """
    first = await anext(aiter(chunks), None)
    if first is None:
        raise InvalidInput("no chunk: the first one names the file")
    writer = files.writer(first.service, first.path, first.mode, first.size)
    try:
        await run_to_completion(writer.open)
        incoming = _Incoming(writer, first)
        await run_to_completion(lambda: incoming.add(first))
        async for chunk in chunks:
            await run_to_completion(lambda chunk=chunk: incoming.add(chunk))  # type: ignore[misc]
        incoming.check_whole()
        await _commit(writer, registry)
    finally:
        await run_to_completion(writer.discard)
    return pb.PushFileStreamResponse(size=incoming.size, sha256=incoming.sha256)


class _Incoming:
    """The chunks of one push, checked as they arrive."""

    def __init__(self, writer: FileWriter, first: pb.FileChunk) -> None:
        self.size = 0
        self.sha256 = ""  # from the last chunk
        self._writer, self._first = writer, first
        self._hash = hashlib.sha256()

    def add(self, chunk: pb.FileChunk) -> None:
        if self.sha256:
            raise InvalidInput("sha256: only the last chunk may have it, but another one follows")
        for field in ("service", "path"):
            if getattr(chunk, field) not in ("", getattr(self._first, field)):
                raise InvalidInput(f"{field}: a later chunk names another file than the first one")
        self.size += len(chunk.data)
        if self._first.size and self.size > self._first.size:
            raise InvalidInput(f"data: is more than the {self._first.size} bytes that the first chunk announced")
        if chunk.sha256 and not _SHA256.fullmatch(chunk.sha256):
            raise InvalidInput("sha256: expected 64 hexadecimal digits in lower case")
        self._hash.update(chunk.data)
        self._writer.write(chunk.data)
        self.sha256 = chunk.sha256

    def check_whole(self) -> None:
        if not self.sha256:
            raise InvalidInput("sha256: the stream ended before the last chunk, which has it; nothing was changed")
        if self._first.size and self.size != self._first.size:
            raise InvalidInput(f"data: received {self.size} of {self._first.size} bytes; nothing was changed")
        if not hmac.compare_digest(self._hash.hexdigest(), self.sha256):
            raise InvalidInput("sha256: does not match the received data; nothing was changed")


async def send(files: ServiceFiles, request: pb.PullFileRequest) -> AsyncGenerator[pb.FileChunk]:
    """Yield a file in chunks: the first has mode and size, the last the checksum. Raises the errors of FileReader."""
    reader = files.reader(request.service, request.path)
    digest = hashlib.sha256()

    def read() -> bytes:
        data = reader.read(CHUNK)
        digest.update(data)
        return data

    try:
        await run_to_completion(reader.open)
        yield pb.FileChunk(service=request.service, path=request.path, mode=reader.mode, size=reader.size)
        while data := await run_to_completion(read):
            yield pb.FileChunk(data=data)
        yield pb.FileChunk(sha256=digest.hexdigest())
    finally:
        await run_to_completion(reader.close)


async def receive_whole(
    files: ServiceFiles, registry: AsyncRegistry, request: pb.PushFileRequest
) -> pb.PushFileResponse:
    """Write a file sent in one message. Raises the errors of FileWriter."""
    writer = files.writer(request.service, request.path, request.mode, len(request.content))
    try:
        await run_to_completion(writer.open)
        await run_to_completion(lambda: writer.write(request.content))
        await _commit(writer, registry)
    finally:
        await run_to_completion(writer.discard)
    return pb.PushFileResponse(success=True)


async def _commit(writer: FileWriter, registry: AsyncRegistry) -> None:
    """Commit a file; folders that it creates are on record meanwhile, for the case that the agent is killed."""
    names, created = writer.new_folders
    if not created:
        await run_to_completion(writer.commit)
        return
    number = await registry.call(registry.pushes.begin, [name.decode() for name in names], created)
    try:
        await run_to_completion(writer.commit)
    finally:
        await registry.call(registry.pushes.end, number)


async def remove_unfinished(files: ServiceFiles, registry: AsyncRegistry) -> None:
    """Remove the empty folders that pushes left when the agent was killed."""
    for number, names, created in await registry.call(registry.pushes.unfinished):
        path = [name.encode() for name in names]
        with suppress(McpError, OSError):  # not empty, or replaced by something else
            await run_to_completion(partial(files.remove_empty, path, created))
        await registry.call(registry.pushes.end, number)


async def send_whole(files: ServiceFiles, request: pb.PullFileRequest) -> pb.PullFileResponse:
    """Return a file in one message; raises NotReady if it is too large, and the errors of FileReader."""
    reader = files.reader(request.service, request.path)
    try:
        await run_to_completion(reader.open)
        if reader.size > UNARY_LIMIT:
            raise NotReady(
                f"{request.service}/{request.path}: has {reader.size} bytes, too many for PullFile",
                "use PullFileStream",
            )
        content = b""
        while data := await run_to_completion(lambda: reader.read(CHUNK)):
            content += data
    finally:
        await run_to_completion(reader.close)
    return pb.PullFileResponse(content=content, mode=reader.mode)


async def run_to_completion(work: Callable[[], T]) -> T:
    """Run blocking `work` in a thread and wait for its end, even when cancelled.

    The caller then closes the descriptors that `work` uses, and their numbers may soon belong to other files.
    """
    task = create_guarded_task(asyncio.to_thread(work), "file transfer", expected=(McpError, OSError))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        raise  # the cancellation, not the result of `work`
