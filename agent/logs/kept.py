"""The end of the log of a container that failed or was replaced, kept before podman removes it, and read again.

It is for people who look for what went wrong, so it never makes anything fail, and takes SECONDS at most.
"""

import asyncio
import heapq
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.inspected import parse_inspected
from agent.kept_log_table import KeptLog
from agent.log import fields, logger
from agent.logs.cri import HEADER
from agent.logs.k8s_file import read_raw, tail_raw
from agent.logs.model import FILE_DRIVERS, Batch, Reading, Source
from agent.logs.segments import Mark
from agent.logs.sources import source_of
from agent.podman import Container, Podman
from agent.podman_argv import logs_argv
from agent.registry import AsyncRegistry, Registry
from mcp.shared import proc
from mcp.shared.errors import McpError, Unavailable
from mcp.shared.image import image_version

LIMIT = 64 * 1024  # bytes of records
LINES = 1000  # that are asked for where podman reads them
SECONDS = 5.0
# As `podman logs --timestamps` writes them: RFC 3339 with up to nine digits; the zeros at their end are left out.
_STAMPED = re.compile(rb"([0-9-]{10}T[0-9:]{8})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2}) (.*)", re.DOTALL)


@dataclass(frozen=True)
class _Ended:
    """What `podman inspect` says of a container."""

    source: Source
    exit_code: int
    at: datetime | None


async def capture(
    podman: Podman, registry: AsyncRegistry, service: str, component: str, container: Container, reason: str
) -> None:
    """Keep the end of a container's log in the registry; `reason` is failed or replaced.

    The container is to be stopped before, so that its last lines are there. What fails is logged.
    """
    try:
        async with asyncio.timeout(SECONDS):
            ended = _parse(await podman.inspect(container.identifier))
            data, place = await _end_of_log(podman, ended.source)
            kept = KeptLog(
                *(service, component, container.identifier, container.name, container.deploy),
                version=image_version(container.image),
                driver=ended.source.driver,
                ended_at=ended.at,
                exit_code=ended.exit_code,
                reason=reason,
                data=data,
                place=place,
            )
            await registry.call(Registry.put_kept_log, kept)
    except TimeoutError:
        logger.warning(
            "the end of a log is not kept", extra=fields(container=container.name, error="it takes too long")
        )
    except (McpError, OSError) as error:
        logger.warning("the end of a log is not kept", extra=fields(container=container.name, error=error))


def _parse(output: bytes) -> _Ended:
    """Raises Unavailable where it is something else than a container."""
    rows = parse_inspected(output)
    try:
        state = rows[0]["State"]
        at = datetime.fromisoformat(str(state.get("FinishedAt") or "0001-01-01T00:00:00Z"))
        return _Ended(
            source=source_of(rows[0]),
            exit_code=int(state["ExitCode"]),
            at=at.astimezone(UTC) if at.year > 1 and at.tzinfo else None,  # the year 1: it has not ended
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise Unavailable("podman inspect answered with something that is not a container") from None


async def _end_of_log(podman: Podman, source: Source) -> tuple[bytes, str]:
    if source.has_file:
        return await tail_raw(source, LIMIT)
    nowhere = str(Mark(0, 0, 0))
    if source.driver == "none":
        return b"", nowhere
    argv = logs_argv(source.identifier, tail=LINES, follow=False, timestamps=True, since="")
    completed = await proc.run(podman.argv(argv), seconds=podman.timeout)
    if completed.returncode != 0:
        raise proc.CommandFailed(completed)
    return as_records(completed.stdout, completed.stderr), nowhere


def as_records(stdout: bytes, stderr: bytes) -> bytes:
    """The last LIMIT bytes of what `podman logs --timestamps` wrote, merged by time, as records of a k8s-file."""
    streams = (_records(stdout, b"stdout"), _records(stderr, b"stderr"))
    kept: list[bytes] = []
    size = 0
    for record in reversed(list(heapq.merge(*streams, key=lambda record: record[:29]))):
        size += len(record)
        if size > LIMIT:
            if not kept:  # a last line longer than all that is kept, as a trace on one line may be
                kept.append(record[:HEADER] + record[HEADER - LIMIT :])
            break
        kept.append(record)
    return b"".join(reversed(kept))


def _records(text: bytes, stream: bytes) -> Iterator[bytes]:
    stamp = b"1970-01-01T00:00:00.000000000+00:00"
    for line in text.removesuffix(b"\n").split(b"\n") if text else ():
        message = line
        if match := _STAMPED.fullmatch(line):
            zone = b"+00:00" if match[3] == b"Z" else match[3]
            stamp, message = match[1] + b"." + (match[2] or b"").ljust(9, b"0") + zone, match[4]
        yield stamp + b" " + stream + b" F " + message + b"\n"


def kept_source(kept: KeptLog, service: str, component: str) -> Source:
    """The container that the log was kept of, as a source for KeptReader."""
    return Source(service, component, kept.container, kept.identifier, kept.driver)


def what_is_left(kept: KeptLog) -> "KeptReader | Source | None":
    """What to read on from a place in the log of a container that is gone, by reader or source; None: nothing can be.

    The journal has it all still, and its places mean nothing in what was kept; nor do those of `podman logs`.
    """
    if kept.driver == "journald":
        return kept_source(kept, kept.service, kept.component)
    return KeptReader(kept) if kept.driver in FILE_DRIVERS else None


class KeptReader:
    """A model.Reader of what was kept of one container."""

    def __init__(self, kept: KeptLog) -> None:
        """Reads `kept`, whatever source is asked for."""
        self._kept = kept

    async def read(self, _source: Source, reading: Reading) -> AsyncGenerator[Batch]:
        """See model.Reader; `reading.follow` is not heeded, since nothing comes any more."""
        async with aclosing(read_raw(self._kept.data, self._kept.place, reading)) as batches:
            async for batch in batches:
                yield batch
