"""The end of the log of a container that failed or was replaced, kept before podman removes it, and read again.

It is for people who look for what went wrong, so it never makes anything fail, and takes SECONDS at most.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.log import fields, logger
from agent.logs.k8s_file.reader import read_raw, tail_raw
from agent.logs.k8s_file.records import HEADER, NO_TIME, TIME
from agent.logs.k8s_file.segments import Mark
from agent.logs.model import FILE_DRIVERS, TIME_WIDTH, Batch, LogSource, Reading
from agent.logs.sources import source_of
from agent.logs.tail import TailLine, read_tail
from agent.podman.client import Podman, deploy_number
from agent.podman.import_spec import parse_inspected
from agent.store.previous_logs import PreviousLog
from agent.store.registry import AsyncRegistry
from mcp.shared.errors import McpError, Unavailable
from mcp.shared.image import image_version
from mcp.shared.names import ASIDE_SUFFIX

LIMIT = 64 * 1024  # bytes of records
LINES = 1000  # that are read where the log is no file
SECONDS = 5.0
_TIMED = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ")  # see model.TIME_WIDTH


@dataclass(frozen=True)
class _Ended:
    """What `podman inspect` says of a container."""

    source: LogSource
    image: str
    deploy: int
    exit_code: int
    at: datetime | None


async def capture(
    podman: Podman, registry: AsyncRegistry, service: str, component: str, identifier: str, reason: str
) -> None:
    """Save the end of a container's log in the registry; `reason` is failed or replaced.

    The container is to be stopped before, so that its last lines are there. What fails is logged.
    """
    try:
        async with asyncio.timeout(SECONDS):
            ended = _parse(await podman.inspect(identifier))
            data, place = await _end_of_log(podman, ended.source)
            kept = PreviousLog(
                *(service, component, identifier, ended.source.container.removesuffix(ASIDE_SUFFIX), ended.deploy),
                version=image_version(ended.image),
                driver=ended.source.driver,
                ended_at=ended.at,
                exit_code=ended.exit_code,
                reason=reason,
                data=data,
                place=place,
            )
            await registry.call(registry.previous_logs.put, kept)
    except TimeoutError:
        logger.warning(
            "the end of a log is not kept", extra=fields(container=identifier[:12], error="it takes too long")
        )
    except (McpError, OSError) as error:
        logger.warning("the end of a log is not kept", extra=fields(container=identifier[:12], error=error))


def _parse(output: bytes) -> _Ended:
    """Raises Unavailable where it is something else than a container."""
    rows = parse_inspected(output)
    try:
        state = rows[0]["State"]
        at = datetime.fromisoformat(str(state.get("FinishedAt") or "0001-01-01T00:00:00Z"))
        return _Ended(
            source=source_of(rows[0]),
            image=str(rows[0].get("ImageName") or ""),
            deploy=deploy_number((rows[0].get("Config") or {}).get("Labels") or {}),
            exit_code=int(state["ExitCode"]),
            at=at.astimezone(UTC) if at.year > 1 and at.tzinfo else None,  # the year 1: it has not ended
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise Unavailable("podman inspect answered with something that is not a container") from None


async def _end_of_log(podman: Podman, source: LogSource) -> tuple[bytes, str]:
    if source.has_file:
        return await tail_raw(source, LIMIT)
    return as_records(await read_tail(podman, source, LINES, timed=True)), str(Mark(0, 0, 0))


def as_records(lines: Sequence[TailLine]) -> bytes:
    """Return the last LIMIT bytes of timed lines as records of a k8s-file."""
    kept: list[bytes] = []
    size = 0
    for record in reversed(list(_records(lines))):
        size += len(record)
        if size > LIMIT:
            if not kept:  # a last line longer than all that is kept, as a trace on one line may be
                kept.append(record[:HEADER] + record[HEADER - LIMIT :])
            break
        kept.append(record)
    return b"".join(reversed(kept))


def _records(lines: Iterable[TailLine]) -> Iterator[bytes]:
    """Yield a record for each line; one without a time has that of the line before."""
    time = NO_TIME
    for line in lines:
        message = line.text
        if _TIMED.match(message):
            time, message = message[:TIME], message[TIME_WIDTH:]
        yield time + b"+00:00 " + (b"stderr" if line.is_stderr else b"stdout") + b" F " + message + b"\n"


def kept_source(kept: PreviousLog, service: str, component: str) -> LogSource:
    """The container that the log was kept of, as a source for KeptReader."""
    return LogSource(service, component, kept.container, kept.identifier, kept.driver)


def what_is_left(kept: PreviousLog) -> "PreviousLogReader | LogSource | None":
    """What to read on from a place in the log of a container that is gone, by reader or source; None: nothing can be.

    The journal has it all still, and its places mean nothing in what was kept; nor do those of `podman logs`.
    """
    if kept.driver == "journald":
        return kept_source(kept, kept.service, kept.component)
    return PreviousLogReader(kept) if kept.driver in FILE_DRIVERS else None


class PreviousLogReader:
    """A model.Reader of what was kept of one container."""

    def __init__(self, kept: PreviousLog) -> None:
        """Reads `kept`, whatever source is asked for."""
        self._kept = kept

    async def read(self, _source: LogSource, reading: Reading) -> AsyncGenerator[Batch]:
        """See model.Reader; `reading.follow` is not heeded, since nothing comes any more."""
        async with aclosing(read_raw(self._kept.data, self._kept.place, reading)) as batches:
            async for batch in batches:
                yield batch
