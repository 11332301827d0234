"""Find the containers of components, as sources of logs."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.logs.model import LogSource
from agent.podman.client import Podman
from agent.podman.inspect import ContainerDetails
from agent.store.components import Deployed


@dataclass(frozen=True)
class ContainerSnapshot:
    """A component's container as podman described it at one time."""

    source: LogSource
    details: ContainerDetails

    @property
    def run(self) -> tuple[str, float]:
        """Identifier of its present run, which changes with the container and with its main process."""
        return self.details.identifier, self.details.started


async def inspect_containers(podman: Podman, rows: Sequence[Deployed]) -> dict[tuple[str, str], ContainerSnapshot]:
    """Return the existing containers of components, by (service, component). Raises McpError."""
    containers = await podman.inspect(*(row.container for row in rows))
    return {
        (row.service, row.name): ContainerSnapshot(source_of(details, row.service, row.name), details)
        for row in rows
        if (details := containers.get(row.container))
    }


def source_of(details: ContainerDetails, service: str = "", component: str = "") -> LogSource:
    """Return the log source of a container."""
    return LogSource(
        service, component, details.name, details.identifier, driver=details.log_driver, path=details.log_path
    )
