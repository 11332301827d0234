"""Examine the node and apply changes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from agent.logs.tail import TailLine
from agent.podman.client import Podman
from agent.podman.output import Container
from agent.services.plan import Action, Change, NodeState
from agent.services.steps import StepContext
from agent.services.transaction import Report, Transaction, carry_out, report_nothing
from agent.store.registry import AsyncRegistry


@dataclass(frozen=True)
class ComponentResult:
    """The result for one component; `error` is empty on success, `unchanged` if it was up to date."""

    name: str
    error: str = ""
    unchanged: bool = False
    last_lines: list[TailLine] = field(default_factory=list)
    digest: str = ""  # of the container's image, if it was looked up
    notes: list[str] = field(default_factory=list)  # for the user, on success too


class Executor:
    """Applies changes to this node."""

    def __init__(self, podman: Podman, registry: AsyncRegistry, settle: float) -> None:
        """Require new containers to stay up for `settle` seconds."""
        self.podman = podman
        self.registry = registry
        self._settle = settle

    async def examine(self) -> NodeState:
        """Return the state of the registry and podman; raises McpError."""
        rows, (containers, image_ids) = await asyncio.gather(
            self.registry.call(self.registry.components.select), self._ask_podman()
        )
        return NodeState(rows, containers, image_ids)

    async def examine_deployed(self) -> NodeState:
        """Return the same state without calling podman if nothing is deployed."""
        rows = await self.registry.call(self.registry.components.select)
        return NodeState(rows, *(await self._ask_podman() if rows else ((), {})))

    async def _ask_podman(self) -> tuple[Sequence[Container], dict[str, str]]:
        return await asyncio.gather(self.podman.containers(), self.podman.image_ids())

    async def apply(
        self, changes: Sequence[Change], deploy: int = 0, report: Report = report_nothing
    ) -> list[ComponentResult]:
        """Apply changes of one service; each one is completed or undone.

        Args:
            changes: Changes in replacement order.
            deploy: Number of the current deploy, for changes that name none.
            report: Called when a step starts and ends.
        """
        possible = [change for change in changes if change.action is not Action.BLOCKED]
        transactions = {change.component: self._transaction(change, deploy, report) for change in possible}
        if transactions:
            await carry_out(self.registry, list(transactions.values()))
        return [_result(change, transactions.get(change.component)) for change in changes]

    def context(self, service: str, component: str, deploy: int) -> StepContext:
        """Return the context for the steps of a component."""
        return StepContext(self.podman, self.registry, service, component, deploy, self._settle)

    def _transaction(self, change: Change, deploy: int, report: Report) -> Transaction:
        number = deploy if change.deploy is None else change.deploy
        context = self.context(change.service, change.component, number)
        return Transaction(change.steps, context, undone_on_failure=change.undone_on_failure, report=report)


def _result(change: Change, transaction: Transaction | None) -> ComponentResult:
    if transaction is None:
        return ComponentResult(change.component, "; ".join(change.reasons))
    error = str(transaction.error or "")
    return ComponentResult(
        change.component,
        error,
        last_lines=transaction.last_lines,
        digest=transaction.digest,
        notes=transaction.notes,
    )
