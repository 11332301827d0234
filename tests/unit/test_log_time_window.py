"""Since, until and tail of a request, resolved on the agent."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.logs.model import Window
from agent.logs.time_window import boot_time, resolve
from agent.store.registry import AsyncRegistry, Registry
from mcp.shared.errors import InvalidInput, NotFound, Unavailable
from mcp.shared.spec import ComponentSpec, ServiceSpec
from mcp.shared.states import DeployResult
from mcp.shared.times import SECOND, nanoseconds

NOW = nanoseconds(datetime(2026, 1, 31, 12, tzinfo=UTC))
SHOP = ServiceSpec("shop", True, (ComponentSpec("web", "localhost/web:1"),))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[AsyncRegistry]:
    """An empty registry."""
    registry = AsyncRegistry(Registry(tmp_path / "mcp.db"))
    yield registry
    registry.close()


def window(registry: AsyncRegistry, since: str = "", until: str = "", tail: int = 0) -> Window:
    return asyncio.run(resolve(registry, "shop", since=since, until=until, tail=tail, now=NOW))


@pytest.mark.parametrize(
    ("since", "until", "tail", "found"),
    [
        ("", "", 0, Window()),
        ("90s", "", 10, Window(NOW - 90 * SECOND, None, 10)),
        ("", "@1769860800.5", -1, Window(None, NOW + SECOND // 2, 0)),
        ("2h30m", "2026-01-31T13:00:00+01:00", 0, Window(NOW - 9000 * SECOND, NOW, None)),
    ],
)
def test_windows(registry: AsyncRegistry, since: str, until: str, tail: int, found: Window) -> None:
    assert window(registry, since, until, tail) == found


@pytest.mark.parametrize(
    ("since", "until", "error"),
    [
        ("yesterday", "", r'since: "yesterday": expected a duration .*, boot or deploy$'),
        ("", "2026-01-31", 'until: "2026-01-31": the time has no zone'),
        ("1h", "2h", 'until: "2h" is not after since, "1h"'),
        ("1h", "1h", 'until: "1h" is not after since, "1h"'),
    ],
)
def test_what_is_no_window(registry: AsyncRegistry, since: str, until: str, error: str) -> None:
    with pytest.raises(InvalidInput, match=error):
        window(registry, since, until)


def test_since_the_node_was_booted(registry: AsyncRegistry) -> None:
    since = window(registry, "boot").since
    assert since is not None
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert abs(time.time() - since / SECOND - uptime) < 10


def test_a_kernel_that_does_not_say_when_it_started(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu 1 2 3\n")
    with pytest.raises(Unavailable, match="has no boot time"):
        boot_time(tmp_path / "stat")


def test_since_the_last_deploy_that_succeeded(registry: AsyncRegistry) -> None:
    async def deploy(result: str) -> int:
        number = await registry.call(registry.deploys.begin, SHOP, "", "alice")
        await registry.call(registry.deploys.end, number, DeployResult(result), "", {})
        return number

    with pytest.raises(NotFound, match="no successful deploy of shop"):
        window(registry, "deploy")
    good, _ = asyncio.run(deploy("done")), asyncio.run(deploy("failed"))
    rows = asyncio.run(registry.call(registry.deploys.select, "shop"))
    assert window(registry, "deploy").since == next(nanoseconds(row.at) for row in rows if row.number == good)
