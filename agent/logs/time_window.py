"""Resolve the times of a request for logs to a Window, by the agent's clock, the node's boot and past deploys."""

import asyncio
from pathlib import Path

from agent.logs.model import Window
from agent.store.registry import AsyncRegistry
from mcp.shared import times
from mcp.shared.errors import InvalidInput, NotFound, Unavailable, shown
from mcp.shared.states import DeployResult
from mcp.shared.times import SECOND, WORDS

PROC_STAT = Path("/proc/stat")


async def resolve(registry: AsyncRegistry, service: str, *, since: str, until: str, tail: int, now: int) -> Window:
    """Return the window for one service; `since`, `until` and `tail` are as in LogsRequest, `now` in nanoseconds.

    Raises:
        InvalidInput: A time is malformed, or the window ends before it begins.
        NotFound: The time is `deploy`, and there was no successful one.
    """
    bounds = [await _bound(registry, service, field, text, now) for field, text in (("since", since), ("until", until))]
    begin, end = bounds
    if begin is not None and end is not None and end <= begin:
        raise InvalidInput(f"until: {shown(until)} is not after since, {shown(since)}")
    return Window(begin, end, max(0, tail) if tail else None)


def check(field: str, text: str) -> None:
    """Raise InvalidInput for a malformed time."""
    if text and text not in WORDS:
        _moment(field, text, 0)


async def _bound(registry: AsyncRegistry, service: str, field: str, text: str, now: int) -> int | None:
    if not text:
        return None
    if text == "boot":
        return await asyncio.to_thread(boot_time)
    if text == "deploy":
        return await _last_deploy(registry, service, field)
    return _moment(field, text, now)


def _moment(field: str, text: str, now: int) -> int:
    try:
        return times.moment(text, now, words=WORDS)
    except ValueError as error:
        raise InvalidInput(f"{field}: {shown(text)}: {error}") from None


async def _last_deploy(registry: AsyncRegistry, service: str, field: str) -> int:
    """Return the start time of the service's last successful deploy."""
    rows = await registry.call(registry.deploys.select, service, 1, DeployResult.DONE)
    if not rows:
        raise NotFound(
            f"{field}: deploy: there was no successful deploy of {service} by this agent",
            "give a time instead, as in 2h",
        )
    return times.nanoseconds(rows[0].at)


def boot_time(stat: Path = PROC_STAT) -> int:
    """Return the kernel's start time in nanoseconds, to the second (`btime`, see proc(5)); raises Unavailable."""
    for line in stat.read_bytes().splitlines():
        key, _, value = line.partition(b" ")
        if key == b"btime":
            return int(value) * SECOND
    raise Unavailable(f"{stat} has no boot time")
