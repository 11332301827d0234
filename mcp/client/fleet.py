"""Concurrent calls to several nodes; errors are collected per node."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, TypeVar

from mcp.client.session import Session
from mcp.config.configuration import Node
from mcp.shared import interrupts
from mcp.shared.errors import McpError, Unauthenticated, Unreachable
from mcp.shared.times import in_seconds
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.agent import AgentClient

T = TypeVar("T")

AT_ONCE = 50


class AnswerState(StrEnum):
    """State of a node in tables and JSON."""

    READY = "ready"
    UNREACHABLE = "unreachable"
    ERROR = "error"  # any other error


@dataclass(frozen=True)
class NodeAnswer(Generic[T]):
    """The answer of a node: a value or an error."""

    node: Node
    value: T | None
    error: McpError | None

    @property
    def state(self) -> AnswerState:
        """The state of the node according to this answer."""
        if self.error is None:
            return AnswerState.READY
        return AnswerState.UNREACHABLE if isinstance(self.error, Unreachable) else AnswerState.ERROR

    @property
    def is_reachable(self) -> bool:
        """True if the agent responded, even with an error."""
        return self.state is not AnswerState.UNREACHABLE


def ask_all(
    session: Session,
    nodes: Sequence[Node],
    ask: "Callable[[AgentClient], T]",
    *,
    changes: bool = False,
    early: Callable[[Sequence[NodeAnswer[T]]], None] | None = None,
) -> list[NodeAnswer[T]]:
    """Call all nodes concurrently; return answers in the order of nodes.

    Args:
        session: The session.
        nodes: The nodes.
        ask: The call.
        changes: The call changes something, and may take as long as that takes.
        early: Called with values of nodes while others are still silent, in the order in which they come.

    Raises:
        Unauthenticated: Every node rejects the token.
    """
    session.token  # noqa: B018 - a missing token is one error, not one per node
    session.ca  # noqa: B018
    with interrupts.fatal():
        import mcp.client.agent  # noqa: F401 - before threads do, in which Ctrl-C cannot end it

    open_agents: list[AgentClient] = []

    def one(node: Node) -> NodeAnswer[T]:
        try:
            with session.agent(node) as agent:
                open_agents.append(agent)
                return NodeAnswer(node, ask(agent), None)
        except McpError as error:
            return NodeAnswer(node, None, error)

    limit = "" if changes else f" (up to {in_seconds(session.patience.query)} s)"
    with ThreadPoolExecutor(min(AT_ONCE, max(1, len(nodes)))) as pool:
        answers = {pool.submit(one, node): node for node in nodes}
        try:
            _await(answers, limit, early)
            return _with_one_refusal([answer.result() for answer in answers])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for agent in open_agents:  # else the pool would wait for the slowest node
                agent.close()
            raise


def _await(
    answers: Mapping["Future[NodeAnswer[T]]", Node],
    limit: str,
    early: Callable[[Sequence[NodeAnswer[T]]], None] | None,
) -> None:
    """Wait for all answers; after WORTH_SAYING seconds name the silent nodes and pass on the values of the others."""
    done, silent = wait(answers, output.WORTH_SAYING)
    with output.waiting() as line:
        while silent:
            values = [answer.result() for answer in answers if answer in done]
            if early is not None and any(answer.error is None for answer in values):
                line.clear()
                early([answer for answer in values if answer.error is None])
            line.show(
                f"waiting for {', '.join(answers[answer].name for answer in answers if answer in silent)}{limit}…"
            )
            done, silent = wait(silent, return_when=FIRST_COMPLETED)


def _with_one_refusal(answers: list[NodeAnswer[T]]) -> list[NodeAnswer[T]]:
    """Return the answers; raises Unauthenticated once if every node rejects the token."""
    errors = [answer.error for answer in answers if isinstance(answer.error, Unauthenticated)]
    if errors and len(errors) == len(answers):
        raise errors[0]
    return answers
