"""Register again what was deployed after a copy of the registry was made, once that copy has been put back.

An upgrade that fails puts back the registry from before its schema was migrated, and so does a rollback. Containers
carry the number of their deploy: one that the registry does not have, or has from another deploy, is adopted. Desired
states do not change, so what was undeployed or stopped since is started again.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat

from agent.log import fields, logger
from agent.monitor.boots import present_boot
from agent.podman.client import Podman
from agent.podman.output import Container
from agent.services.adopt import Adopted, judge
from agent.services.operations import Operations
from agent.services.plan import NodeState, needs_start
from agent.services.recover import BOOT_RETRIES, BOOT_USER
from agent.store.registry import AsyncRegistry, ComponentRow
from mcp.shared.errors import McpError
from mcp.shared.names import LABEL_COMPONENT, LABEL_SERVICE, aside_name, container_name
from mcp.shared.states import DesiredState

Place = tuple[str, str]  # service, component


@dataclass(frozen=True)
class Differences:
    """Containers of other deploys than the registry's, by component, and components that have to be brought up."""

    deployed: dict[Place, Container]
    missing: list[ComponentRow]  # without a container
    down: list[ComponentRow]


class RestoredRegistry:
    """Completes a registry that was put back."""

    def __init__(self, podman: Podman, registry: AsyncRegistry, operations: Operations) -> None:
        """Hold each service through `operations` while changing it."""
        self._podman = podman
        self._registry = registry
        self._operations = operations

    async def complete(self) -> None:
        """Register what was deployed since the copy, retrying until podman answers; does nothing without a copy."""
        last = await self._registry.call(self._registry.restores.last)
        if last is None or last.notes is not None:
            return
        notes = [f"the registry is that of {last.copied:%Y-%m-%d %H:%M} UTC, put back for this agent"]
        for delay in chain(BOOT_RETRIES, repeat(BOOT_RETRIES[-1])):
            try:
                notes += await self._adopt()
                break
            except McpError as error:
                logger.warning("cannot complete the registry", extra=fields(error=error, retry_seconds=delay))
                await asyncio.sleep(delay)
        for note in notes:
            logger.warning("registry put back", extra=fields(note=note))
        await self._registry.call(self._registry.restores.end, notes)

    async def notes(self) -> tuple[str, ...]:
        """Return what was done after the last copy was put back; empty while that is in progress."""
        last = await self._registry.call(self._registry.restores.last)
        return last.notes or () if last is not None else ()

    async def _adopt(self) -> list[str]:
        rows, containers, boot = await asyncio.gather(
            self._registry.call(self._registry.components.select),
            self._podman.containers(),
            present_boot(self._registry),
        )
        found = differences(NodeState(rows, containers, {}, boot))
        objects = await self._podman.inspect_objects(*(container.name for container in found.deployed.values()))
        by_name = {item.details.name: item for item in objects}
        notes = []
        for place, container in found.deployed.items():
            if container.name in by_name:  # else it has just been removed
                notes.append(await self._register(judge(by_name[container.name], *place), rows))
        notes += [
            f"{row.service}/{row.name} has no container and is created again; undeploy it if it was undeployed since"
            for row in found.missing
        ]
        return notes + [
            f"{row.service}/{row.name} does not run and is started again; stop it if it was stopped since"
            for row in found.down
        ]

    async def _register(self, adopted: Adopted, rows: Sequence[ComponentRow]) -> str:
        name = f"{adopted.service}/{adopted.component}"
        try:
            if not adopted.error:
                await self._operations.run(
                    adopted.service, BOOT_USER, "adopt", lambda: self._put(adopted, rows), awaited=True
                )
                return f"{name} was deployed since and is adopted again"
            reason = adopted.error
        except McpError as error:
            reason = str(error)
        return f"{name} was deployed since and cannot be adopted: {reason}; deploy it again"

    async def _put(self, adopted: Adopted, rows: Sequence[ComponentRow]) -> None:
        assert adopted.spec is not None, "an adoptable container has a specification"
        mine = [row for row in rows if row.service == adopted.service]
        position = next((number for number, row in enumerate(mine) if row.name == adopted.component), len(mine))
        known = next((row for row in mine if row.name == adopted.component), None)
        # one that is down may be so because of a reboot
        state = DesiredState.RUNNING if adopted.running or known is None else known.desired_state
        await self._registry.call(self._registry.deploys.begin_after, adopted.deploy)
        await self._registry.call(
            self._registry.components.put,
            *(adopted.service, position, adopted.spec, state, adopted.digest, adopted.deploy),
        )


def differences(state: NodeState) -> Differences:
    """Compare the registry with the containers that MCP created."""
    rows, containers = state.rows, state.containers
    by_place = {(row.service, row.name): row for row in rows}
    by_name = {container.name: container for container in containers}
    deployed = {
        place: container
        for container in containers
        if (place := _place(container)) and (place not in by_place or by_place[place].deploy != container.deploy)
    }
    found = [(row, by_name.get(row.container) or by_name.get(aside_name(row.container))) for row in rows]
    to_start = [(row, container) for row, container in found if needs_start(row, container, state, automatic=True)]
    return Differences(
        deployed,
        [row for row, container in to_start if container is None],
        [row for row, container in to_start if container is not None],
    )


def _place(container: Container) -> Place | None:
    """Return the component that a container was created for; None for one that is not MCP's, or set aside."""
    place = container.labels.get(LABEL_SERVICE, ""), container.labels.get(LABEL_COMPONENT, "")
    return place if all(place) and container_name(*place) == container.name else None
