"""Bringing up what should run: after a reboot, and after podman lost its containers. From the registry alone.

Containers are made and started here, and nothing else: no desired state is ever changed, so an empty `podman ps` never
comes to mean that services were undeployed. What runs is not touched.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from pathlib import Path

from agent.log import fields, logger
from agent.podman.client import Container, Podman
from agent.services.operations import Operations
from agent.services.rollout import ALWAYS_UP, new_container, resolve_replacement
from agent.store.registry import AsyncRegistry, ComponentRow
from mcp.shared.errors import McpError
from mcp.shared.names import aside_name

AT_ONCE = 4  # services that are brought up at the same time
BOOT_USER = "mcp-agent"
BOOT_RETRIES = (2.0, 10.0, 30.0)  # seconds, the last one again and again; podman can fail for a while after a reboot
BUSY = ("running", "restarting", "paused", "stopping", "removing")  # states that are left alone

CREATE, START, NONE = "create", "start", "none"


@dataclass(frozen=True)
class Recovered:
    """What was (or would be) done for one component: create, start or none; `error` is empty on success."""

    service: str
    component: str
    action: str
    error: str = ""


async def bring_up(podman: Podman, registry: AsyncRegistry, row: ComponentRow, current: Container | None) -> None:
    """Start a component's container, or make it again from the registry where it is gone (`current` is None)."""
    if current is not None:
        await podman.start(row.container)
        return
    host_ports = await registry.call(registry.components.ports, row.service, row.name)
    await podman.ensure_image(row.spec.image)
    await podman.ensure_network(row.spec.network)
    await podman.run(new_container(row.service, row.spec, host_ports, row.deploy))


def stages(rows: Sequence[ComponentRow], boot_order: Sequence[Sequence[str]]) -> list[list[list[ComponentRow]]]:
    """The rows as stages of services; services that `boot_order` does not name are the last stage."""
    services: dict[str, list[ComponentRow]] = {}
    for row in rows:
        services.setdefault(row.service, []).append(row)
    named = {name for stage in boot_order for name in stage}
    order = [*boot_order, [name for name in services if name not in named]]
    found = [[services[name] for name in stage if name in services] for stage in order]
    return [stage for stage in found if stage]


def present(row: ComponentRow, containers: dict[str, Container]) -> Container | None:
    """The container that a component has, once what an interrupted deploy left is tidied away."""
    current = containers.get(row.container)
    if current is not None and current.deploy == row.deploy:
        return current
    return containers.get(aside_name(row.container)) or current


def action(row: ComponentRow, container: Container | None, booted: datetime) -> str:
    """What brings a component up: create, start or none.

    A container whose restart policy lets it end for good (a job) is started again after a reboot, but not when it
    has ended since: then it has done its work.
    """
    if row.desired_state != "running":
        return NONE
    if container is None:
        return CREATE
    if container.state in BUSY:
        return NONE
    may_end = row.spec.restart not in ALWAYS_UP
    if may_end and container.state == "exited" and container.started is not None and container.started > booted:
        return NONE
    return START


