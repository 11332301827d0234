"""Save the end of the log of a container that failed or was replaced before podman removes it, and read it again.

It is a help for finding a cause, so it never makes anything fail, and takes SECONDS at most.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime

from agent.log import fields, logger
from agent.logs.k8s_file.reader import read_raw, tail_raw
from agent.logs.k8s_file.records import HEADER, NO_TIME, TIME
from agent.logs.k8s_file.segments import Mark
from agent.logs.model import FILE_DRIVERS, TIME_WIDTH, Batch, LogSource, Reading
from agent.logs.sources import source_of
from agent.logs.tail import TailLine, read_tail
from agent.podman.client import Podman
from agent.store.previous_logs import PreviousLog, PreviousReason
from agent.store.registry import AsyncRegistry
from mcp.shared.errors import McpError
from mcp.shared.names import ASIDE_SUFFIX
from mcp.shared.states import LogStream

LIMIT = 64 * 1024  # bytes of records
LINES = 1000  # read if the log is no file
SECONDS = 5.0
_TIMED = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ")  # see model.TIME_WIDTH


async def capture(
    podman: Podman, registry: AsyncRegistry, service: str, component: str, identifier: str, reason: PreviousReason
) -> None:
    """Save the end of a container's log in the registry.

    The container must be stopped before, so that its last lines are there. Failures are logged, and not raised.
    """
    try:
        async with asyncio.timeout(SECONDS):
            container = await podman.details(identifier)
            data, place = await _end_of_log(podman, source_of(container))
            kept = PreviousLog(
                *(service, component, identifier, container.name.removesuffix(ASIDE_SUFFIX), container.deploy),
                version=container.version,
                driver=container.log_driver,
                ended_at=datetime.fromtimestamp(container.ended, UTC) if container.ended else None,
                exit_code=container.exit_code,
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
        yield (
            time
            + b"+00:00 "
            + (LogStream.STDERR if line.is_stderr else LogStream.STDOUT).encode()
            + b" F "
            + message
            + b"\n"
        )


def kept_source(kept: PreviousLog, service: str, component: str) -> LogSource:
    """Return the source of a saved log, for PreviousLogReader."""
    return LogSource(service, component, kept.container, kept.identifier, kept.driver)


def what_is_left(kept: PreviousLog) -> "PreviousLogReader | LogSource | None":
    """Return a reader or source that continues at a position in the log of a removed container, or None.

    The journal still has all of it, and its positions mean nothing in the saved log; nor do those of `podman logs`.
    """
    if kept.driver == "journald":
        return kept_source(kept, kept.service, kept.component)
    return PreviousLogReader(kept) if kept.driver in FILE_DRIVERS else None


class PreviousLogReader:
    """A model.LogReader of one saved log."""

    def __init__(self, kept: PreviousLog) -> None:
        """Read `kept`, whatever the source."""
        self._kept = kept

    async def read(self, _source: LogSource, reading: Reading) -> AsyncGenerator[Batch]:
        """See model.LogReader; `reading.follow` is ignored, as nothing is added any more."""
        async with aclosing(read_raw(self._kept.data, self._kept.place, reading)) as batches:
            async for batch in batches:
                yield batch
