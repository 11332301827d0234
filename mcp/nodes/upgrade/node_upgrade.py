"""One node's upgrade or rollback from its beginning to its end, as the operator's machine sees it.

What the node has begun goes on without us. So a connection that is lost is made again, and the node asked how it went;
where it cannot be asked, its agent is, once the node must have decided.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from mcp.client.session import Session
from mcp.config.configuration import Node
from mcp.nodes.agent_file import AgentFile, architecture
from mcp.nodes.ssh import Ssh
from mcp.nodes.upgrade.switch import AgentFacts, Switch, SwitchPhase, SwitchState
from mcp.shared.errors import InvalidInput, McpError, Unavailable, Unreachable

UNDO_SECONDS = 130  # that the node may need, beyond the deadline, to put the old agent back
AGAIN_SECONDS = 1.0  # between two attempts to reach a node
SETTLED_SECONDS = 10.0  # that a new agent answers, after which the node does not undo it any more
ANSWER_SECONDS = 15.0  # for an agent that serves, as its node says, to answer here as well

Say = Callable[[str], None]


class UpgradeResult(StrEnum):
    """How it went on one node, in a word."""

    UPGRADED = "upgraded"
    ROLLED_BACK = "rolled back"
    CURRENT = "current"  # nothing was to be done
    FAILED = "failed"  # nothing was changed
    FAILED_ROLLED_BACK = "failed: rolled back"  # the new agent did not serve; the old one is running again
    NO_AGENT = "failed: no agent running"
    UNKNOWN = "unknown"  # the node could not be asked
    SKIPPED = "skipped"  # an earlier wave failed


@dataclass(frozen=True)
class UpgradeRow:
    """A node's line of the table: versions before and after (empty where not known), and what went wrong, if it did."""

    node: str
    before: str
    after: str
    result: UpgradeResult
    why: str = ""
    unreachable: bool = False  # ssh did not get there

    @property
    def is_good(self) -> bool:
        """Whether the node has the agent that it should have."""
        return self.result in (UpgradeResult.UPGRADED, UpgradeResult.ROLLED_BACK, UpgradeResult.CURRENT)

    @property
    def has_failed(self) -> bool:
        """Return True for a node that was begun with, and has not the agent that it should have."""
        return not self.is_good and self.result is not UpgradeResult.SKIPPED


@dataclass(frozen=True)
class NodeUpgrade:
    """How to do it: `find` gives the agent's file for an architecture, or None goes back to .prev."""

    session: Session
    find: Callable[[str], Awaitable[AgentFile]] | None
    deadline: int  # seconds
    force: bool = False

    async def run(self, node: Node, say: Say) -> UpgradeRow:
        """Bring one node through; `say` is told each step. Every expected failure is a row."""
        row = UpgradeRow(node.name, "", "", UpgradeResult.FAILED)
        try:
            say("connecting")
            async with Ssh(node) as ssh:
                switch = Switch(ssh, self.deadline)
                facts = await switch.facts()
                row = replace(row, before=facts.version, after=facts.version)
                target = await self._begin(switch, facts, say)
        except _Lost as lost:
            return await self._end(node, lost.switch, row, lost.version, say)
        except McpError as error:
            return replace(row, why=error.without_node(), unreachable=isinstance(error, Unreachable))
        if target is None:
            return replace(row, result=UpgradeResult.CURRENT)
        return await self._end(node, target[0], row, target[1], say)

    async def _begin(self, switch: Switch, facts: AgentFacts, say: Say) -> tuple[Switch, str] | None:
        """Have the node take over; returns the version to come, or None where there is nothing to do."""
        if self.find is None:
            say("going back")
            try:
                return switch, await switch.rollback()
            except (Unreachable, Unavailable) as error:
                raise _Lost(switch, "") from error
        file = await self.find(_architecture(switch.ssh.node, facts))
        if await self._is_current(switch, facts, file, say):
            return None
        content = await asyncio.to_thread(lambda: file.content)
        say(f"copying {file.version}")
        try:
            await switch.stage(file, content)
        except (Unreachable, Unavailable) as error:
            raise _Lost(switch, file.version) from error
        return switch, file.version

    async def _is_current(self, switch: Switch, facts: AgentFacts, file: AgentFile, say: Say) -> bool:
        """Whether there is nothing to do; what an interrupted upgrade has left is seen to first."""
        if not self.force and facts.unfinished and facts.has(file):
            say("clearing up after an interrupted upgrade")
            await switch.tidy()
            facts = await switch.facts()  # it may have gone back
        return not self.force and facts.has(file)

    async def _end(self, node: Node, switch: Switch, row: UpgradeRow, version: str, say: Say) -> UpgradeRow:
        say("switching")
        verdict = await self._verdict(node, switch, _Watch(row.before, version), say)
        version = verdict.version or version
        good = UpgradeResult.ROLLED_BACK if self.find is None else UpgradeResult.UPGRADED
        if verdict.phase is SwitchPhase.ANSWERING:
            return replace(row, after=version, result=good, why=verdict.why)
        if verdict.phase is not SwitchPhase.UPGRADED:
            return _row_of(row, verdict, node.ssh or node.name)
        say("asking the agent")
        why = await self._why_not(node, version)
        if why:
            return replace(
                row, after=version, result=UpgradeResult.UNKNOWN, why=f"its unit serves {version}, but {why}"
            )
        return replace(row, after=version, result=good)

    async def _verdict(self, node: Node, switch: Switch, watch: "_Watch", say: Say) -> SwitchState:
        """The node's own verdict, or what its agent shows where the node cannot be asked any more."""
        end = time.monotonic() + self.deadline + UNDO_SECONDS
        while time.monotonic() < end:
            try:
                async with Ssh(node) as ssh:
                    while not (verdict := await replace(switch, ssh=ssh).verdict()).is_final:
                        pass  # the node itself waits before it says so
                    return verdict
            except (Unreachable, Unavailable) as error:
                say("the connection is lost, trying again")
                if watch.goes_on(await self._answer(node)):
                    why = f"its agent answers, but {error.without_node()}"
                    return SwitchState(SwitchPhase.ANSWERING, watch.version, why, busy=False)
            await asyncio.sleep(AGAIN_SECONDS)
        return SwitchState(SwitchPhase.LOST, "", "", busy=False)

    async def _why_not(self, node: Node, version: str) -> str:
        """Why the agent does not answer us with that version, after a moment; empty where it does."""
        end = time.monotonic() + ANSWER_SECONDS
        while (answer := await self._answer(node)) != version:
            if time.monotonic() > end:
                return answer.without_node() if isinstance(answer, McpError) else f"answers as {answer}"
            await asyncio.sleep(AGAIN_SECONDS)
        return ""

    async def _answer(self, node: Node) -> "str | McpError":
        try:
            return await asyncio.to_thread(self._ask, node)
        except McpError as error:
            return error

    def _ask(self, node: Node) -> str:
        with self.session.agent(node) as agent:
            return agent.node_status().agent_version


