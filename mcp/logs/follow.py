"""The logs of one node, across lost connections: no line is lost, and none comes twice."""

import time
from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING

from mcp.client.logs_query import LogsQuery
from mcp.client.session import Session
from mcp.config.configuration import Node
from mcp.shared.errors import McpError, Unavailable, Unreachable
from mcp.terminal.output import size_text

if TYPE_CHECKING:
    from mcp.client.agent import AgentClient
    from proto.mcp.v1 import mcp_pb2 as pb

FIRST_DELAY, LAST_DELAY = 0.2, 5.0  # seconds from a lost connection to the first attempt, and between two at most


class NodeLogs:
    """The answer of one node to a query."""

    def __init__(self, session: Session, node: Node, query: LogsQuery, *, reconnect: bool) -> None:
        """With `reconnect`, a stream that follows and breaks is taken up again where it broke off."""
        self.node, self.query = node, query
        self.answered = False
        self._session = session
        self._reconnect = reconnect and query.follow
        self._size = 0
        self._cursors: dict[tuple[str, str], pb.LogCursor] = {}
        self._agent: AgentClient | None = None
        self._closed = False

    def close(self) -> None:
        """End the connection; `blocks` under way in another thread fails."""
        self._closed = True
        if self._agent is not None:
            self._agent.close()

    def blocks(self) -> "Generator[pb.LogsResponse | str]":
        """Blocks as they come; a text says that the connection was lost, or is there again. Raises McpError."""
        delay, lost = FIRST_DELAY, False
        while not self._closed:
            try:
                for block in self._connection():
                    if lost:
                        yield f"{self.node.name}: reconnected"
                        delay, lost = FIRST_DELAY, False
                    yield block
                return
            except (Unreachable, Unavailable) as error:
                if not (self._reconnect and self.answered):
                    raise self._broken(error) from None
            if not lost and not self._closed:
                yield f"{self.node.name}: connection lost, reconnecting"
                lost = True
            time.sleep(delay)
            delay = min(2 * delay, LAST_DELAY)

    def _connection(self) -> "Generator[pb.LogsResponse]":
        """Blocks until this connection ends."""
        # a channel of its own each time: one that failed waits seconds before it tries again
        with self._session.agent(self.node) as agent:
            self._agent = agent
            with closing(agent.logs(self.query, self._cursors.values())) as blocks:
                for block in blocks:
                    self._note(block)
                    yield block

    def _note(self, block: "pb.LogsResponse") -> None:
        self.answered = True
        self._size += len(block.data)
        for cursor in block.cursors:
            self._cursors[cursor.service, cursor.component] = cursor

    def _broken(self, error: McpError) -> McpError:
        if not self.answered:
            return error
        what = f"the connection was lost after {size_text(self._size)} of logs"
        return Unreachable(what, "what followed is missing: run the command again", node=self.node.name)
