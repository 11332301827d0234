"""Concurrent calls to several nodes; errors are collected per node."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, TypeVar

from mcp.client.session import Session
from mcp.config.configuration import Node
from mcp.shared.errors import McpError, Unauthenticated, Unreachable

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


def ask_all(session: Session, nodes: Sequence[Node], ask: "Callable[[AgentClient], T]") -> list[NodeAnswer[T]]:
    """Call all nodes concurrently; return answers in the order of nodes. Raises Unauthenticated if all reject us."""
    session.token  # noqa: B018 - a missing token is one error, not one per node
    session.ca  # noqa: B018

    open_agents: list[AgentClient] = []

    def one(node: Node) -> NodeAnswer[T]:
        try:
            with session.agent(node) as agent:
                open_agents.append(agent)
                return NodeAnswer(node, ask(agent), None)
        except McpError as error:
            return NodeAnswer(node, None, error)

    if len(nodes) <= 1:
        return _with_one_refusal([one(node) for node in nodes])
    with ThreadPoolExecutor(min(AT_ONCE, len(nodes))) as pool:
        answers = [pool.submit(one, node) for node in nodes]
        try:
            return _with_one_refusal([answer.result() for answer in answers])
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for agent in open_agents:  # else the pool would wait for the slowest node
                agent.close()
            raise


def _with_one_refusal(answers: list[NodeAnswer[T]]) -> list[NodeAnswer[T]]:
    """Return the answers; raises Unauthenticated once if every node rejects the token."""
    errors = [answer.error for answer in answers if isinstance(answer.error, Unauthenticated)]
    if errors and len(errors) == len(answers):
        raise errors[0]
    return answers
