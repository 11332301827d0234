"""All output: tables, JSON, results, errors, progress."""

import os
import sys
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from types import TracebackType
from typing import TextIO

from mcp.shared.errors import one_line
from mcp.terminal.layout import GAP, cut, display_width, fit, pad

WORTH_SAYING = 1.0  # seconds until it is said what a command waits for


class Table:
    """Aligned columns, empty values as -, control characters escaped; on a terminal cut to its width."""

    def __init__(self, headers: Sequence[str]) -> None:
        """Take the headers, which the first rows are printed with."""
        self._headers = list(headers)
        self._widths = [0] * len(self._headers)
        self._is_begun = False

    def add(self, rows: Iterable[Sequence[str]], marked: Collection[int] = ()) -> None:
        """Print rows, those numbered in `marked` in red; they are aligned with earlier ones, unless they are wider."""
        cells = [[one_line(value) or "-" for value in row] for row in rows]
        headers = [] if self._is_begun else [self._headers]
        self._is_begun = True
        for row in [*headers, *cells]:
            self._widths = [max(display_width(cell), width) for cell, width in zip(row, self._widths, strict=True)]
        widths = fit(self._widths, self._headers, _columns(1)) if sys.stdout.isatty() else self._widths
        for number, row in enumerate([*headers, *cells], -len(headers)):
            fitted = [pad(cut(cell, width), width) for cell, width in zip(row, widths, strict=True)]
            text = (" " * GAP).join(fitted).rstrip()
            print(_red(text) if number in marked else text)
        sys.stdout.flush()


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], marked: Collection[int] = ()) -> None:
    """Print a whole table."""
    Table(headers).add(rows, marked)


def _columns(descriptor: int) -> int:
    """Return the width of a terminal in cells."""
    return os.get_terminal_size(descriptor).columns or 80  # a serial line reports no size


def print_json(value: object) -> None:
    """Print indented JSON."""
    import json  # slow to import

    print(json.dumps(value, indent=2))


def line(text: str, *, marked: bool = False) -> None:
    """Print one line of a result, in red if it is `marked`."""
    print(_red(one_line(text)) if marked else one_line(text), flush=True)


def _red(text: str) -> str:
    return f"\x1b[31m{text}\x1b[0m" if _has_colours(sys.stdout) else text


