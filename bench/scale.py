"""Measure queries over 200 services on one agent, compared with `podman ps` of the same containers.

Real containers, created but not started, which podman lists in the same way. Measures the agent's work for `ps` and
`status` without the connection, and a round of the monitor, in this process with a registry on disk; `ps` and a round
call podman once. Prints medians, without limits.
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.config import MonitorConfig
from agent.monitor.event_log import EventLog
from agent.monitor.healing import Repair
from agent.monitor.loop import Monitor
from agent.monitor.node import boot_time
from agent.monitor.state import Boot, observe
from agent.podman.client import Podman
from agent.podman.output import Container, parse_containers
from agent.rpc.status import Efforts, service_status, services_info
from agent.services.operations import Operations
from agent.store.registry import AsyncRegistry, Registered, Registry
from mcp.shared import proc
from mcp.shared.spec import ComponentSpec
from mcp.shared.states import DesiredState
from tools import images
from tools.hostlib import account, private
from tools.hostlib.private import Private

SIZES = (20, 100, 200)
RUNS = 9
LIST = ["ps", "--all", "--no-trunc", "--format=json"]  # the agent's command, unparsed


def main() -> None:
    """Measure at all sizes."""
    account.prepare()
    with private.create() as podman:
        images.build_all(podman)
        reference = images.image("worker").reference
        print(f"{os.cpu_count()} processors, {podman.run(['podman', '--version']).stdout.strip()}")
        made = 0
        with tempfile.TemporaryDirectory() as folder, wrapper(podman, Path(folder)) as command:
            registry = AsyncRegistry(Registry(Path(folder) / "mcp.db"))
            for size in SIZES:
                for number in range(made, size):
                    make(podman, reference, f"s{number}")
                    spec = ComponentSpec(f"s{number}", reference)
                    registry._registry.components.put(f"s{number}", 0, spec, DesiredState.STOPPED)
                made = size
                asyncio.run(measure(size, command, registry))
            registry.close()


@contextmanager
def wrapper(podman: Private, folder: Path) -> Iterator[str]:
    """Provide a `podman` command that runs the private one as its user."""
    path = folder / "podman"
    settings = " ".join(f"{name}='{value}'" for name, value in podman.env.items())
    path.write_text(f'#!/bin/sh\ncd /\nexec env -i {settings} {" ".join(podman.argv(["podman"]))} "$@"\n')
    path.chmod(0o755)
    yield str(path)


def make(podman: Private, reference: str, name: str) -> None:
    """Create a container with MCP's labels."""
    labels = [f"--label=mcp.service={name}", f"--label=mcp.component={name}"]
    podman.run(["podman", "create", f"--name={name}", "--network=none", *labels, reference])


async def measure(size: int, command: str, registry: AsyncRegistry) -> None:
    """Measure and print one size, in turns."""
    podman = Podman(command, 60)
    log = EventLog(registry)
    idle = Operations().services_since
    monitor = Monitor("bench", MonitorConfig(), podman, registry, idle, log, repair)
    alone = Monitor("bench", MonitorConfig(), Answered(await list_containers(podman)), registry, idle, log, repair)
    await monitor.round()  # the first round writes an event per service
    await alone.round()
    steps: dict[str, Callable[[], Awaitable[object]]] = {
        "podman ps": lambda: list_containers(podman),
        "mcp ps": lambda: live_check(podman, registry),
        "monitor's round": monitor.round,
        "monitor's round but for podman": alone.round,
        "mcp status": lambda: service_status(podman, registry, log, "", Efforts({}, {})),
    }
    rows = [{name: await seconds(step) for name, step in steps.items()} for _ in range(RUNS)]
    print(f"{size} services:")
    for name in steps:
        median = statistics.median(row[name] for row in rows) * 1000
        ratio = statistics.median(row[name] / row["podman ps"] for row in rows)
        print(f"  {name}: {median:.0f} ms, {median / size:.2f} a service, {ratio:.2f} times podman ps")


class Answered(Podman):
    """A podman with a given answer, which leaves our own work, including parsing."""

    def __init__(self, listed: bytes) -> None:
        """Answer with `listed`, the output of `podman ps`."""
        super().__init__("podman", 60)
        self._listed = listed

    async def containers(self) -> list[Container]:
        """Parse the given list."""
        return parse_containers(self._listed)


async def repair(_repair: Repair) -> bool:
    """Repair nothing: all are stopped."""
    return False


async def list_containers(podman: Podman) -> bytes:
    """Return the output of podman, unparsed."""
    return await proc.check(podman.argv(LIST), seconds=60)


async def live_check(podman: Podman, registry: AsyncRegistry) -> object:
    """Run the agent's part of `mcp ps`."""
    containers, rows = await asyncio.gather(podman.containers(), registry.call(registry.components.select))
    return services_info(observe(Registered(tuple(rows)), containers, Boot(boot_time())), {}, Efforts({}, {}))


async def seconds(step: Callable[[], Awaitable[object]]) -> float:
    """Return the duration of a step in seconds."""
    began = time.perf_counter()
    await step()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
