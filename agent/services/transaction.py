"""Carry out changes step by step, safe against failures and kills at any point.

The registry records each step before it starts and after it is done. A failed change is undone in reverse order; after
a kill, the next agent undoes or resumes the change from the same rows. What cannot be undone or completed now stays in
the registry, and is tried again (see interrupted.py).
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from agent.log import fields, logger
from agent.logs.tail import TailLine
from agent.services.steps import DidNotStayUpError, Phase, Step, StepContext
from agent.store.registry import AsyncRegistry, TransactionRow
from mcp.shared.errors import McpError, NotReady


class StepState(StrEnum):
    """The state of a step."""

    STARTED = "started"
    DONE = "done"
    FAILED = "failed"
    UNDONE = "undone"


@dataclass(frozen=True)
class StepEvent:
    """A state change of one step; `number` counts from 1."""

    component: str
    number: int
    count: int
    title: str
    state: StepState


Report = Callable[[StepEvent], None]
TRIED_AGAIN = "the agent tries again until it has succeeded"


def report_nothing(_event: StepEvent) -> None:
    """Discard step events."""


class Transaction:
    """The steps of one component's change.

    On failure, `error` and the `last_lines` of the container are set.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        context: StepContext,
        *,
        undone_on_failure: bool,
        report: Report = report_nothing,
    ) -> None:
        """Prepare the steps without carrying any out; for `undone_on_failure` see Change."""
        self.error: McpError | None = None
        self.last_lines: list[TailLine] = []
        self._failure: McpError | None = None  # of its undoing or completion
        self._steps = steps
        self._context = context
        self._undone_on_failure = undone_on_failure
        self._report = report
        self._position = 0

    @property
    def left(self) -> McpError | None:
        """Why something is left to be undone or completed; None if nothing is."""
        return self._failure or self._context.unfinished

    @property
    def digest(self) -> str:
        """The digest of the provided image; empty before that step."""
        return self._context.digest

    @property
    def notes(self) -> list[str]:
        """The notes of its steps for the user."""
        return self._context.notes

    @property
    def row(self) -> TransactionRow:
        """The registry row of the transaction."""
        context = self._context
        steps = json.dumps([step.as_data() for step in self._steps])
        return TransactionRow(
            context.service, context.component, context.deploy, self._undone_on_failure, steps, self._position
        )

    async def run(self, phase: Phase) -> None:
        """Carry out the steps of a phase; on failure or a bug, undo and set `error`."""
        while self.error is None and self._position < len(self._steps):
            step = self._steps[self._position]
            if step.phase > phase:
                return
            try:
                await self._do(step)
            except McpError as error:
                await self._fail(step, error)
            except Exception:  # noqa: BLE001 - a bug must not leave the old container stopped; logged with traceback
                logger.exception("bug in the step %r of %s", step.title, self._name)
                await self._fail(step, McpError("internal error; the agent's log has the details"))

    async def resume(self, position: int) -> str:
        """Resume or undo the steps that were left, from `position`; return what became of the change.

        Raises McpError on failure.
        """
        self._position = position
        if self._undone_on_failure and not await self._is_committed():
            outcome = "; ".join(["undone", *await self._undo()])
        else:
            outcome = await self._complete()
        for step in self._steps[:position]:
            if step.may_wait and not await step.is_done(self._context):
                await step.do(self._context)
        if self._context.unfinished is not None:
            raise self._context.unfinished
        return outcome

    async def _complete(self) -> str:
        while self._position < len(self._steps):
            step = self._steps[self._position]
            if await step.is_done(self._context):
                self._position += 1
                continue
            if step.starts_over:
                await step.undo(self._context)
            await self._do(step)
        return "completed"

    @property
    def _name(self) -> str:
        return f"{self._context.service}/{self._context.component}"

    async def _do(self, step: Step) -> None:
        if self._position:
            await self._note_position(is_needed=not self._is_forward)
        self._tell(step, StepState.STARTED)
        await step.do(self._context)
        self._tell(step, StepState.DONE)
        self._position += 1

    async def _fail(self, step: Step, error: McpError) -> None:
        self.error = error
        if isinstance(error, DidNotStayUpError):
            self.last_lines = error.last_lines
        self._tell(step, StepState.FAILED)
        if self._is_forward:
            if self.is_tried_again(error):
                self._failure = error
                self.error = NotReady(error.what, "; ".join(filter(None, [error.hint, TRIED_AGAIN])))
            return
        try:
            notes = await self._undo()
        except McpError as failure:
            self._failure = failure
        except Exception:  # noqa: BLE001 - a bug must not cancel the steps of other components; it is logged whole
            logger.exception("bug in the rollback of %s", self._name)
            self._failure = McpError("internal error; see the agent's log")
        else:
            self.error = NotReady("; ".join([error.what, *notes]), error.hint) if notes else error
            return
        self.error = NotReady(f"{error.what}; undo pending: {self._failure.what}", TRIED_AGAIN)

    def is_tried_again(self, error: McpError) -> bool:
        """Tell if the change has to come to an end after this failure: it is undone, or has disturbed what was there.

        A container that ended after its start would do so again.
        """
        disturbed = any(step.disturbs for step in self._steps[: self._position + 1])
        return not self._is_forward or (disturbed and not isinstance(error, DidNotStayUpError))

    @property
    def _is_forward(self) -> bool:
        """Tell if the change is completed after a failure, not undone."""
        return not self._undone_on_failure or any(done.commits for done in self._steps[: self._position])

    async def _undo(self) -> list[str]:
        """Undo the steps in reverse, from the one in progress; return notes for the user."""
        notes, reached = [], self._position
        for position, step in reversed(list(enumerate(self._steps[: reached + 1]))):
            if type(step).undo is Step.undo or (position < reached and step.leaves_nothing):
                continue
            if position < self._position:  # what is undone is not to be undone again: its container may have ended
                self._position = position
                await self._note_position()
            if note := await step.undo(self._context):
                notes.append(note)
            self._tell(step, StepState.UNDONE)
        return notes

    async def _is_committed(self) -> bool:
        """Return True if the committing step is done."""
        if any(step.commits for step in self._steps[: self._position]):
            return True
        if self._position == len(self._steps):
            return False
        step = self._steps[self._position]
        return step.commits and await step.is_done(self._context)

    async def _note_position(self, *, is_needed: bool = False) -> None:
        """Record the position; a failure is only logged unless it `is_needed`, as steps can be done twice."""
        context, table = self._context, self._context.registry.operations
        try:
            await context.registry.call(table.advance, context.service, context.component, self._position)
        except McpError as error:
            if is_needed:
                raise
            logger.error("cannot note the position of a change", extra=fields(service=context.service, error=error))

    def _tell(self, step: Step, state: StepState) -> None:
        number = self._steps.index(step) + 1
        self._report(StepEvent(self._context.component, number, len(self._steps), step.title, state))


