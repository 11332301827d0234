"""Logs of a node across lost connections, without lost or repeated lines."""

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

FIRST_DELAY, LAST_DELAY = 0.2, 5.0  # seconds before the first reconnection attempt, and at most between two


class NodeLogs:
    """The logs of a node that a query selects."""

    def __init__(self, session: Session, node: Node, query: LogsQuery, *, reconnect: bool) -> None:
        """Prepare a query; with `reconnect`, a broken follow stream resumes where it broke off."""
        self.node, self.query = node, query
        self.answered = False
        self._session = session
        self._reconnect = reconnect and query.follow
        self._size = 0
        self._cursors: dict[tuple[str, str], pb.LogCursor] = {}
        self._agent: AgentClient | None = None
        self._closed = False

    def close(self) -> None:
        """Close the connection; `blocks` in another thread then fails."""
        self._closed = True
        if self._agent is not None:
            self._agent.close()

    def blocks(self) -> "Generator[pb.LogsResponse | str]":
        """Yield blocks, and a text when the connection is lost or restored; raises McpError."""
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
        """Yield blocks until this connection ends."""
        # a new channel each time: a failed one waits for seconds before it reconnects
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
        what = f"connection lost after {size_text(self._size)} of logs"
        return Unreachable(what, "the output is incomplete: run the command again", node=self.node.name)
