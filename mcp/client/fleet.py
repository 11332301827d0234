"""One call on many nodes at once; failures are gathered, not thrown."""

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
    ERROR = "error"  # it answered with something else


@dataclass(frozen=True)
class NodeAnswer(Generic[T]):
    """What one node answered: a value, or the error that stood in its way."""

    node: Node
    value: T | None
    error: McpError | None

    @property
    def state(self) -> AnswerState:
        """The node's state as far as this answer tells."""
        if self.error is None:
            return AnswerState.READY
        return AnswerState.UNREACHABLE if isinstance(self.error, Unreachable) else AnswerState.ERROR

    @property
    def is_reachable(self) -> bool:
        """Return True where an agent answers, even if it refuses us."""
        return self.state is not AnswerState.UNREACHABLE


def ask_all(session: Session, nodes: Sequence[Node], ask: "Callable[[AgentClient], T]") -> list[NodeAnswer[T]]:
    """Ask every node at once; answers come in the nodes' order. Raises Unauthenticated where all refuse the token."""
    session.token  # noqa: B018 - a missing token is one error, not one for each node
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
            for agent in open_agents:  # else the pool would wait for the slowest of them
                agent.close()
            raise


def _with_one_refusal(answers: list[NodeAnswer[T]]) -> list[NodeAnswer[T]]:
    """The answers; a token that has expired everywhere is one error as well, as a missing one is."""
    errors = [answer.error for answer in answers if isinstance(answer.error, Unauthenticated)]
    if errors and len(errors) == len(answers):
        raise errors[0]
    return answers
