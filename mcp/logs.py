"""Showing logs: blocks from the agent become lines with a prefix, each stream to its own."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mcp import output

if TYPE_CHECKING:
    from proto.mcp.v1 import mcp_pb2 as pb

COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)  # ANSI: cyan, yellow, green, magenta, blue, then bright
STDERR = 2  # LOG_STREAM_STDERR


@dataclass(frozen=True)
class LogsQuery:
    """What to show; `tail` 0 is all, a negative number none; `since` is passed on as it was written."""

    service: str
    component: str
    tail: int
    follow: bool
    timestamps: bool
    since: str


class Prefixer:
    """Puts `component |` in front of every line; a line that comes in parts gets it once."""

    def __init__(self, components: Iterable[str], colour: bool) -> None:
        """`components` are those expected, for the width; others get a colour when they come."""
        self._names = list(components)
        self._width = max((len(name) for name in self._names), default=0)
        self._colour = colour
        self._inside: set[tuple[str, bool]] = set()

    def __call__(self, component: str, is_stderr: bool, data: bytes) -> bytes:
        """`data` with prefixes."""
        if not data:
            return b""
        prefix = self._prefix(component)
        key = (component, is_stderr)
        start = b"" if key in self._inside else prefix
        whole = data.endswith(b"\n")
        (self._inside.discard if whole else self._inside.add)(key)
        body = data[:-1] if whole else data
        return start + body.replace(b"\n", b"\n" + prefix) + (b"\n" if whole else b"")

    def _prefix(self, component: str) -> bytes:
        if component not in self._names:
            self._names.append(component)
        text = f"{component:<{self._width}} |"
        if self._colour:
            text = f"\x1b[{COLOURS[self._names.index(component) % len(COLOURS)]}m{text}\x1b[0m"
        return f"{text} ".encode()


def show(blocks: "Iterable[pb.LogsResponse]", prefixer: Prefixer | None) -> None:
    """Write blocks as they come: what a container wrote to stderr goes to stderr."""
    for block in blocks:
        is_stderr = block.stream == STDERR
        data = prefixer(block.component, is_stderr, block.data) if prefixer else block.data
        output.write_bytes(data, to_stderr=is_stderr)
