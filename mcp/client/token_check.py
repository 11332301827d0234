"""Ask nodes if they know a token, for advice about one that a node rejects."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mcp.config.configuration import Node
from mcp.shared.errors import McpError, Unauthenticated

if TYPE_CHECKING:
    from mcp.client.agent import AgentClient

AT_ONCE = 50
SECONDS = 3.0  # for all answers together: the check is only for advice


@dataclass
class TokenVerdicts:
    """The nodes that accept a token and those that do not know it, in the order of their answers."""

    accepted: list[Node] = field(default_factory=list)
    rejected: list[Node] = field(default_factory=list)


def ask(connect: "Callable[[Node], AgentClient]", nodes: Sequence[Node], *, first: bool = False) -> TokenVerdicts:
    """Ask nodes concurrently, with the token of the clients that `connect` returns.

    Nodes that do not answer in time are in neither list. With `first`, one that accepts it is enough.
    """
    verdicts, opened = TokenVerdicts(), list["AgentClient"]()
    if not nodes:
        return verdicts

    def one(node: Node) -> bool:
        with connect(node) as agent:
            opened.append(agent)
            agent.who_am_i()
        return True

    pool = ThreadPoolExecutor(min(AT_ONCE, len(nodes)))
    asked = {pool.submit(one, node): node for node in nodes}
    end = time.monotonic() + SECONDS
    try:
        while asked and not (first and verdicts.accepted) and (left := end - time.monotonic()) > 0:
            for answer in wait(asked, left, FIRST_COMPLETED).done:
                _sort(verdicts, asked.pop(answer), answer)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for agent in opened:  # else the pool's threads would wait for the slowest node
            agent.close()
    return verdicts


def _sort(verdicts: TokenVerdicts, node: Node, answer: "Future[bool]") -> None:
    try:
        answer.result()
    except Unauthenticated:
        verdicts.rejected.append(node)
    except McpError:
        return  # it says nothing about the token
    else:
        verdicts.accepted.append(node)
