"""The results that end the events of an operation."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from mcp.commands.shared.steps import results
from mcp.shared.errors import Unreachable
from proto.mcp.v1 import mcp_pb2 as pb

AGENT: Any = SimpleNamespace(node=SimpleNamespace(name="rift"))
DONE = pb.ComponentResult(name="api", success=True)


def events(after: list[str], *, lost: bool = False) -> Iterator[pb.DeployEvent]:
    yield pb.DeployEvent(response=pb.DeployResponse(results=[DONE]))
    after.append("read")
    if lost:
        raise Unreachable("the connection is lost", node="rift")


def test_a_call_is_read_to_its_end_since_the_agent_would_log_it_as_cancelled() -> None:
    after: list[str] = []
    assert list(results(AGENT, events(after), "web", quiet=True)) == [DONE]
    assert after == ["read"]


def test_a_connection_lost_after_the_results_changes_nothing() -> None:
    assert list(results(AGENT, events([], lost=True), "web", quiet=True)) == [DONE]
