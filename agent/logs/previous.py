"""Save the log tail of a failed or replaced container before podman removes it, and read it again.

Saving is best effort: it never makes an operation fail, and takes SECONDS at most.
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
LINES = 1000  # read if the log is not a file
SECONDS = 5.0
_TIMED = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ")  # see model.TIME_WIDTH


async def capture(
    podman: Podman, registry: AsyncRegistry, service: str, component: str, identifier: str, reason: PreviousReason
) -> None:
    """Save the tail of a container's log in the registry.

    The container must be stopped, so that its log is complete. Failures are logged, not raised.
    """
    try:
        async with asyncio.timeout(SECONDS):
            container = await podman.details(identifier)
            data, place = await _log_tail(podman, source_of(container))
            previous = PreviousLog(
                *(service, component, identifier, container.name.removesuffix(ASIDE_SUFFIX), container.deploy),
                version=container.version,
                driver=container.log_driver,
                ended_at=datetime.fromtimestamp(container.ended, UTC) if container.ended else None,
                exit_code=container.exit_code,
                reason=reason,
                data=data,
                place=place,
            )
            await registry.call(registry.previous_logs.put, previous)
    except TimeoutError:
        logger.warning("cannot save a log tail", extra=fields(container=identifier[:12], error="timeout"))
    except (McpError, OSError) as error:
        logger.warning("cannot save a log tail", extra=fields(container=identifier[:12], error=error))


async def _log_tail(podman: Podman, source: LogSource) -> tuple[bytes, str]:
    if source.has_file:
        return await tail_raw(source, LIMIT)
    return as_records(await read_tail(podman, source, LINES, timed=True)), str(Mark(0, 0, 0))


def as_records(lines: Sequence[TailLine]) -> bytes:
    """Return the last LIMIT bytes of timed lines as records of a k8s-file."""
    records: list[bytes] = []
    size = 0
    for record in reversed(list(_records(lines))):
        size += len(record)
        if size > LIMIT:
            if not records:  # a last line longer than LIMIT, as of a stack trace on one line
                records.append(record[:HEADER] + record[HEADER - LIMIT :])
            break
        records.append(record)
    return b"".join(reversed(records))


def _records(lines: Iterable[TailLine]) -> Iterator[bytes]:
    """Yield a record for each line; a line without a time gets that of the line before."""
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


def previous_source(previous: PreviousLog, service: str, component: str) -> LogSource:
    """Return the source of a saved log, for PreviousLogReader."""
    return LogSource(service, component, previous.container, previous.identifier, previous.driver)


def remaining_log(previous: PreviousLog) -> "PreviousLogReader | LogSource | None":
    """Return a reader or source that accepts positions in the log of a removed container, or None.

    The journal still has the whole log, and its positions are not valid in the saved tail; nor are those of
    `podman logs`.
    """
    if previous.driver == "journald":
        return previous_source(previous, previous.service, previous.component)
    return PreviousLogReader(previous) if previous.driver in FILE_DRIVERS else None


class PreviousLogReader:
    """A model.LogReader of one saved log tail."""

    def __init__(self, previous: PreviousLog) -> None:
        """Read `previous`, whatever the source."""
        self._previous = previous

    async def read(self, _source: LogSource, reading: Reading) -> AsyncGenerator[Batch]:
        """See model.LogReader; ignores `reading.follow`, as the log is complete."""
        async with aclosing(read_raw(self._previous.data, self._previous.place, reading)) as batches:
            async for batch in batches:
                yield batch
