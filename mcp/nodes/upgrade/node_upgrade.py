"""Upgrade or rollback of a node, as the operator's machine sees it.

The node completes its switch without us. After a lost connection we reconnect and query the result; if ssh no longer
works, we query the agent once the node must have decided.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum

from mcp.client.session import Session
from mcp.config.configuration import Node
from mcp.nodes.agent_file import AgentFile, architecture
from mcp.nodes.ssh import Ssh
from mcp.nodes.upgrade.switch import AgentFacts, Switch, SwitchPhase, SwitchState
from mcp.shared.errors import InvalidInput, McpError, NotReady, Unavailable, Unreachable, shell_word
from mcp.shared.version import VersionSkew, skew

UNDO_SECONDS = 170  # that the node may need, beyond the deadline, to restore the old agent
AGAIN_SECONDS = 1.0  # between attempts to reach a node
SETTLED_SECONDS = 10.0  # of responses of a new agent, after which the node does not roll back
NOTES_SECONDS = 30.0  # until an agent whose registry was put back must have completed it
ANSWER_SECONDS = 15.0  # until an agent that serves according to its node must respond here as well

Say = Callable[[str], None]


class UpgradeResult(StrEnum):
    """Result of an upgrade or rollback of a node."""

    UPGRADED = "upgraded"
    DOWNGRADED = "downgraded"
    ROLLED_BACK = "rolled back"
    CURRENT = "current"  # nothing was to be done
    FAILED = "failed"  # nothing was changed
    FAILED_ROLLED_BACK = "failed: rolled back"  # the new agent did not serve; the old one is running again
    NO_AGENT = "failed: no agent running"
    UNKNOWN = "unknown"  # the node could not be asked
    SKIPPED = "skipped"  # an earlier wave failed


_GOOD = (UpgradeResult.UPGRADED, UpgradeResult.DOWNGRADED, UpgradeResult.ROLLED_BACK, UpgradeResult.CURRENT)


@dataclass(frozen=True)
class UpgradeRow:
    """A node's row of the table: versions before and after (empty if unknown), and the reason for a failure."""

    node: str
    before: str
    after: str
    result: UpgradeResult
    why: str = ""
    unreachable: bool = False  # ssh failed to connect
    notes: tuple[str, ...] = ()  # that a copy of the registry was put back, and what the agent has registered again

    @property
    def is_good(self) -> bool:
        """True if the node has the intended agent."""
        return self.result in _GOOD

    @property
    def has_failed(self) -> bool:
        """True if the upgrade was started, but the node does not have the intended agent."""
        return not self.is_good and self.result is not UpgradeResult.SKIPPED


