"""What only `podman inspect` tells of containers: one call for as many as are asked for."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from agent.podman.client import Podman
from mcp.shared.errors import Unavailable


@dataclass(frozen=True)
class ContainerDetails:
    """A container; `ports` as in 127.0.0.1:8443->8443/tcp, `health` empty where it has no health check."""

    restarts: int
    digest: str
    ports: tuple[str, ...]
    exit_code: int
    health: str


def parse_details(output: bytes) -> dict[str, ContainerDetails]:
    """The containers in the output of `podman inspect`, by name; raises Unavailable where it is something else."""
    try:
        return {str(row["Name"]): _details(row) for row in json.loads(output)}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise Unavailable("podman inspect answered with something that is not a list of containers") from None


def _details(row: dict[str, Any]) -> ContainerDetails:
    state = row["State"]
    health = state.get("Health") or state.get("Healthcheck") or {}  # podman before 4.0 has it under another name
    bindings = (row.get("NetworkSettings") or {}).get("Ports") or (row.get("HostConfig") or {}).get("PortBindings")
    return ContainerDetails(
        restarts=int(row.get("RestartCount") or 0),
        digest=str(row.get("ImageDigest") or ""),
        ports=tuple(_ports(bindings or {})),
        exit_code=int(state["ExitCode"]),
        health=str(health.get("Status") or ""),
    )


def _ports(bindings: dict[str, list[dict[str, str]] | None]) -> Iterable[str]:
    for inside, hosts in sorted(bindings.items()):
        for host in hosts or ():  # None: exposed by the image, and not published
            address = host.get("HostIp") or "0.0.0.0"  # noqa: S104 - what podman means by no address
            yield f"{address}:{host['HostPort']}->{inside}"


async def read_details(podman: Podman, names: Sequence[str]) -> dict[str, ContainerDetails]:
    """The containers with these names that there are; raises McpError where podman does not answer."""
    if not names:
        return {}
    return parse_details(await podman.inspect(*names))
