"""The only file that prints: tables, JSON, results, errors."""

import json
import os
import sys
from collections.abc import Iterable, Sequence

from mcp.shared.errors import one_line


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns; an empty value shows as -. Control characters are escaped."""
    cells = [list(headers), *([one_line(value) or "-" for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    for row in cells:
        print("  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip())


def print_json(value: object) -> None:
    """Print JSON for programs."""
    print(json.dumps(value, indent=2))


def line(text: str) -> None:
    """Print one line of a result."""
    print(one_line(text), flush=True)


def note(text: str) -> None:
    """Say what is going on, on stderr, so that stdout stays clean."""
    print(one_line(text), file=sys.stderr, flush=True)


def error(text: str) -> None:
    """Print an error, one line for each of its lines, as `mcp: WHAT`."""
    for part in text.splitlines() or [""]:
        print(f"mcp: {one_line(part)}", file=sys.stderr)


def wants_colour() -> bool:
    """Whether stdout is a terminal that should get colour (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def write_bytes(data: bytes, *, to_stderr: bool) -> None:
    """Write what a container logged, unchanged."""
    stream = sys.stderr if to_stderr else sys.stdout
    stream.buffer.write(data)
    stream.buffer.flush()


def give_up_stdout() -> None:
    """After a broken pipe: let nothing else be written, so that Python's own end is silent."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
