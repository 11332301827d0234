"""When the agent repairs a component, with a clock of the tests' own."""

from collections.abc import Iterator, Set
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.config import MonitorConfig
from agent.monitor.healing import DELAYS, Healing, Remedy, Repair
from agent.podman.inspect import ContainerDetails, HealthCheck
from agent.podman.output import Container
from agent.store.registry import ComponentRow
from mcp.shared.spec import ComponentSpec
from mcp.shared.states import DesiredState

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
KEY = ("web", "api")
ROW = ComponentRow(*KEY, "web-api", ComponentSpec("api", "localhost/web:1"), DesiredState.RUNNING, START)
UP = Container("id", "web-api", "localhost/web:1", "running", 0, START)
DOWN = replace(UP, state="exited", exit_code=3)
ILL = replace(UP, health="unhealthy")
CHECK = HealthCheck(("CMD", "true"), interval=10, retries=3)
ENDED = ContainerDetails("id", "web-api", "exited", 3, started=START.timestamp() + 500, ended=START.timestamp() + 600)
RULES = MonitorConfig()
UNHEALTHY = ContainerDetails("id", "web-api", "running", 0, health="unhealthy", check=CHECK)


class Story:
    """A component and what the agent makes of it, as time passes."""

    def __init__(self, row: ComponentRow = ROW, rules: MonitorConfig = RULES) -> None:
        self.healing = Healing(rules)
        self.row = row
        self.now = 1000.0
        self.down = ENDED

    def see(self, container: Container | None, *, after: float = 0.0, **more: Set[Any]) -> Repair | None:
        """The repair that is due where the component is seen like this, some seconds later."""
        self.now += after
        containers = {container.name: container} if container else {}
        known = UNHEALTHY if container is not None and container.running else self.down
        details = dict.fromkeys(self.healing.suspects([self.row], containers), known)
        repairs = self.healing.round([self.row], containers, details, self.now, **more)
        return repairs[0] if repairs else None

    def repaired(self, container: Container = DOWN, *, within: float = 400.0) -> float:
        """Seconds until a failed component is repaired, which has no lasting effect."""
        began = self.now
        while (repair := self.see(container)) is None:
            assert self.now < began + within, "it is not repaired"
            self.now += 0.5
        self.healing.finished(repair.key, was_needed=True)
        return self.now - began


def with_policy(restart: str) -> ComponentRow:
    return replace(ROW, spec=replace(ROW.spec, restart=restart))


def test_what_runs_and_what_is_stopped_is_left_alone() -> None:
    stopped = replace(ROW, desired_state=DesiredState.STOPPED)
    for row, container in ((ROW, UP), (stopped, DOWN), (ROW, None), (ROW, replace(UP, state="paused"))):
        story = Story(row)
        assert [story.see(container, after=100) for _ in range(3)] == [None] * 3
        assert not story.healing.pending


def test_one_that_ended_is_started_with_growing_delays() -> None:
    story = Story()
    story.see(UP)
    assert [story.repaired() for _ in DELAYS] == list(DELAYS)


def test_a_repair_says_why_it_is_done_and_how_often_it_was() -> None:
    story = Story()
    story.repaired()
    assert story.see(DOWN) is None
    repair = story.see(DOWN, after=2)
    assert repair == Repair(KEY, "web-api", Remedy.START, "exit code 3", 2)
    assert repair.note == "started by the agent after exit code 3 (attempt 2)"
    assert story.see(DOWN, after=100) is None, "it is in progress"
    assert story.healing.in_progress == {KEY}
    story.healing.finished(KEY, was_needed=True)
    assert story.healing.repairs == {KEY: 2}


def test_podman_may_be_faster() -> None:
    story = Story()
    assert story.see(DOWN) is None
    assert story.healing.is_due(story.now + 1)
    assert not story.healing.is_due(story.now + 0.9)
    assert story.see(UP, after=0.5) is None
    assert not story.healing.is_due(story.now + 1000)
    assert story.healing.repairs == {}


