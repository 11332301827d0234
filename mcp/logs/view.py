"""Output formats of logs: unchanged, with prefixes, or JSON objects; stdout to stdout, stderr to stderr."""

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
MESSAGE_LIMIT = 1024 * 1024  # bytes per JSON object; a longer line is split into several
_NAMED = re.compile(r"[a-z0-9-]+/[a-z0-9-]+: ")
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")


class LogView:
    """Logs byte for byte; subclasses change how a piece is rendered."""

    one_stream = False  # stderr of containers goes to stdout as well
    unfinished = False  # the last line shown has no line end yet

    def show(self, pieces: Iterable[Piece]) -> None:
        """Write pieces in order, with as few writes as their streams allow."""
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

    def render(self, origin: Origin, data: bytes) -> bytes:  # noqa: ARG002 - for subclasses
        """Return the bytes to write for a piece."""
        return data

    def marker(self, text: str) -> None:
        """Print an event on stderr, between lines."""
        if self.unfinished and output.is_one_terminal():
            output.write_bytes(b"\n", to_stderr=True)
            self.unfinished = False
        output.marker(text)

    def end(self) -> None:
        """Write buffered data."""


class Labels:
    """Prefixes of lines: unambiguous short names of origins, of one width."""

    def __init__(
        self, known: Iterable[tuple[str, str, str]], *, with_node: bool, with_service: bool, colour: bool
    ) -> None:
        """Take the expected (node, service, component), for width and colours; others may follow."""
        self._with_node, self._with_service, self._colour = with_node, with_service, colour
        self._names = list(dict.fromkeys(known))
        self._width = max((len(self._text(*name)) for name in self._names), default=0)
        self._made: dict[Origin, bytes] = {}

    def __call__(self, origin: Origin) -> bytes:
        """Return the prefix for lines of an origin: `web/api | `."""
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
    """Lines with their origin as prefix.

    A line that arrives in parts gets one prefix; output of another origin in between breaks it off.
    """

    def __init__(self, labels: Labels, *, one_terminal: bool) -> None:
        """Take `one_terminal` if stdout and stderr are the same terminal: each then breaks off lines of the other."""
        self._labels = labels
        self._one_terminal = one_terminal
        self._open: dict[bool, Origin] = {}  # output stream -> origin of its unfinished line

    def render(self, origin: Origin, data: bytes) -> bytes:
        """Return `data` with prefixes."""
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
        """Print an event on a line of its own."""
        if self._open.pop(not self._one_terminal, None) is not None:
            output.write_bytes(b"\n", to_stderr=True)
            self.unfinished = False
        super().marker(text)


class JsonLines(LogView):
    """One JSON object per line, in ASCII; the pieces must be timed.

    Bytes that are not UTF-8 become U+FFFD, since JSON cannot represent them.
    """

    one_stream = True

    def __init__(self) -> None:
        """Start without unfinished lines."""
        self._heads: dict[Origin, bytes] = {}
        self._open: dict[Origin, tuple[bytes, bytes]] = {}  # time and beginning of an unfinished line

    def render(self, origin: Origin, data: bytes) -> bytes:
        """Return the objects of lines that end in `data`; the beginning of the next one is buffered."""
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
        """Write unfinished lines."""
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
    """Return a line of JSON, built by hand, which is several times as fast as json.dumps."""
    when = b'"%b"' % time if time else b"null"
    text = encode_basestring_ascii(message.decode("utf-8", "replace")).encode()
    return b'{"time": %b, %b, "message": %b}\n' % (when, head, text)


def notice(block: "pb.LogsResponse", node: str, *, with_node: bool) -> str:
    """Return the text of a block's notice, with its component unless the text names it."""
    text = block.notice
    if not _NAMED.match(text):
        about = f"{block.service}/{block.component}" if block.component else block.service or node
        text = f"{about}: {text}"
    return f"{node} {text}" if with_node and not text.startswith(f"{node}: ") else text
