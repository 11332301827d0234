"""Bring up services from the registry after a reboot, or after podman has lost its containers.

Only creates and starts containers. Desired states never change, so an empty `podman ps` cannot undeploy services, and
running containers stay untouched.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, repeat

from agent.log import fields, logger
from agent.podman.output import Container
from agent.services import volumes
from agent.services.executor import ComponentResult, Executor
from agent.services.operations import Operations
from agent.services.plan import BUSY, Change, NodeState, recover
from agent.store.registry import ComponentRow, UnreadableRow
from mcp.shared.errors import McpError
from mcp.shared.states import Action, DesiredState
from mcp.shared.times import in_seconds

AT_ONCE = 4  # services brought up concurrently
BOOT_USER = "mcp-agent"
BOOT_RETRIES = (2.0, 10.0, 30.0)  # seconds, the last one repeatedly; podman can fail for a while after a reboot

NONE = "none"


@dataclass(frozen=True)
class Recovered:
    """The (planned) action for one component: create, start, clean up or none; `error` is empty on success."""

    service: str
    component: str
    action: str
    error: str = ""
    notes: tuple[str, ...] = ()


def stages(rows: Sequence[ComponentRow], boot_order: Sequence[Sequence[str]]) -> list[list[list[ComponentRow]]]:
    """Group rows into stages of services; services outside of `boot_order` form the last stage."""
    services: dict[str, list[ComponentRow]] = {}
    for row in rows:
        services.setdefault(row.service, []).append(row)
    named = {name for stage in boot_order for name in stage}
    order = [*boot_order, [name for name in services if name not in named]]
    staged = [[services[name] for name in stage if name in services] for stage in order]
    return [stage for stage in staged if stage]


class Recovery:
    """Brings up services on this node."""

    def __init__(
        self, executor: Executor, operations: Operations, settle: float, boot_order: Sequence[Sequence[str]]
    ) -> None:
        """Require the new containers of a stage to stay up for `settle` seconds before the next stage."""
        self._executor = executor
        self._operations = operations
        self._settle = settle
        self._boot_order = boot_order

    async def plan(self) -> list[Recovered]:
        """Return the actions of `run` in order, without carrying them out."""
        state = await self._executor.examine()
        ordered = [row for stage in stages(state.rows, self._boot_order) for service in stage for row in service]
        running = [row for row in ordered if row.desired_state is DesiredState.RUNNING]
        planned = await self._noted(running, [_planned(row, recover(row, state)) for row in running])
        return [*planned, *map(_unreadable, state.unreadable)]

    async def run(self, user: str, *, boot: bool = False) -> list[Recovered]:
        """Bring up all components that should be running, by stage; a failure does not stop the others.

        With `boot`, commands for a service wait until it is up instead of being refused.
        """
        state = await self._executor.examine_deployed()
        results: list[Recovered] = []
        for stage in stages(state.rows, self._boot_order):
            results += await self._stage(stage, state, user, boot)
        unreadable = [_unreadable(row) for row in state.unreadable]
        for result in unreadable:
            _log(result)
        return results + unreadable

    async def boot(self) -> None:
        """Bring up services at agent start, retrying until podman works, and log the actions."""
        for delay in chain(BOOT_RETRIES, repeat(BOOT_RETRIES[-1])):
            try:
                await self.run(BOOT_USER, boot=True)
                return
            except McpError as error:
                logger.warning("cannot bring up services", extra=fields(error=error, retry_seconds=delay))
                await asyncio.sleep(delay)

    async def record_volumes(self) -> None:
        """Record the anonymous volumes of all containers, which earlier agents did not; log a failure."""
        registry = self._executor.registry
        rows = await registry.call(registry.components.select)
        try:
            containers = await self._executor.podman.inspect(*(row.container for row in rows))
        except McpError as error:
            logger.warning("cannot record anonymous volumes", extra=fields(error=error))
            return
        for row in rows:
            if row.container in containers and (volumes := containers[row.container].anonymous_volumes):
                await registry.call(registry.volumes.put, row.service, row.name, volumes)

    async def _stage(self, stage: list[list[ComponentRow]], state: NodeState, user: str, boot: bool) -> list[Recovered]:
        limit = asyncio.Semaphore(AT_ONCE)

        async def bring_up(rows: list[ComponentRow]) -> list[Recovered]:
            if all(recover(row, state, automatic=boot) is None for row in rows):
                return [_planned(row, None) for row in rows if row.desired_state is DesiredState.RUNNING]
            async with limit:
                return await self._locked(rows, user, boot)

        done = await asyncio.gather(*(bring_up(rows) for rows in stage))
        return await self._settled([result for results in done for result in results])

    async def _locked(self, rows: list[ComponentRow], user: str, boot: bool) -> list[Recovered]:
        service, operation = rows[0].service, "boot" if boot else "recover"
        try:
            work = partial(self._service, service, boot)
            return await self._operations.run(service, user, operation, work, awaited=boot)
        except McpError as error:
            logger.warning("cannot bring up", extra=fields(service=service, error=error))
            return [
                Recovered(row.service, row.name, NONE, str(error))
                for row in rows
                if row.desired_state is DesiredState.RUNNING
            ]

    async def _service(self, service: str, boot: bool) -> list[Recovered]:
        """Bring up one locked service, from a new examination of the node."""
        state = await self._executor.examine()
        rows = [row for row in state.rows if row.service == service]
        changes = {row.name: change for row in rows if (change := recover(row, state, automatic=boot)) is not None}
        planned = [_planned(row, changes.get(row.name)) for row in rows]
        done = {result.name: result for result in await self._executor.apply(list(changes.values()))}
        results = [_recovered(result, done.get(result.component)) for result in planned]
        for result in results:
            _log(result)
        return [result for result, row in zip(results, rows, strict=True) if row.desired_state is DesiredState.RUNNING]

    async def _noted(self, rows: Sequence[ComponentRow], planned: list[Recovered]) -> list[Recovered]:
        """Add the notes of containers that will be created."""
        if all(result.action != Action.CREATE for result in planned):
            return planned
        existing = await self._executor.podman.volume_names()
        return [
            replace(result, notes=volumes.lost(volumes.names(row.spec), existing))
            if result.action == Action.CREATE
            else result
            for row, result in zip(rows, planned, strict=True)
        ]

    async def _settled(self, results: list[Recovered]) -> list[Recovered]:
        """Wait for the settle time, and add errors of containers that exited within it."""
        if not any(result.action != NONE and not result.error for result in results):
            return results
        await asyncio.sleep(self._settle)
        state = await self._executor.examine()
        names = {(row.service, row.name): row.container for row in state.rows}
        return [
            self._judged(result, state.container(names.get((result.service, result.component), "")))
            for result in results
        ]

    def _judged(self, result: Recovered, container: Container | None) -> Recovered:
        if result.action == NONE or result.error or container is None or container.state in BUSY:
            return result
        if container.exit_code == 0:
            return result  # a finished job, or stopped by an operator
        error = (
            f"ended with exit code {container.exit_code} within {in_seconds(self._settle)} s of its start; see its log"
        )
        logger.warning("did not stay up", extra=fields(service=result.service, component=result.component, error=error))
        return replace(result, error=error)


def _planned(row: ComponentRow, change: Change | None) -> Recovered:
    return Recovered(row.service, row.name, NONE if change is None else str(change.action))


def _unreadable(row: UnreadableRow) -> Recovered:
    return Recovered(row.service, row.name, NONE, str(row.refusal))


def _recovered(planned: Recovered, result: ComponentResult | None) -> Recovered:
    if result is None:
        return planned
    return replace(planned, error=result.error, notes=tuple(result.notes))


def _log(result: Recovered) -> None:
    for note in result.notes:
        logger.warning(note, extra=fields(service=result.service, component=result.component))
    about = fields(service=result.service, component=result.component, action=result.action, error=result.error)
    if result.error:
        logger.warning("cannot bring up", extra=about)
    elif result.action != NONE:
        logger.info("brought up", extra=about)
