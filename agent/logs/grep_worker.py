"""The program of the process that looks for --grep and --exclude in lines; it imports nothing of ours.

It is a process of its own: an expression that takes for ever then blocks this process, which can be killed, and not
the agent. Over stdin and stdout go frames, each a length (4 bytes, big-endian) and that many bytes:

- first, to it: JSON of the patterns; from it: an empty frame, or what is wrong with them;
- then, to it: FLAGS, the number of runs, the runs, the lines; from it: the same of those wanted.

FLAGS are three bytes: `t` where lines begin with a time, and for stdout and stderr whether a line that has begun is
wanted (`k`), unwanted (`d`), or whether none has begun (`-`). A run is 4 bytes: its length times two, plus one for
stderr.
"""

import json
import re
import resource
import struct
import sys
import warnings
from collections.abc import Callable
from typing import IO

TIME_WIDTH = 31  # as in model.py
MEMORY = 1 << 30  # bytes of address space: an expression can ask for any amount

Wanted = Callable[[bytes], bool]


def serve(given: IO[bytes], taken: IO[bytes]) -> None:
    """Answer until the pipe is closed."""
    asked = json.loads(receive(given))
    try:
        wanted = matcher(asked["grep"], asked["exclude"], asked["ignore_case"])
    except ValueError as error:
        send(taken, str(error).encode(errors="replace"))
        return
    send(taken, b"")
    while frame := receive(given):
        send(taken, answer(wanted, frame))


def receive(given: IO[bytes]) -> bytes:
    """The next frame; nothing at the end."""
    head = given.read(4)
    return given.read(int.from_bytes(head, "big")) if len(head) == 4 else b""


def send(taken: IO[bytes], frame: bytes) -> None:
    """Write a frame."""
    taken.write(len(frame).to_bytes(4, "big") + frame)
    taken.flush()


def matcher(grep: list[str], exclude: list[str], ignore_case: bool) -> Wanted:
    """Whether a line is wanted: one of `grep` is found in it, if any are given, and none of `exclude`.

    Raises ValueError that says which expression is wrong, and how.
    """
    searches = [_search("grep", text, ignore_case) for text in grep]
    refusals = [_search("exclude", text, ignore_case) for text in exclude]
    if not refusals and len(searches) == 1:
        return searches[0]
    if not refusals:
        return lambda line: any(search(line) for search in searches)
    if not searches:
        return lambda line: not any(search(line) for search in refusals)
    return lambda line: any(search(line) for search in searches) and not any(search(line) for search in refusals)


def _search(option: str, text: str, ignore_case: bool) -> Wanted:
    try:
        return re.compile(text.encode(), re.IGNORECASE if ignore_case else 0).search  # type: ignore[return-value]
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{option}: {text}: {error}") from None


def answer(wanted: Wanted, frame: bytes) -> bytes:
    """The frame of the lines that are wanted."""
    skip = TIME_WIDTH if frame[:1] == b"t" else 0
    begun = [frame[1:2], frame[2:3]]
    count = int.from_bytes(frame[3:7], "big")
    place = 7 + 4 * count
    kept, runs = [], []
    for run in struct.unpack(f">{count}I", frame[7:place]):
        length, stream = run >> 1, run & 1
        data, begun[stream] = select(wanted, frame[place : place + length], skip, begun[stream])
        place += length
        if data:
            kept.append(data)
            runs.append(len(data) << 1 | stream)
    return b"".join([frame[:1], *begun, struct.pack(f">I{len(runs)}I", len(runs), *runs), *kept])


def select(wanted: Wanted, data: bytes, skip: int, begun: bytes) -> tuple[bytes, bytes]:
    """The lines of one run that are wanted, and what is to become of the rest of its last line, if it has not ended."""
    lines = data.split(b"\n")
    rest = lines.pop()
    first = []
    if begun != b"-":  # the parts of a line go the way of the first one
        if not lines:
            return (data if begun == b"k" else b""), begun
        if begun == b"k":
            first = lines[:1]
        del lines[:1]
    found = first + _wanted(wanted, lines, skip)
    text = b"\n".join([*found, b""])
    if not rest:
        return text, b"-"
    return (text + rest, b"k") if wanted(rest[skip:]) else (text, b"d")


def _wanted(wanted: Wanted, lines: list[bytes], skip: int) -> list[bytes]:
    if skip:
        return [line for line in lines if wanted(line[skip:])]
    return [line for line in lines if wanted(line)]


def main() -> None:
    """Serve on standard input and output, with bounded memory."""
    warnings.simplefilter("ignore")  # of expressions that may mean something else one day
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    serve(sys.stdin.buffer, sys.stdout.buffer)
