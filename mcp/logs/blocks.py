"""Parser of the blocks of logs that agents send."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from proto.mcp.v1 import mcp_pb2 as pb

STDERR = 2  # LOG_STREAM_STDERR, without an import of protobuf, which is slow
TIME_WIDTH = 31  # bytes of the prefix of a timed line: `2026-11-22T10:19:26.532885487Z `; prefixes sort by time


class Origin(NamedTuple):
    """Node, service, component and stream of a line."""

    node: str
    service: str
    component: str
    is_stderr: bool


Piece = tuple[Origin, bytes]


def pieces(block: "pb.LogsResponse", node: str) -> Iterator[Piece]:
    """Split a block into pieces of one origin each."""
    lengths = block.run_length
    if not lengths:
        if block.data:
            yield Origin(node, block.service, block.component, block.stream == STDERR), block.data
        return
    data, begin = block.data, 0
    origins = [Origin(node, source.service, source.component, source.stream == STDERR) for source in block.sources]
    for index, length in zip(block.run_source, lengths, strict=True):
        yield origins[index], data[begin : begin + length]
        begin += length


def is_timed(line: bytes) -> bool:
    """Return True if a line begins with its time."""
    return line[29:TIME_WIDTH] == b"Z " and line[10:11] == b"T"