class Recovery:
    """Brings up what should run on this node."""

    def __init__(
        self,
        podman: Podman,
        registry: AsyncRegistry,
        operations: Operations,
        settle: float,
        boot_order: Sequence[Sequence[str]],
    ) -> None:
        """`settle`: seconds that a stage's new containers must stay up before the next stage begins."""
        self._podman = podman
        self._registry = registry
        self._operations = operations
        self._settle = settle
        self._boot_order = boot_order

    async def plan(self) -> list[Recovered]:
        """What `run` would do for each component that should run, in its order; changes nothing."""
        rows, containers = await self._look()
        booted = boot_time()
        ordered = [row for stage in stages(rows, self._boot_order) for service in stage for row in service]
        return [
            Recovered(row.service, row.name, action(row, present(row, containers), booted))
            for row in ordered
            if row.desired_state == "running"
        ]

    async def run(self, user: str, *, boot: bool = False) -> list[Recovered]:
        """Bring up every component that should run, stage by stage; one that fails stops nothing else.

        With `boot`, operators' commands wait for a service that is being brought up instead of being refused.
        """
        rows, containers = await self._look()
        results: list[Recovered] = []
        for stage in stages(rows, self._boot_order):
            results += await self._stage(stage, containers, user, boot)
        return results

    async def boot(self) -> None:
        """Bring up what should run when the agent starts, as soon as podman works; says in the log what it did."""
        for delay in chain(BOOT_RETRIES, repeat(BOOT_RETRIES[-1])):
            try:
                await self.run(BOOT_USER, boot=True)
                return
            except McpError as error:
                logger.warning("services cannot be brought up", extra=fields(error=error, retry_seconds=delay))
                await asyncio.sleep(delay)

    async def _look(self) -> tuple[list[ComponentRow], dict[str, Container]]:
        rows = await self._registry.call(self._registry.components.select)
        if not rows:
            return [], {}
        return rows, {container.name: container for container in await self._podman.containers()}

    async def _stage(
        self, stage: list[list[ComponentRow]], containers: dict[str, Container], user: str, boot: bool
    ) -> list[Recovered]:
        limit = asyncio.Semaphore(AT_ONCE)
        booted = boot_time()

        async def one(rows: list[ComponentRow]) -> list[Recovered]:
            if not _needs_work(rows, containers, booted):
                return [Recovered(row.service, row.name, NONE) for row in rows if row.desired_state == "running"]
            async with limit:
                return await self._locked(rows, user, boot)

        done = await asyncio.gather(*(one(rows) for rows in stage))
        return await self._settled([result for results in done for result in results])

    async def _locked(self, rows: list[ComponentRow], user: str, boot: bool) -> list[Recovered]:
        service, operation = rows[0].service, "boot" if boot else "recover"
        try:
            return await self._operations.run(service, user, operation, lambda: self._service(service), awaited=boot)
        except McpError as error:
            logger.warning("not brought up", extra=fields(service=service, error=error))
            return [
                Recovered(row.service, row.name, NONE, str(error)) for row in rows if row.desired_state == "running"
            ]

    async def _service(self, service: str) -> list[Recovered]:
        """Bring up one service, alone at it; looks again, as others may have worked on it in the meantime."""
        rows = await self._registry.call(self._registry.components.select, service)
        results = [await self._component(row) for row in rows]
        return [result for result, row in zip(results, rows, strict=True) if row.desired_state == "running"]

    async def _component(self, row: ComponentRow) -> Recovered:
        what = NONE
        try:
            current = await resolve_replacement(self._podman, self._registry, row)
            what = action(row, current, boot_time())
            if what == NONE:
                return Recovered(row.service, row.name, what)
            await bring_up(self._podman, self._registry, row, current)
        except McpError as error:
            logger.warning("not brought up", extra=fields(service=row.service, component=row.name, error=error))
            return Recovered(row.service, row.name, what, str(error))
        logger.info("brought up", extra=fields(service=row.service, component=row.name, action=what))
        return Recovered(row.service, row.name, what)

    async def _settled(self, results: list[Recovered]) -> list[Recovered]:
        """The results once what was started has had time to fail: a stage is up before the next one begins."""
        if not any(result.action != NONE and not result.error for result in results):
            return results
        await asyncio.sleep(self._settle)
        rows, containers = await self._look()
        names = {(row.service, row.name): row.container for row in rows}
        return [
            self._judged(result, containers.get(names.get((result.service, result.component), "")))
            for result in results
        ]

    def _judged(self, result: Recovered, container: Container | None) -> Recovered:
        if result.action == NONE or result.error or container is None or container.state in BUSY:
            return result
        if container.exit_code == 0:
            return result  # a job that is done already, or somebody who stopped it
        error = f"ended with exit code {container.exit_code} within {self._settle:g} s of its start; see its logs"
        logger.warning("did not stay up", extra=fields(service=result.service, component=result.component, error=error))
        return replace(result, error=error)


def _needs_work(rows: Sequence[ComponentRow], containers: dict[str, Container], booted: datetime) -> bool:
    """Whether anything is to be done for a service: a container to bring up, or a deploy's leavings to tidy."""
    return any(
        aside_name(row.container) in containers or action(row, present(row, containers), booted) != NONE for row in rows
    )


def boot_time() -> datetime:
    """When this machine started."""
    seconds = float(Path("/proc/uptime").read_text().split()[0])
    return datetime.now(UTC) - timedelta(seconds=seconds)