async def carry_out(registry: AsyncRegistry, transactions: Sequence[Transaction]) -> None:
    """Carry out the changes of a service phase by phase; a failed component does not stop the others.

    A change takes the place of what an earlier one has left of its component, unless it fails and leaves nothing.
    """
    rows = [transaction.row for transaction in transactions]
    left = {row.key: row for row in await registry.call(registry.operations.transactions, rows[0].service)}
    await registry.call(registry.operations.begin_transactions, rows)
    for phase in Phase:
        if phase.is_concurrent:
            async with asyncio.TaskGroup() as group:
                for transaction in transactions:
                    group.create_task(transaction.run(phase))
        else:
            for transaction in transactions:
                await transaction.run(phase)
    for row, transaction in zip(rows, transactions, strict=True):
        if transaction.left is None:
            await _end(registry, row, left.get(row.key) if transaction.error is not None else None)


async def _end(registry: AsyncRegistry, row: TransactionRow, left: TransactionRow | None = None) -> None:
    """Remove a transaction's row, or put back the earlier one; where the registry cannot be written, log that."""
    try:
        if left is None:
            await registry.call(registry.operations.end_transaction, *row.key)
        else:
            await registry.call(registry.operations.begin_transactions, [left])
    except McpError as error:
        logger.error("cannot note the end of a change", extra=fields(service=row.service, error=error))


def is_undo(row: TransactionRow) -> bool:
    """Tell if a change that is left is to be undone, not completed."""
    done = json.loads(row.steps)[: row.position]
    committing = {name for name, kind in Step.kinds.items() if kind.commits}
    return row.undone_on_failure and not any(step["kind"] in committing for step in done)


async def resume(row: TransactionRow, context: StepContext) -> str:
    """Resume or undo a transaction that was left; return what became of it.

    Raises McpError on failure, and can be repeated.
    """
    steps = [Step.from_data(data) for data in json.loads(row.steps)]
    transaction = Transaction(steps, context, undone_on_failure=row.undone_on_failure)
    logger.info("resuming", extra=fields(service=row.service, component=row.component, step=row.position))
    try:
        outcome = await transaction.resume(row.position)
    except McpError as error:
        if transaction.is_tried_again(error):
            raise
        logger.warning("not resumed", extra=fields(service=row.service, component=row.component, error=error))
        outcome = error.what
    await _end(context.registry, row)
    return outcome