def _has_colours(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def note(text: str) -> None:
    """Print an informational line on stderr."""
    _stdout_first()
    print(one_line(text), file=sys.stderr, flush=True)


def candidate(value: str, explanation: str) -> None:
    """Print a completion candidate: VALUE<TAB>EXPLANATION."""
    print(f"{one_line(value)}\t{one_line(explanation)}" if explanation else one_line(value))


def text(block: str) -> None:
    """Print a text of several lines unchanged."""
    print(block, end="", flush=True)


def ask(question: str) -> bool:
    """Ask a yes/no question on the terminal; Enter means yes, end of input or Ctrl-C no."""
    try:
        print(f"{question} [Y/n] ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return False
    return answer.strip().lower() in ("y", "yes", "") and answer != ""


def is_interactive() -> bool:
    """Return True if stdin and stderr are terminals."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def error(text: str) -> None:
    """Print each line of an error as `mcp: WHAT` on stderr."""
    _stdout_first()
    for part in text.splitlines() or [""]:
        print(f"mcp: {one_line(part)}", file=sys.stderr)


def _stdout_first() -> None:
    """Flush stdout, so that stdout and stderr keep their order in a common file or pipe."""
    with suppress(OSError):  # a broken pipe is reported at the end of the program
        sys.stdout.flush()


def wants_colour() -> bool:
    """Return True if stdout is a terminal and NO_COLOR is unset (https://no-color.org)."""
    return _has_colours(sys.stdout)


def is_one_terminal() -> bool:
    """Return True if stdout and stderr appear to be the same terminal."""
    return sys.stdout.isatty() and sys.stderr.isatty()


def marker(text: str) -> None:
    """Print `--- TEXT ---` on stderr between log lines, dim on a terminal."""
    words = f"--- {one_line(text)} ---"
    print(f"\x1b[2m{words}\x1b[0m" if _has_colours(sys.stderr) else words, file=sys.stderr, flush=True)


def write_bytes(data: bytes, *, to_stderr: bool) -> None:
    """Write log output of a container unchanged."""
    stream = sys.stderr if to_stderr else sys.stdout
    stream.buffer.write(data)
    stream.buffer.flush()


class Progress(AbstractContextManager["Progress"]):
    """Progress of a transfer: one line on stderr that is overwritten, and erased at the end."""

    EVERY = 0.1  # seconds between updates

    def __init__(self, label: str, total: int, *, shown: bool) -> None:
        """Take the `total` in bytes, 0 if unknown; without `shown` nothing is printed."""
        self.total = total
        self._label, self._shown = one_line(label), shown
        self._done = 0
        self._began = self._printed = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Erase the line."""
        if self._shown:
            self._shown = False  # the sending thread may call `add` once more
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def add(self, count: int) -> None:
        """Count more transferred bytes."""
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
    """Return the progress line of a transfer of `total` bytes (0: unknown), shown on a terminal only."""
    return Progress(label, total, shown=_can_overwrite())


def size_text(count: int) -> str:
    """Format a number of bytes in powers of 1000: `512 B`, `1.5 MB`."""
    if count < 1000:
        return f"{count} B"
    value, units = float(count), iter(("kB", "MB", "GB", "TB"))
    unit = "B"
    while value >= 999.95 and (larger := next(units, "")):
        value, unit = value / 1000, larger
    return f"{value:.1f} {unit}"


class Waiting(AbstractContextManager["Waiting"]):
    """A line on stderr that says what is waited for: on a terminal only, overwritten, and erased at the end."""

    def __init__(self, *, shown: bool) -> None:
        """Print nothing without `shown`."""
        self._shown = shown
        self._is_printed = False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Erase the line."""
        self.clear()

    def show(self, text: str) -> None:
        """Print or replace the line."""
        if self._shown:
            self._is_printed = True
            print(f"\r\x1b[K{cut(one_line(text), _columns(2) - 1)}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Erase the line, so that output can be printed in its place."""
        if self._is_printed:
            self._is_printed = False
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def waiting() -> Waiting:
    """Return a line for what is waited for, shown on a terminal only."""
    return Waiting(shown=_can_overwrite())


@contextmanager
def waiting_soon(text: str) -> Iterator[None]:
    """Show what is waited for if the block takes longer than WORTH_SAYING seconds."""
    with waiting() as line:
        timer = threading.Timer(WORTH_SAYING, line.show, (text,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


class LiveLines(AbstractContextManager["LiveLines"]):
    """Concurrent progress on stderr: a line per name that is overwritten, or plain lines without a terminal."""

    def __init__(self, *, live: bool) -> None:
        """Take `live` for overwritten lines, which need a terminal that can move the cursor."""
        self._live = live
        self._texts: dict[str, str] = {}
        self._shown = 0  # lines on the screen

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Erase the lines."""
        self._clear()
        self._texts = {}

    def show(self, name: str, text: str, *, last: bool = False) -> None:
        """Update the line of `name`; `last` marks its end, which plain lines omit since the result follows."""
        if self._texts.get(name) == text:
            return
        self._texts[name] = text
        if self._live:
            self._draw()
        elif not last:
            note(f"{name}: {text}")

    def _draw(self) -> None:
        size = os.get_terminal_size(2)
        columns, rows = size.columns or 80, size.lines or 24  # a serial line reports no size
        width = max(map(display_width, self._texts), default=0)
        lines = [cut(one_line(f"{pad(name, width)}  {text}"), columns - 1) for name, text in self._texts.items()]
        self._clear()
        shown = lines[: max(1, rows - 1)]  # lines scrolled off the screen cannot be overwritten
        self._shown = len(shown)
        print("\n".join(shown), file=sys.stderr, flush=True)

    def _clear(self) -> None:
        if self._shown:
            print(f"\x1b[{self._shown}A\x1b[J", end="", file=sys.stderr, flush=True)
            self._shown = 0


def live_lines() -> LiveLines:
    """Return progress lines that suit stderr."""
    return LiveLines(live=_can_overwrite())


def _can_overwrite() -> bool:
    """Return True if stderr is a terminal that can move the cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