@dataclass(frozen=True)
class NodeUpgrade:
    """Parameters of an upgrade; `find` returns the agent file for an architecture, None means a rollback to .prev."""

    session: Session
    find: Callable[[str], Awaitable[AgentFile]] | None
    deadline: int  # seconds
    force: bool = False
    allow_downgrade: bool = False

    async def run(self, node: Node, say: Say) -> UpgradeRow:
        """Upgrade a node, reporting each step to `say`; expected failures become rows."""
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
        """Start the switch; return the new version, or None if there is nothing to do."""
        if self.find is None:
            say("rolling back")
            try:
                return switch, await switch.rollback()
            except (Unreachable, Unavailable) as error:
                raise _Lost(switch, "") from error
        file = await self.find(_architecture(switch.ssh.node, facts))
        if await self._is_current(switch, facts, file, say):
            return None
        self._refuse_downgrade(facts, file)
        content = await asyncio.to_thread(lambda: file.content)
        say(f"copying {file.version}")
        try:
            await switch.stage(file, content)
        except (Unreachable, Unavailable) as error:
            raise _Lost(switch, file.version) from error
        return switch, file.version

    def _refuse_downgrade(self, facts: AgentFacts, file: AgentFile) -> None:
        if not self.allow_downgrade and skew(file.version, facts.version) is VersionSkew.OLDER:
            raise NotReady(
                f"its agent is {facts.version}, and {file.version} is older",
                "--allow-downgrade installs it; `mcp agent rollback` returns to the previous agent and its registry",
            )

    async def _is_current(self, switch: Switch, facts: AgentFacts, file: AgentFile, say: Say) -> bool:
        """Return True if there is nothing to do, after cleaning up an interrupted upgrade."""
        if not self.force and facts.unfinished and facts.has(file):
            say("cleaning up an interrupted upgrade")
            await switch.tidy()
            facts = await switch.facts()  # it may have rolled back
        return not self.force and facts.has(file)

    async def _end(self, node: Node, switch: Switch, row: UpgradeRow, version: str, say: Say) -> UpgradeRow:
        say("switching")
        verdict = await self._verdict(node, switch, _Watch(row.before, version), say)
        if verdict.restored:
            say("waiting for the registry")
            row = replace(row, notes=await self._notes(node))
        version = verdict.version or version
        good = self._good(row.before, version)
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
        """Return the node's own result, or one derived from its agent if ssh no longer works."""
        end = time.monotonic() + self.deadline + UNDO_SECONDS
        while time.monotonic() < end:
            try:
                async with Ssh(node) as ssh:
                    while not (verdict := await replace(switch, ssh=ssh).verdict()).is_final:
                        pass  # the node itself waits before it reports this
                    return verdict
            except (Unreachable, Unavailable) as error:
                say("connection lost, reconnecting")
                if watch.goes_on(await self._answer(node)):
                    why = f"its agent answers, but {error.without_node()}"
                    return SwitchState(SwitchPhase.ANSWERING, watch.version, why, busy=False)
            await asyncio.sleep(AGAIN_SECONDS)
        return SwitchState(SwitchPhase.LOST, "", "", busy=False)

    async def _why_not(self, node: Node, version: str) -> str:
        """Wait for the agent to respond with a version; return the problem, or an empty string."""
        end = time.monotonic() + ANSWER_SECONDS
        while (answer := await self._answer(node)) != version:
            if time.monotonic() > end:
                return answer.without_node() if isinstance(answer, McpError) else f"answers as {answer}"
            await asyncio.sleep(AGAIN_SECONDS)
        return ""

    def _good(self, before: str, version: str) -> UpgradeResult:
        if self.find is None:
            return UpgradeResult.ROLLED_BACK
        older = skew(version, before) is VersionSkew.OLDER
        return UpgradeResult.DOWNGRADED if older else UpgradeResult.UPGRADED

    async def _notes(self, node: Node) -> tuple[str, ...]:
        """Wait for the agent to complete a registry that was put back; return what it did."""
        end = time.monotonic() + NOTES_SECONDS
        while time.monotonic() < end:
            with suppress(McpError):
                if notes := await asyncio.to_thread(self._ask_notes, node):
                    return notes
            await asyncio.sleep(AGAIN_SECONDS)
        return ("the registry of this agent was put back, but it does not say what it has adopted; see mcp plan",)

    def _ask_notes(self, node: Node) -> tuple[str, ...]:
        with self.session.agent(node) as agent:
            return tuple(agent.node_status().restore_notes)

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
    """Detection of a successful switch from the agent's responses: the new version keeps responding."""

    before: str
    version: str  # the new one; empty if unknown
    since: float = 0.0

    def goes_on(self, answer: str | McpError) -> bool:
        """Return True once the new version has responded for longer than the node takes to decide."""
        if not self.version or answer != self.version or self.version == self.before:
            self.since = 0.0
            return False
        self.since = self.since or time.monotonic()
        return time.monotonic() - self.since >= SETTLED_SECONDS


class _Lost(Exception):
    """The connection was lost during the hand-over: the switch may have started or not."""

    def __init__(self, switch: Switch, version: str) -> None:
        self.switch, self.version = switch, version


def _architecture(node: Node, facts: AgentFacts) -> str:
    """Return the node's architecture; raises InvalidInput if mcp.toml has another one."""
    arch = architecture(facts.machine)
    if node.arch not in ("", arch):
        raise InvalidInput(
            f"it is {arch} ({facts.machine}), but mcp.toml has {node.arch}",
            f'set arch = "{arch}" for {node.name} there',
        )
    return arch


def _row_of(row: UpgradeRow, verdict: SwitchState, destination: str) -> UpgradeRow:
    """Return the row for an unsuccessful result; `destination` is that of ssh."""
    hint = f"see the agent's log: ssh {shell_word(destination)} journalctl -u mcp-agent"
    match verdict.phase:
        case SwitchPhase.ROLLED_BACK:
            why = f"{verdict.why}; the old agent is running again; {hint}"
            return replace(row, result=UpgradeResult.FAILED_ROLLED_BACK, why=why)
        case SwitchPhase.NO_AGENT:
            return replace(row, after="", result=UpgradeResult.NO_AGENT, why=f"{verdict.why}; {hint}")
        case SwitchPhase.FAILED:
            return replace(row, why=verdict.why)
        case SwitchPhase.NONE:
            return replace(row, why="connection lost before the switch started; try again")
        case SwitchPhase.LOST:
            why = f"ssh no longer reaches the node, which continues by itself; see mcp agent status {row.node}"
            return replace(row, after="", result=UpgradeResult.UNKNOWN, why=why, unreachable=True)
    why = "the node was restarted, or its switch ended, half-way; complete it by upgrading again"
    return replace(row, result=UpgradeResult.UNKNOWN, why=why)
