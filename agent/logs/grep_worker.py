"""The process that searches lines for --grep and --exclude; it imports no other module of ours.

It is a process of its own because a catastrophic expression then blocks this process, which can be killed, and not the
agent. Stdin and stdout carry frames, each a length (4 bytes, big-endian) and that many bytes:

- two per request: the patterns as JSON; then FLAGS, the number of runs, the runs and the lines, or nothing;
- one per answer: the same of the matching lines; for patterns that are malformed, `!` and the error message.

One process serves one request after the other, each of any filter.

FLAGS are three bytes: `t` if lines begin with a time, then for stdout and stderr the state of an unfinished line: `k`
kept, `d` dropped, `-` none. A run is 4 bytes: its length times two, plus one for stderr.
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
ERROR = b"!"
MEMORY = 1 << 30  # bytes of address space: an expression can use any amount

Matches = Callable[[bytes], bool]


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until the pipe is closed."""
    while patterns := receive(requests):
        frame = receive(requests)
        try:
            matches = matcher(**json.loads(patterns))  # re keeps what it has compiled
        except ValueError as error:
            send(answers, ERROR + str(error).encode(errors="replace"))
        else:
            send(answers, answer(matches, frame) if frame else b"")


def receive(requests: IO[bytes]) -> bytes:
    """Read a frame; return an empty one at the end."""
    head = requests.read(4)
    return requests.read(int.from_bytes(head, "big")) if len(head) == 4 else b""


def send(answers: IO[bytes], frame: bytes) -> None:
    """Write a frame."""
    answers.write(len(frame).to_bytes(4, "big") + frame)
    answers.flush()


def matcher(grep: list[str], exclude: list[str], ignore_case: bool) -> Matches:
    """Return a predicate of lines: any of `grep`, if given, is found, and none of `exclude`.

    Raises ValueError that names the malformed expression and its error.
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


def _search(option: str, text: str, ignore_case: bool) -> Matches:
    try:
        return re.compile(text.encode(), re.IGNORECASE if ignore_case else 0).search  # type: ignore[return-value]
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{option}: {text}: {error}") from None


def answer(matches: Matches, frame: bytes) -> bytes:
    """Return the frame of the matching lines."""
    skip = TIME_WIDTH if frame[:1] == b"t" else 0
    open_lines = [frame[1:2], frame[2:3]]
    count = int.from_bytes(frame[3:7], "big")
    offset = 7 + 4 * count
    selected, runs = [], []
    for run in struct.unpack(f">{count}I", frame[7:offset]):
        length, stream = run >> 1, run & 1
        data, open_lines[stream] = select(matches, frame[offset : offset + length], skip, open_lines[stream])
        offset += length
        if data:
            selected.append(data)
            runs.append(len(data) << 1 | stream)
    return b"".join([frame[:1], *open_lines, struct.pack(f">I{len(runs)}I", len(runs), *runs), *selected])


def select(matches: Matches, data: bytes, skip: int, open_line: bytes) -> tuple[bytes, bytes]:
    """Return the matching lines of one run, and the state of its unfinished last line (see FLAGS)."""
    lines = data.split(b"\n")
    rest = lines.pop()
    first = []
    if open_line != b"-":  # the first part of a line decides for all its parts
        if not lines:
            return (data if open_line == b"k" else b""), open_line
        if open_line == b"k":
            first = lines[:1]
        del lines[:1]
    text = b"\n".join([*first, *_matching(matches, lines, skip), b""])
    if not rest:
        return text, b"-"
    return (text + rest, b"k") if matches(rest[skip:]) else (text, b"d")


def _matching(matches: Matches, lines: list[bytes], skip: int) -> list[bytes]:
    if skip:
        return [line for line in lines if matches(line[skip:])]
    return [line for line in lines if matches(line)]


def main() -> None:
    """Serve on standard input and output, with bounded memory."""
    warnings.simplefilter("ignore")  # about expressions whose meaning may change in later Python versions
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    serve(sys.stdin.buffer, sys.stdout.buffer)
