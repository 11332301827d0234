"""Files to and from clients: chunk by chunk, the disk's work in threads, never more than a chunk or two in memory."""

import asyncio
import hashlib
import hmac
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from typing import TypeVar

from agent.files.files import FileWriter, ServiceFiles
from agent.tasks import create_guarded_task
from mcp.shared.errors import InvalidInput, McpError, NotReady
from proto.mcp.v1 import mcp_pb2 as pb

T = TypeVar("T")

CHUNK = 512 * 1024  # bytes
UNARY_LIMIT = 4 * 1024 * 1024 - 1024  # bytes of a file in one message: by default clients take 4 MiB

_SHA256 = re.compile(r"[0-9a-f]{64}")


async def receive(files: ServiceFiles, chunks: AsyncIterator[pb.FileChunk]) -> pb.PushFileStreamResponse:
    """Write a pushed file. Unless every byte arrived and the checksum matches, nothing is left of it.

    Raises InvalidInput for chunks that make no file, and what Writer raises.
    """
    first = await anext(aiter(chunks), None)
    if first is None:
        raise InvalidInput("no chunk: the first one names the file")
    writer = files.writer(first.service, first.path, first.mode, first.size)
    try:
        await to_its_end(writer.open)
        incoming = _Incoming(writer, first)
        await to_its_end(lambda: incoming.add(first))
        async for chunk in chunks:
            await to_its_end(lambda chunk=chunk: incoming.add(chunk))  # type: ignore[misc]
        incoming.check_whole()
        await to_its_end(writer.commit)
    finally:
        await to_its_end(writer.discard)
    return pb.PushFileStreamResponse(size=incoming.size, sha256=incoming.sha256)


class _Incoming:
    """The chunks of one push, each checked as it comes."""

    def __init__(self, writer: FileWriter, first: pb.FileChunk) -> None:
        self.size = 0
        self.sha256 = ""  # as the last chunk says
        self._writer, self._first = writer, first
        self._hash = hashlib.sha256()

    def add(self, chunk: pb.FileChunk) -> None:
        if self.sha256:
            raise InvalidInput("sha256: only the last chunk has it, and another one follows")
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
            raise InvalidInput(f"data: {self.size} of {self._first.size} bytes came; nothing was changed")
        if not hmac.compare_digest(self._hash.hexdigest(), self.sha256):
            raise InvalidInput("sha256: is not that of the data that came; nothing was changed")


async def send(files: ServiceFiles, request: pb.PullFileRequest) -> AsyncGenerator[pb.FileChunk]:
    """A file in chunks: the first one has mode and size, the last one the checksum. Raises what Reader raises."""
    reader = files.reader(request.service, request.path)
    digest = hashlib.sha256()

    def read() -> bytes:
        data = reader.read(CHUNK)
        digest.update(data)
        return data

    try:
        await to_its_end(reader.open)
        yield pb.FileChunk(service=request.service, path=request.path, mode=reader.mode, size=reader.size)
        while data := await to_its_end(read):
            yield pb.FileChunk(data=data)
        yield pb.FileChunk(sha256=digest.hexdigest())
    finally:
        await to_its_end(reader.close)


async def receive_whole(files: ServiceFiles, request: pb.PushFileRequest) -> pb.PushFileResponse:
    """Write a file that came in one message. Raises what Writer raises."""
    writer = files.writer(request.service, request.path, request.mode, len(request.content))
    try:
        await to_its_end(writer.open)
        await to_its_end(lambda: writer.write(request.content))
        await to_its_end(writer.commit)
    finally:
        await to_its_end(writer.discard)
    return pb.PushFileResponse(success=True)


async def send_whole(files: ServiceFiles, request: pb.PullFileRequest) -> pb.PullFileResponse:
    """A file in one message; raises NotReady where it is too large for one, and what Reader raises."""
    reader = files.reader(request.service, request.path)
    try:
        await to_its_end(reader.open)
        if reader.size > UNARY_LIMIT:
            raise NotReady(
                f"{request.service}/{request.path}: its {reader.size} bytes are too many for PullFile",
                "use PullFileStream",
            )
        content = b""
        while data := await to_its_end(lambda: reader.read(CHUNK)):
            content += data
    finally:
        await to_its_end(reader.close)
    return pb.PullFileResponse(content=content, mode=reader.mode)


async def to_its_end(work: Callable[[], T]) -> T:
    """Run blocking `work` in a thread, and do not leave before it has ended, even when cancelled.

    What it works on is closed afterwards, and a descriptor's number may soon be another file's.
    """
    task = create_guarded_task(asyncio.to_thread(work), "file transfer", expected=(McpError, OSError))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        raise  # the cancellation is what the caller hears of
