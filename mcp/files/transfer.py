"""Transfer of a file to or from an agent: in chunks, with a checksum, atomic."""

import hashlib
from collections.abc import Iterator
from typing import Protocol

from mcp.client.agent import AgentClient
from mcp.files.local import LocalFile
from mcp.shared.errors import McpError
from mcp.terminal import output
from proto.mcp.v1 import mcp_pb2 as pb

CHUNK = 512 * 1024  # bytes


class Sink(Protocol):
    """Destination of a pulled file."""

    def write(self, data: bytes) -> None:
        """Append `data`."""

    def commit(self, mode: int) -> None:
        """Complete the file, after its checksum was verified."""


def push(agent: AgentClient, source: LocalFile, target: str, mode: int) -> int:
    """Write `source` to SERVICE/PATH; return its size in bytes. `mode` 0 is the source's. Raises McpError, OSError."""
    service, _, path = target.partition("/")
    first = pb.FileChunk(service=service, path=path, mode=mode or source.mode, size=source.size)
    sent = _Sent(source, first)
    with output.progress(target, source.size) as sent.progress:
        response = agent.push_chunks(sent.chunks())
    if (response.size, response.sha256) != (sent.size, sent.sha256):
        raise McpError(f"{target}: checksum of the file on the node differs", "push it again")
    return sent.size


class _Sent:
    """The chunks of a file, with size and checksum of those sent."""

    def __init__(self, source: LocalFile, first: pb.FileChunk) -> None:
        self.size = 0
        self.sha256 = ""
        self.progress: output.Progress
        self._source, self._first = source, first

    def chunks(self) -> Iterator[pb.FileChunk]:
        digest = hashlib.sha256()
        yield self._first
        while data := self._source.read(CHUNK):
            digest.update(data)
            self.size += len(data)
            yield pb.FileChunk(data=data)
            self.progress.add(len(data))
        self.sha256 = digest.hexdigest()
        yield pb.FileChunk(sha256=self.sha256)


def pull(agent: AgentClient, target: str, sink: Sink) -> int:
    """Read SERVICE/PATH into `sink`; return its size in bytes. Raises McpError, OSError."""
    service, _, path = target.partition("/")
    request = pb.PullFileRequest(service=service, path=path)
    digest, size, mode, sha256 = hashlib.sha256(), 0, 0, ""
    with output.progress(target, 0) as progress:
        for chunk in agent.pull_chunks(request):
            mode, sha256 = mode or chunk.mode, chunk.sha256
            progress.total = progress.total or chunk.size
            digest.update(chunk.data)
            sink.write(chunk.data)
            size += len(chunk.data)
            progress.add(len(chunk.data))
    if digest.hexdigest() != sha256:
        raise McpError(f"{target}: damaged in transfer: the checksum differs", "pull it again")
    sink.commit(mode)
    return size
