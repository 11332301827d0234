"""Read the tail of a container's log, with the lines of both streams in the order of writing."""

import asyncio
import re
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass

from agent.logs.inotify import Inotify
from agent.logs.model import Batch, LogSource, Reading, Window
from agent.logs.readers import Readers
from agent.logs.sources import source_of
from agent.podman.client import Podman
from mcp.shared.errors import Unavailable
from mcp.shared.times import in_seconds

_LINE = re.compile(rb"[^\n]*\n|[^\n]+")


@dataclass(frozen=True)
class TailLine:
    """A log line without its newline."""

    text: bytes
    is_stderr: bool


async def last_lines(podman: Podman, container: str, count: int) -> list[TailLine]:
    """Return the last lines of a container's log; none if its log driver is `none`.

    Raises McpError if there is no such container, or its log cannot be read within podman's timeout.
    """
    try:
        async with asyncio.timeout(podman.timeout):
            return await read_tail(podman, source_of(await podman.details(container)), count)
    except TimeoutError:
        raise Unavailable(f"the log of {container} cannot be read within {in_seconds(podman.timeout)} s") from None


async def read_tail(podman: Podman, source: LogSource, count: int, *, timed: bool = False) -> list[TailLine]:
    """Return the last lines of a source, prefixed with their times if `timed` (see model.TIME_WIDTH).

    Raises McpError if the log cannot be read.
    """
    if source.driver == "none":
        return []
    reader = Readers(podman, Inotify()).pick(source)
    async with aclosing(reader.read(source, Reading(Window(tail=count), timed))) as batches:
        return lines_of([batch async for batch in batches])


def lines_of(batches: Iterable[Batch]) -> list[TailLine]:
    """Split batches into lines; a line in parts is at the position of its first part."""
    texts: list[bytes] = []
    streams: list[bool] = []
    last: dict[bool, int] = {}  # the index of each stream's last line
    for batch in batches:
        start = 0
        for length, is_stderr in batch.runs:
            for part in _LINE.findall(batch.data[start : start + length]):
                if is_stderr in last and not texts[last[is_stderr]].endswith(b"\n"):
                    texts[last[is_stderr]] += part
                    continue
                last[is_stderr] = len(texts)
                texts.append(part)
                streams.append(is_stderr)
            start += length
    return [TailLine(text.removesuffix(b"\n"), stream) for text, stream in zip(texts, streams, strict=True)]