def test_one_that_podman_starts_between_two_looks_of_a_round_causes_no_alert() -> None:
    story = Story()
    story.down = replace(ENDED, state="running")
    assert story.see(DOWN) is None
    assert story.healing.pending == {KEY}
    assert not story.healing.is_due(story.now + 1000)
    story.down = replace(ENDED, state="paused")
    assert story.see(replace(DOWN, state="paused")) is None
    assert not story.healing.pending


def test_a_repair_that_was_not_needed_does_not_count() -> None:
    story = Story()
    story.see(DOWN)
    assert story.see(DOWN, after=1) is not None
    story.healing.finished(KEY, was_needed=False)
    assert story.healing.repairs == {}
    assert story.repaired() == DELAYS[0]


def test_failures_are_forgotten_once_it_has_stayed_up() -> None:
    story = Story()
    assert [story.repaired() for _ in range(3)] == [1, 2, 4]
    story.see(UP)
    story.see(UP, after=599)
    assert story.repaired() == 8
    story.see(UP)
    story.see(UP, after=600)
    assert story.repaired() == 1
    assert story.healing.repairs == {KEY: 5}


def test_it_is_given_up_when_all_delays_are_over() -> None:
    story = Story()
    for _ in DELAYS:
        story.repaired()
    assert [story.see(DOWN, after=1000) for _ in range(3)] == [None] * 3
    assert story.healing.given_up == {KEY: "given up after 10 attempts to repair it: exit code 3"}
    assert not story.healing.pending
    assert not story.healing.is_due(story.now + 1e6)


def test_who_tolerates_more_flapping_has_more_attempts() -> None:
    story = Story(rules=MonitorConfig(flap_threshold=12))
    assert [story.repaired() for _ in range(12)] == [*DELAYS, 300, 300]
    assert story.see(DOWN, after=1000) is None
    assert story.healing.given_up


@pytest.mark.parametrize("seen", [UP, DOWN, None])
def test_a_change_by_somebody_begins_anew(seen: Container | None) -> None:
    story = Story()
    for _ in DELAYS:
        story.repaired()
    story.see(DOWN)
    assert story.healing.given_up
    story.see(seen, worked_on={"web"})
    assert not story.healing.given_up
    assert story.healing.repairs == {}
    story.see(UP)
    assert story.repaired() == 1


def test_nothing_is_repaired_during_an_operation() -> None:
    story = Story()
    assert [story.see(DOWN, after=100, held={"web"}) for _ in range(3)] == [None] * 3
    assert story.repaired() == 1


def test_one_that_fails_again_and_again_is_no_longer_kept_from_alerts() -> None:
    story = Story(rules=MonitorConfig(flap_threshold=3))
    pending = []
    for _ in range(4):
        story.see(DOWN)
        pending.append(story.healing.pending == {KEY})
        story.repaired()
    assert pending == [True, True, True, False]


@pytest.mark.parametrize(
    ("restart", "code", "expected"),
    [
        ("always", 0, True),
        ("unless-stopped", 0, True),
        ("on-failure", 3, True),
        ("on-failure", 0, False),
        ("on-failure:2", 3, True),
        ("on-failure:2", 0, False),
        ("no", 3, False),
    ],
)
def test_the_restart_policy_decides(restart: str, code: int, expected: bool) -> None:
    story = Story(with_policy(restart))
    story.down = replace(ENDED, exit_code=code)
    story.see(DOWN)
    assert (story.see(DOWN, after=1) is not None) is expected
    assert bool(story.healing.pending) is expected


def test_a_number_of_restarts_is_an_upper_limit() -> None:
    story = Story(with_policy("on-failure:2"))
    assert [story.repaired() for _ in range(2)] == [1, 2]
    assert story.see(DOWN, after=100) is None
    assert story.healing.given_up == {}, "that is what its definition asks for"


