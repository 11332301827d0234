"""Examine the node and apply changes."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from agent.files.files import ServiceFiles
from agent.log import fields, logger
from agent.logs.tail import TailLine
from agent.monitor.boots import present_boot
from agent.podman.client import Podman
from agent.podman.inspect import ContainerDetails
from agent.podman.output import Container
from agent.podman.states import ENDED
from agent.services import ports, volumes
from agent.services.plan import Change, NodeState
from agent.services.steps import RunContainer, StepContext, refused_mounts
from agent.services.transaction import Report, Transaction, carry_out, report_nothing
from agent.store.database import CannotWrite
from agent.store.registry import AsyncRegistry, ComponentRow, DeployRow, Registered
from mcp.shared.names import aside_name, container_name
from mcp.shared.spec import ComponentSpec, ServiceSpec
from mcp.shared.states import Action, DeployResult

INTERRUPTED = "the agent ended during the deploy"

Key = tuple[str, str]  # service, component


class Dropped(StrEnum):
    """The outcome for a component that the definition no longer has."""

    NO = ""  # the definition has it
    REMOVED = "removed"
    KEPT = "kept"


@dataclass(frozen=True)
class ComponentResult:
    """The result for one component; `error` is empty on success, `unchanged` if it was up to date."""

    name: str
    error: str = ""
    unchanged: bool = False
    last_lines: list[TailLine] = field(default_factory=list)
    digest: str = ""  # of the container's image, if it was looked up
    notes: Sequence[str] = ()  # for the user, on success too
    dropped: Dropped = Dropped.NO


@dataclass(frozen=True)
class DeployEnd:
    """The end of a deploy, for the history."""

    number: int
    result: DeployResult
    error: str
    digests: dict[str, str]


class Executor:
    """Applies changes to this node."""

    def __init__(self, podman: Podman, registry: AsyncRegistry, settle: float, files: ServiceFiles) -> None:
        """Require new containers to stay up for `settle` seconds."""
        self.podman = podman
        self.registry = registry
        self._settle = settle
        self._files = files
        self.in_progress: set[Key] = set()  # components whose changes are being carried out
        self.failures: dict[Key, str] = {}  # why the last attempt to undo or complete what is left of a change failed
        self._unwritten: dict[int, DeployEnd] = {}  # by number; the registry could not be written

    async def end_deploy(self, end: DeployEnd) -> None:
        """Write the end of a deploy into the history; where the registry cannot be written, it is kept for later."""
        try:
            await self.registry.call(self.registry.deploys.end, end.number, end.result, end.error, end.digests)
        except CannotWrite as error:
            self._unwritten[end.number] = end
            logger.error("cannot write the history", extra=fields(deploy=end.number, result=end.result, error=error))
        else:
            self._unwritten.pop(end.number, None)

    async def end_deploy_again(self, deploy: DeployRow) -> None:
        """End a deploy that the history says is running, as known, or else as interrupted; raises McpError.

        Its error so far, what became of its changes since, comes last.
        """
        interrupted = DeployEnd(deploy.number, DeployResult.INTERRUPTED, INTERRUPTED, deploy.digests)
        end = self._unwritten.get(deploy.number, interrupted)
        error = "; ".join(filter(None, [end.error, deploy.error]))
        await self.registry.call(self.registry.deploys.end, end.number, end.result, error, end.digests)
        self._unwritten.pop(deploy.number, None)

    async def examine(self, services: Sequence[ServiceSpec] = ()) -> NodeState:
        """Return the state of the registry and podman, with the refused mounts of `services`; raises McpError."""
        registered, found = await asyncio.gather(self.registry.call(self.registry.components.read), self._ask_podman())
        sources = {source for service in services for each in service.components for source in volumes.paths(each)}
        refused = await refused_mounts(self.podman, self._files, sources)
        return replace(await self._state(registered, *found), refused_mounts=refused)

    async def examine_deployed(self) -> NodeState:
        """Return the same state without calling podman if nothing is deployed."""
        registered = await self.registry.call(self.registry.components.read)
        return await self._state(registered, *(await self._ask_podman() if registered.rows else ((), {})))

    async def _state(
        self, registered: Registered, containers: Sequence[Container], image_ids: dict[str, str]
    ) -> NodeState:
        return NodeState(
            registered.rows,
            containers,
            image_ids,
            await present_boot(self.registry),
            await self._stuck(registered.rows, containers),
            unreadable=registered.unreadable,
        )

    async def _ask_podman(self) -> tuple[Sequence[Container], dict[str, str]]:
        return await asyncio.gather(self.podman.containers(), self.podman.image_ids())

    async def _stuck(self, rows: Sequence[ComponentRow], containers: Sequence[Container]) -> set[str]:
        """Return the names of the ended containers that cannot get the host ports of their routes."""
        ended = {container.name: container for container in containers if container.state in ENDED}
        wanted, stuck = dict[str, set[int]](), set[str]()
        for row in rows:
            container = ended.get(row.container) or ended.get(aside_name(row.container))
            if row.spec.routes and container is not None and container.deploy == row.deploy:
                reserved = await self.registry.call(self.registry.components.ports, row.service, row.name)
                wanted[row.container] = {reserved[route.name] for route in row.spec.routes if route.name in reserved}
                if wanted[row.container] - {port for port, _ in container.published}:
                    stuck.add(row.container)
        taken = await ports.taken({port for numbers in wanted.values() for port in numbers})
        return stuck | {name for name, numbers in wanted.items() if numbers & taken}

    async def apply(
        self, changes: Sequence[Change], deploy: int = 0, report: Report = report_nothing
    ) -> list[ComponentResult]:
        """Apply changes of one service; each one is completed or undone.

        Args:
            changes: Changes in replacement order.
            deploy: Number of the current deploy, for changes that name none.
            report: Called when a step starts and ends.
        """
        possible = {(each.service, each.component): each for each in changes if each.action is not Action.BLOCKED}
        transactions = {key: self._transaction(change, deploy, report) for key, change in possible.items()}
        self.in_progress |= transactions.keys()
        try:
            if transactions:
                await carry_out(self.registry, list(transactions.values()))
        finally:
            self.in_progress -= transactions.keys()
        for key, transaction in transactions.items():
            self.failures.pop(key, None)
            if transaction.left is not None:
                self.failures[key] = transaction.left.what
        return [_result(change, transactions.get((change.service, change.component))) for change in changes]

    async def annotate(self, changes: Sequence[Change], state: NodeState) -> list[Change]:
        """Return changes with notes on the anonymous volumes of new containers."""
        specs = [
            next((step.spec for step in change.steps if isinstance(step, RunContainer)), None) for change in changes
        ]
        names = [
            container_name(change.service, change.component)
            for change, spec in zip(changes, specs, strict=True)
            if spec
        ]
        present = {container.name for container in state.containers}
        containers = await self.podman.inspect(*(present & {*names, *map(aside_name, names)}))
        return [
            change if spec is None else replace(change, notes=await self._volume_notes(change, spec, state, containers))
            for change, spec in zip(changes, specs, strict=True)
        ]

    async def _volume_notes(
        self, change: Change, spec: ComponentSpec, state: NodeState, containers: Mapping[str, ContainerDetails]
    ) -> tuple[str, ...]:
        name = container_name(change.service, change.component)
        known = await self.registry.call(self.registry.volumes.select, change.service, change.component)
        known = volumes.carried(spec, known)
        if (old := containers.get(aside_name(name)) or containers.get(name)) is not None:
            known |= old.anonymous_volumes
        image_id = state.image_id(spec.image)
        declared = await self.podman.image_volumes(image_id) if image_id else ()
        return volumes.notes(change.service, spec, known, declared)

    def context(self, service: str, component: str, deploy: int) -> StepContext:
        """Return the context for the steps of a component."""
        return StepContext(self.podman, self.registry, service, component, deploy, self._settle, self._files)

    def _transaction(self, change: Change, deploy: int, report: Report) -> Transaction:
        number = deploy if change.deploy is None else change.deploy
        context = self.context(change.service, change.component, number)
        return Transaction(change.steps, context, undone_on_failure=change.undone_on_failure, report=report)


def _result(change: Change, transaction: Transaction | None) -> ComponentResult:
    if transaction is None:
        return ComponentResult(change.component, "; ".join(change.reasons))
    error = str(transaction.error or "")
    lines, digest = transaction.last_lines, transaction.digest
    return ComponentResult(change.component, error, last_lines=lines, digest=digest, notes=transaction.notes)
