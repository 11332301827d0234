"""Find the container that a component's logs come from now."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.logs.model import LogSource
from agent.podman.client import Podman
from agent.podman.inspect import ContainerDetails
from agent.store.registry import ComponentRow


@dataclass(frozen=True)
class Seen:
    """A component's container as podman described it at one time."""

    source: LogSource
    details: ContainerDetails

    @property
    def run(self) -> tuple[str, float]:
        """An identifier that changes if the container or its main process is replaced."""
        return self.details.identifier, self.details.started


async def inspect_containers(podman: Podman, rows: Sequence[ComponentRow]) -> dict[tuple[str, str], Seen]:
    """Return the containers of components by (service, component). Raises McpError."""
    found = await podman.inspect(*(row.container for row in rows))
    return {
        (row.service, row.name): Seen(source_of(details, row.service, row.name), details)
        for row in rows
        if (details := found.get(row.container))
    }


def source_of(details: ContainerDetails, service: str = "", component: str = "") -> LogSource:
    """Return the log source of a container."""
    return LogSource(
        service, component, details.name, details.identifier, driver=details.log_driver, path=details.log_path
    )