def test_restarts_by_podman_count() -> None:
    story = Story(with_policy("on-failure:2"))
    story.see(UP)
    story.down = replace(ENDED, restarts=2)
    assert [story.see(DOWN, after=100) for _ in range(2)] == [None] * 2


def test_restarts_that_podman_failed_to_do_do_not_count() -> None:
    """As on podman 5 with pasta and a published port: the run that was seen last is the one that has ended."""
    story = Story(with_policy("on-failure:1"))
    story.see(replace(UP, started=START + timedelta(seconds=500)))
    story.down = replace(ENDED, restarts=1)
    assert story.repaired() == 1


@pytest.mark.parametrize("more", [{"heal": False}, {"restart": "no"}])
def test_it_can_be_turned_off(more: dict[str, object]) -> None:
    story = Story(replace(ROW, spec=replace(ROW.spec, **more)))  # type: ignore[arg-type]  # by name
    for container in (DOWN, ILL):
        assert [story.see(container, after=100) for _ in range(3)] == [None] * 3


def test_one_that_is_unhealthy_for_all_its_retries_is_restarted() -> None:
    story = Story()
    assert story.see(ILL) is None
    assert story.healing.pending == set(), "that is worth an alert"
    assert story.see(ILL, after=29.5) is None
    assert story.see(UP, after=0.4) is None, "it recovered"
    assert story.see(ILL, after=1) is None
    assert story.see(ILL, after=29.9) is None
    repair = story.see(ILL, after=0.2)
    assert repair == Repair(KEY, "web-api", Remedy.RESTART, "it was unhealthy for 30 s", 1)
    assert repair.note == "restarted by the agent after it was unhealthy for 30 s (attempt 1)"
    story.healing.finished(KEY, was_needed=True)
    assert story.repaired(ILL) == 30, "and again, if that did not help"


def test_an_unhealthy_one_that_ends_is_started() -> None:
    story = Story()
    story.see(ILL)
    assert story.see(DOWN, after=20) is None
    repair = story.see(DOWN, after=1)
    assert repair is not None
    assert repair.remedy is Remedy.START


def test_unhealthy_attempts_have_delays_too() -> None:
    story = Story()
    taken = [story.repaired(ILL) for _ in DELAYS]
    assert taken == [max(30, delay) for delay in DELAYS]
    story.see(ILL)
    assert story.see(ILL, after=1000) is None
    assert story.healing.given_up[KEY].startswith("given up after 10 attempts to repair it: it was unhealthy for")


def test_one_that_podman_could_not_start() -> None:
    story = Story()
    story.down = replace(ENDED, state="created", exit_code=0, started=0.0, ended=0.0)
    story.see(replace(DOWN, state="created"))
    repair = story.see(replace(DOWN, state="created"), after=1)
    assert repair is not None
    assert repair.reason == "a start that failed"


def test_what_is_no_longer_registered_is_forgotten() -> None:
    story = Story()
    story.see(DOWN)
    assert story.healing.round([], {}, {}, story.now) == []
    assert not story.healing.is_due(story.now + 1000)
    story.healing.finished(KEY, was_needed=True)
    assert story.healing.repairs == {}


def components() -> Iterator[ComponentRow]:
    for name in ("api", "work"):
        yield replace(ROW, name=name, container=f"web-{name}")


def test_components_are_independent() -> None:
    healing = Healing(MonitorConfig())
    containers = {row.container: replace(DOWN, name=row.container) for row in components()}
    details = dict.fromkeys(containers, ENDED)
    assert healing.round(list(components()), containers, details, 0) == []
    due = healing.round(list(components()), containers, details, 1)
    assert [repair.key[1] for repair in due] == ["api", "work"]


def test_one_with_a_pending_change_is_left_alone_and_its_attempts_are_kept() -> None:
    story = Story()
    story.see(UP)
    for _ in range(3):
        story.repaired()
    assert [story.see(DOWN, after=100, left={KEY}) for _ in range(3)] == [None] * 3
    assert story.repaired() == DELAYS[3]
