"""Events as the CLI shows them."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from mcp.client import events
from mcp.client.events import NodeEvent
from proto.mcp.v1 import mcp_pb2 as pb

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def event(node: str = "rift", seconds: int = 0, number: int = 1, **more: str) -> NodeEvent:
    """An event so many seconds after noon."""
    fields = {"service": "web", "component": "api", "prev_state": "running", "new_state": "exited", **more}
    info = pb.EventInfo(number=number, **fields)  # type: ignore[arg-type]
    info.timestamp.FromDatetime(NOON + timedelta(seconds=seconds))
    return NodeEvent(node, info)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (event(), "2026-01-31 12:00:00Z  rift  web/api: running -> exited"),
        (event(detail="exit code 3"), "2026-01-31 12:00:00Z  rift  web/api: running -> exited  (exit code 3)"),
        (event(prev_state="", new_state="running"), "2026-01-31 12:00:00Z  rift  web/api: running"),
        (event(new_state="running", detail="restarted"), "2026-01-31 12:00:00Z  rift  web/api: running  (restarted)"),
    ],
)
def test_for_people(given: NodeEvent, text: str) -> None:
    assert given.as_text() == text
    assert given.as_text(with_node=False) == text.replace("rift  ", "")


def test_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    events.show([event(prev_state="", detail="a\nb")], as_json=True)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "time": "2026-01-31T12:00:00+00:00",
        "node": "rift",
        "service": "web",
        "component": "api",
        "from": None,
        "to": "exited",
        "detail": "a\nb",
        "number": 1,
    }


def test_merged_by_time_over_nodes() -> None:
    mixed = [event("b", 5, 1), event("b", 7, 2), event("a", 6, 1), event("a", 7, 3), event("a", 7, 2)]
    assert [(one.node, one.event.number) for one in events.merged(mixed)] == [
        ("b", 1),
        ("a", 1),
        ("a", 2),
        ("a", 3),
        ("b", 2),
    ]
