"""What is brought up, in which order: the pure decisions."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.monitor.state import Boot
from agent.podman.output import Container
from agent.services.plan import NodeState, recover
from agent.services.recover import stages
from agent.store.components import Run
from agent.store.registry import ComponentRow
from mcp.shared.spec import ComponentSpec
from mcp.shared.states import DesiredState

BOOTED = datetime(2026, 1, 2, tzinfo=UTC)
BEFORE, SINCE = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)


def row(service: str = "web", name: str = "api", desired: str = "running", restart: str = "always") -> ComponentRow:
    spec = ComponentSpec(name=name, image="localhost/x:1", restart=restart)
    return ComponentRow(service, name, f"{service}-{name}", spec, DesiredState(desired), BEFORE, deploy=7)


def container(
    state: str, started: datetime | None = BEFORE, name: str = "web-api", deploy: int = 7, code: int = 0
) -> Container:
    labels, exited = {"mcp.deploy": str(deploy)}, state == "exited"
    return Container("id", name, "localhost/x:1", state, code, started, labels, exited=exited)


def names(rows: list[ComponentRow], order: list[list[str]]) -> list[list[list[str]]]:
    return [[[f"{row.service}/{row.name}" for row in rows] for rows in stage] for stage in stages(rows, order)]


def test_services_that_no_stage_names_come_last() -> None:
    rows = [row("a"), row("dns"), row("dns", "b"), row("id"), row("z")]
    assert names(rows, [["id", "dns"], ["nowhere"], ["z"]]) == [
        [["id/api"], ["dns/api", "dns/b"]],
        [["z/api"]],
        [["a/api"]],
    ]
    assert names(rows, []) == [[["a/api"], ["dns/api", "dns/b"], ["id/api"], ["z/api"]]]
    assert names([], [["id"]]) == []


@pytest.mark.parametrize(
    ("restart", "state", "started", "expected"),
    [
        ("always", "running", SINCE, "none"),
        ("always", "restarting", SINCE, "none"),
        ("always", "paused", SINCE, "none"),
        ("always", "exited", SINCE, "start"),
        ("unless-stopped", "exited", BEFORE, "start"),
        ("unless-stopped", "created", BEFORE, "start"),
        ("unless-stopped", "created", None, "start"),
        ("no", "exited", BEFORE, "start"),
        ("no", "exited", SINCE, "none"),
        ("on-failure:3", "exited", SINCE, "none"),
        ("on-failure", "created", SINCE, "start"),
    ],
)
def test_what_brings_a_container_up(restart: str, state: str, started: datetime | None, expected: str) -> None:
    assert action(row(restart=restart), container(state, started)) == expected
    for desired in ("stopped", "ignore"):
        assert action(row(restart=restart, desired=desired), container(state, started)) == "none"


@pytest.mark.parametrize("restart", ["no", "on-failure", "on-failure:3"])
def test_a_job_that_failed_is_started_on_request_only(restart: str) -> None:
    failed = container("exited", SINCE, code=3)
    assert action(row(restart=restart), failed) == "start"
    assert action(row(restart=restart), failed, automatic=True) == "none"
    assert action(row(restart=restart), container("exited", BEFORE, code=3), automatic=True) == "start"
    assert action(row(), failed, automatic=True) == "start"


LATER_BOOT = Boot(SINCE + timedelta(days=1))  # what the clock says once it was set forward by days


@pytest.mark.parametrize(("code", "automatic"), [(0, False), (0, True), (3, True)])
def test_a_job_that_is_written_down_does_not_run_again_after_the_clock_was_set(code: int, *, automatic: bool) -> None:
    job, ended = row(restart="no"), container("exited", SINCE, code=code)
    unrecorded = recover(job, NodeState([job], [ended], {}, LATER_BOOT), automatic=automatic)
    assert unrecorded is not None, "all there is to go by is the clock"
    boot = replace(LATER_BOOT, ended=frozenset({Run("id", SINCE)}))
    assert recover(job, NodeState([job], [ended], {}, boot), automatic=automatic) is None
    again = replace(ended, started=SINCE + timedelta(hours=1))
    assert recover(job, NodeState([job], [again], {}, boot), automatic=automatic) is not None, "another run"


def test_an_exit_that_podman_has_not_seen_is_no_completed_job() -> None:
    assert action(row(restart="no"), replace(container("exited", SINCE), exited=False)) == "start"


def action(row: ComponentRow, *containers: Container, automatic: bool = False) -> str:
    """What recovery would do for a component."""
    change = recover(row, NodeState([row], containers, {}, Boot(BOOTED)), automatic=automatic)
    return "none" if change is None else str(change.action)


def test_a_container_that_is_gone_is_made_again_unless_it_should_not_run() -> None:
    assert action(row()) == "create"
    assert action(row(desired="stopped")) == "none"


def test_what_an_interrupted_deploy_left_is_cleaned_up_on_the_way() -> None:
    new, old = container("running", deploy=8), container("exited", name="web-api.old")
    assert action(row(), new) == "none"
    assert action(row(), new, old) == "start"
    kept = container("running", deploy=7)
    assert action(row(), kept, old) == "clean up"
    assert action(row(), old) == "start"
    assert action(row(desired="stopped"), old) == "clean up"
