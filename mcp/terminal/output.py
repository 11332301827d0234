"""The only file that prints: tables, JSON, results, errors."""

import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from types import TracebackType

from mcp.shared.errors import one_line


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns; an empty value shows as -. Control characters are escaped."""
    cells = [list(headers), *([one_line(value) or "-" for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    for row in cells:
        print("  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip())


def print_json(value: object) -> None:
    """Print JSON for programs."""
    import json  # slow to import

    print(json.dumps(value, indent=2))


def line(text: str) -> None:
    """Print one line of a result."""
    print(one_line(text), flush=True)


def note(text: str) -> None:
    """Say what is going on, on stderr, so that stdout stays clean."""
    _stdout_first()
    print(one_line(text), file=sys.stderr, flush=True)


def candidate(value: str, explanation: str) -> None:
    """Print what a shell may complete a word to: VALUE<TAB>EXPLANATION."""
    print(f"{one_line(value)}\t{one_line(explanation)}" if explanation else one_line(value))


def text(block: str) -> None:
    """Print a text of ours of several lines, as it is."""
    print(block, end="", flush=True)


def ask(question: str) -> bool:
    """Ask on the terminal; Enter means yes, the end of input or Ctrl-C no."""
    try:
        print(f"{question} [Y/n] ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return False
    return answer.strip().lower() in ("y", "yes", "") and answer != ""


def is_interactive() -> bool:
    """Whether there is somebody at a terminal to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def error(text: str) -> None:
    """Print an error, one line for each of its lines, as `mcp: WHAT`."""
    _stdout_first()
    for part in text.splitlines() or [""]:
        print(f"mcp: {one_line(part)}", file=sys.stderr)


def _stdout_first() -> None:
    """What was printed before stands before it, also where both go into one file or pipe."""
    with suppress(OSError):  # a pipe that nobody reads is for the end of the program to see
        sys.stdout.flush()


def wants_colour() -> bool:
    """Whether stdout is a terminal that should get colour (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def is_one_terminal() -> bool:
    """Whether stdout and stderr are one screen, as far as can be told."""
    return sys.stdout.isatty() and sys.stderr.isatty()


def marker(text: str) -> None:
    """Say on stderr, between lines of containers, what happened: `--- TEXT ---`, dim on a terminal."""
    dim = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    words = f"--- {one_line(text)} ---"
    print(f"\x1b[2m{words}\x1b[0m" if dim else words, file=sys.stderr, flush=True)


def write_bytes(data: bytes, *, to_stderr: bool) -> None:
    """Write what a container logged, unchanged."""
    stream = sys.stderr if to_stderr else sys.stdout
    stream.buffer.write(data)
    stream.buffer.flush()


class Progress(AbstractContextManager["Progress"]):
    """How far a transfer has come: one line on stderr that is written over, and gone at the end."""

    EVERY = 0.1  # seconds between two looks of it

    def __init__(self, label: str, total: int, *, shown: bool) -> None:
        """`total` is in bytes, 0 while it is not known; without `shown` nothing is ever printed."""
        self.total = total
        self._label, self._shown = one_line(label), shown
        self._done = 0
        self._began = self._printed = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the line away."""
        if self._shown:
            self._shown = False  # the thread that sends may have one more to add
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def add(self, count: int) -> None:
        """`count` more bytes have come."""
        self._done += count
        now = time.monotonic()
        if self._shown and now - self._printed >= self.EVERY:
            self._printed = now
            print(f"\r\x1b[K{self._text(now - self._began)}", end="", file=sys.stderr, flush=True)

    def _text(self, seconds: float) -> str:
        speed = f"{size_text(int(self._done / seconds))}/s"
        if not self.total:
            return f"{self._label}  {size_text(self._done)}  {speed}"
        part = min(1.0, self._done / self.total)
        bar = "#" * round(20 * part)
        return f"{self._label}  [{bar:<20}] {part:4.0%}  {size_text(self._done)} of {size_text(self.total)}  {speed}"


def progress(label: str, total: int) -> Progress:
    """A progress line for a transfer of `total` bytes (0: not known), on a terminal only."""
    return Progress(label, total, shown=sys.stderr.isatty() and os.environ.get("TERM") != "dumb")


def size_text(count: int) -> str:
    """A number of bytes as people read it: `512 B`, `1.5 MB` (powers of 1000, as disks have it)."""
    if count < 1000:
        return f"{count} B"
    value, units = float(count), iter(("kB", "MB", "GB", "TB"))
    unit = "B"
    while value >= 999.95 and (larger := next(units, "")):
        value, unit = value / 1000, larger
    return f"{value:.1f} {unit}"


class LiveLines(AbstractContextManager["LiveLines"]):
    """What goes on in several places at once, on stderr: a line for each that is written over, or plain lines."""

    def __init__(self, *, live: bool) -> None:
        """`live` needs a terminal that knows how to move the cursor."""
        self._live = live
        self._texts: dict[str, str] = {}
        self._shown = 0  # lines that are on the screen

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the screen to what comes next: the lines have done their part."""
        self._clear()
        self._texts = {}

    def show(self, name: str, text: str, *, last: bool = False) -> None:
        """Say how far `name` is; `last` for its end, which plain lines leave to what is printed then."""
        if self._texts.get(name) == text:
            return
        self._texts[name] = text
        if self._live:
            self._draw()
        elif not last:
            note(f"{name}: {text}")

    def _draw(self) -> None:
        size = os.get_terminal_size(2)
        columns, rows = size.columns or 80, size.lines or 24  # a serial line does not know its size
        width = max(map(len, self._texts), default=0)
        lines = [one_line(f"{name:<{width}}  {text}")[: columns - 1] for name, text in self._texts.items()]
        self._clear()
        shown = lines[: max(1, rows - 1)]  # what has left the screen cannot be written over
        self._shown = len(shown)
        print("\n".join(shown), file=sys.stderr, flush=True)

    def _clear(self) -> None:
        if self._shown:
            print(f"\x1b[{self._shown}A\x1b[J", end="", file=sys.stderr, flush=True)
            self._shown = 0


def live_lines() -> LiveLines:
    """Lines of progress as stderr can show them."""
    return LiveLines(live=sys.stderr.isatty() and os.environ.get("TERM") != "dumb")
