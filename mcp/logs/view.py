"""Views of logs: as they are, with prefixes, or as JSON objects; stdout to stdout, stderr to stderr."""

import re
from collections.abc import Iterable
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING

from mcp.logs.blocks import TIME_WIDTH, Origin, Piece, is_timed
from mcp.shared.states import LogStream
from mcp.terminal import output

if TYPE_CHECKING:
    from proto.mcp.v1 import mcp_pb2 as pb

COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)  # ANSI: cyan, yellow, green, magenta, blue, then bright
MESSAGE_LIMIT = 1024 * 1024  # bytes of a line that become one JSON object; the rest of a longer line is the next one
_NAMED = re.compile(r"[a-z0-9-]+/[a-z0-9-]+: ")
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")


class LogView:
    """Logs as they are, byte for byte; the other views change how a piece is rendered."""

    one_stream = False  # whether what a container wrote to stderr goes to stdout as well
    unfinished = False  # whether the last line shown has not ended yet

    def show(self, pieces: Iterable[Piece]) -> None:
        """Write pieces as they come, with as few writes as their streams allow."""
        parts: list[bytes] = []
        stream = False
        for origin, data in pieces:
            to_stderr = origin.is_stderr and not self.one_stream
            if parts and to_stderr != stream:
                output.write_bytes(b"".join(parts), to_stderr=stream)
                parts = []
            stream = to_stderr
            parts.append(self.render(origin, data))
        if parts:
            output.write_bytes(b"".join(parts), to_stderr=stream)
            self.unfinished = parts[-1][-1:] not in (b"", b"\n")

    def render(self, origin: Origin, data: bytes) -> bytes:  # noqa: ARG002 - what others need
        """Return the bytes to write for a piece."""
        return data

    def marker(self, text: str) -> None:
        """Say on stderr, between the lines, what happened."""
        if self.unfinished and output.is_one_terminal():
            output.write_bytes(b"\n", to_stderr=True)
            self.unfinished = False
        output.marker(text)

    def end(self) -> None:
        """Write what was kept back."""


class Labels:
    """The names of origins as they stand in front of lines, as short as tells them apart, and of one width."""

    def __init__(
        self, known: Iterable[tuple[str, str, str]], *, with_node: bool, with_service: bool, colour: bool
    ) -> None:
        """`known` are (node, service, component) as expected, for the width and the colours; others may come."""
        self._with_node, self._with_service, self._colour = with_node, with_service, colour
        self._names = list(dict.fromkeys(known))
        self._width = max((len(self._text(*name)) for name in self._names), default=0)
        self._made: dict[Origin, bytes] = {}

    def __call__(self, origin: Origin) -> bytes:
        """The prefix for lines of an origin: `web/api | `."""
        made = self._made.get(origin)
        return self._make(origin) if made is None else made

    def _make(self, origin: Origin) -> bytes:
        name = origin[:3]
        if name not in self._names:
            self._names.append(name)
        text = self._text(*name)
        if len(text) > self._width:
            self._width = len(text)
            self._made.clear()
        text = f"{text:<{self._width}} |"
        if self._colour:
            text = f"\x1b[{COLOURS[self._names.index(name) % len(COLOURS)]}m{text}\x1b[0m"
        made = self._made[origin] = f"{text} ".encode()
        return made

    def _text(self, node: str, service: str, component: str) -> str:
        name = f"{service}/{component}" if self._with_service else component
        return f"{node} {name}" if self._with_node else name


class Prefixed(LogView):
    """Each line with its origin in front.

    A line that comes in parts gets one prefix; where somebody else writes in between, it is broken off.
    """

    def __init__(self, labels: Labels, *, one_terminal: bool) -> None:
        """`one_terminal`: stdout and stderr are the same screen, so that each breaks off the other's lines."""
        self._labels = labels
        self._one_terminal = one_terminal
        self._open: dict[bool, Origin] = {}  # where -> who has not ended a line there

    def render(self, origin: Origin, data: bytes) -> bytes:
        """`data` with prefixes."""
        if not data:
            return b""
        prefix = self._labels(origin)
        where = origin.is_stderr and not self._one_terminal
        before = self._open.pop(where, None)
        start = b"" if before == origin else prefix if before is None else b"\n" + prefix
        whole = data.endswith(b"\n")
        if not whole:
            self._open[where] = origin
        body = data[:-1] if whole else data
        return start + body.replace(b"\n", b"\n" + prefix) + (b"\n" if whole else b"")

    def marker(self, text: str) -> None:
        """Say what happened, on a line of its own."""
        if self._open.pop(not self._one_terminal, None) is not None:
            output.write_bytes(b"\n", to_stderr=True)
            self.unfinished = False
        super().marker(text)


class JsonLines(LogView):
    """One JSON object a line, in ASCII; the pieces must be timed.

    What is no UTF-8 becomes U+FFFD, since JSON has no place for it.
    """

    one_stream = True

    def __init__(self) -> None:
        """Nothing is open yet."""
        self._heads: dict[Origin, bytes] = {}
        self._open: dict[Origin, tuple[bytes, bytes]] = {}  # the time and the beginning of a line that has not ended

    def render(self, origin: Origin, data: bytes) -> bytes:
        """The objects of the lines that end in `data`; the beginning of one more is kept."""
        head = self._heads.get(origin) or self._head(origin)
        out: list[bytes] = []
        for line in _LINE.findall(data):
            time, message = self._open.pop(origin, (b"", b""))
            if not time:
                time, line = (line[: TIME_WIDTH - 1], line[TIME_WIDTH:]) if is_timed(line) else (b"", line)
            message += line
            if message.endswith(b"\n"):
                out.append(_object(time, head, message[:-1]))
            elif len(message) >= MESSAGE_LIMIT:
                out.append(_object(time, head, message))
                self._open[origin] = (time, b"")
            else:
                self._open[origin] = (time, message)
        return b"".join(out)

    def end(self) -> None:
        """Write lines that never ended."""
        for origin, (time, message) in self._open.items():
            if message:
                output.write_bytes(_object(time, self._heads[origin], message), to_stderr=False)
        self._open.clear()

    def _head(self, origin: Origin) -> bytes:
        stream = LogStream.STDERR if origin.is_stderr else LogStream.STDOUT
        named = zip(("node", "service", "component", "stream"), (*origin[:3], stream), strict=True)
        text = ", ".join(f'"{key}": {encode_basestring_ascii(value)}' for key, value in named)
        head = self._heads[origin] = text.encode()
        return head


def _object(time: bytes, head: bytes, message: bytes) -> bytes:
    """A line of JSON; put together by hand, which is several times as fast as json.dumps."""
    when = b'"%b"' % time if time else b"null"
    text = encode_basestring_ascii(message.decode("utf-8", "replace")).encode()
    return b'{"time": %b, %b, "message": %b}\n' % (when, head, text)


def notice(block: "pb.LogsResponse", node: str, *, with_node: bool) -> str:
    """The text of a block's notice, with what it is about where it does not say so itself."""
    text = block.notice
    if not _NAMED.match(text):
        about = f"{block.service}/{block.component}" if block.component else block.service or node
        text = f"{about}: {text}"
    return f"{node} {text}" if with_node and not text.startswith(f"{node}: ") else text