@dataclass
class _Watch:
    """Tells from the agent's answers alone that a switch has gone well: a new version that goes on answering."""

    before: str
    version: str  # that is to come; empty where it is not known
    since: float = 0.0

    def goes_on(self, answer: str | McpError) -> bool:
        """Whether the new version has answered for longer than the node takes to decide."""
        if not self.version or answer != self.version or self.version == self.before:
            self.since = 0.0
            return False
        self.since = self.since or time.monotonic()
        return time.monotonic() - self.since >= SETTLED_SECONDS


class _Lost(Exception):
    """The connection was lost while the node was taking over: it may have done so, or not."""

    def __init__(self, switch: Switch, version: str) -> None:
        self.switch, self.version = switch, version


def _architecture(node: Node, facts: AgentFacts) -> str:
    """The node's; raises InvalidInput where mcp.toml has another one."""
    arch = architecture(facts.machine)
    if node.arch not in ("", arch):
        raise InvalidInput(
            f"it is {arch} ({facts.machine}), and mcp.toml says {node.arch}",
            f'put arch = "{arch}" for {node.name} there',
        )
    return arch


def _row_of(row: UpgradeRow, verdict: SwitchState, destination: str) -> UpgradeRow:
    """The row for a verdict that is not good; `destination` is ssh's."""
    hint = f"the agent's log says more: ssh {destination} journalctl -u mcp-agent"
    match verdict.phase:
        case SwitchPhase.ROLLED_BACK:
            why = f"{verdict.why}; the old agent is running again; {hint}"
            return replace(row, result=UpgradeResult.FAILED_ROLLED_BACK, why=why)
        case SwitchPhase.NO_AGENT:
            return replace(row, after="", result=UpgradeResult.NO_AGENT, why=f"{verdict.why}; {hint}")
        case SwitchPhase.FAILED:
            return replace(row, why=verdict.why)
        case SwitchPhase.NONE:
            return replace(row, why="the connection was lost before the node had taken over; try again")
        case SwitchPhase.LOST:
            why = f"the node is no longer reached by ssh; it goes on by itself: see mcp agent status {row.node}"
            return replace(row, after="", result=UpgradeResult.UNKNOWN, why=why, unreachable=True)
    why = "the node was restarted, or its switch ended, half-way; upgrade it again: that brings it to an end"
    return replace(row, result=UpgradeResult.UNKNOWN, why=why)
