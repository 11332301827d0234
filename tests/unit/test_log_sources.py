"""What `podman inspect` says of a container, as followers are told of it."""

from datetime import UTC, datetime

import pytest

from agent.logs.sources import seen
from agent.store.components import ComponentRow
from mcp.shared.spec import ComponentSpec

NEVER = "0001-01-01T00:00:00Z"
BEGAN, BEFORE, AFTER = (f"2026-11-23T00:02:59.{digits}Z" for digits in ("413287264", "200019322", "907313116"))
ROW = ComponentRow(
    "web", "api", "web-api", ComponentSpec("api", "localhost/web:1.0.0"), "running", datetime(2026, 11, 22, tzinfo=UTC)
)


def code(status: str, exit_code: int, finished: str | None, started: str = BEGAN) -> int | None:
    state: dict[str, object] = {"Status": status, "ExitCode": exit_code, "StartedAt": started}
    state |= {} if finished is None else {"FinishedAt": finished}
    return seen(ROW, {"Name": "web-api", "State": state}).exit_code


@pytest.mark.parametrize("status", ["created", "exited"])  # after a reboot, as podman 4.3 and 5.4 have it
@pytest.mark.parametrize("finished", [NEVER, BEFORE], ids=["first run", "a later run"])
def test_a_run_that_a_power_cut_ended_has_no_exit_code(status: str, finished: str) -> None:
    assert code(status, 0, finished) is None


def test_a_container_that_never_ran_has_no_exit_code() -> None:
    assert code("created", 0, NEVER, NEVER) is None


def test_a_run_that_ended_has_its_exit_code() -> None:
    assert code("exited", 0, AFTER) == 0
    assert code("exited", 137, AFTER) == 137
    assert code("exited", 1, BEFORE) == 1, "one that fails at once may have ended before podman had noted its start"
    assert code("exited", 0, "2026-11-23T01:02:59.907313116+01:00") == 0
    assert code("exited", 0, None) == 0
