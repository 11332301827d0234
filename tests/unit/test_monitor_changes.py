"""What the monitor makes of its rounds, with a clock of the tests' own."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from agent.config import MonitorConfig
from agent.monitor.changes import NO_REPAIRS, NOTHING, ChangeDetector, Moment, Observations, Repairs
from agent.monitor.healing import Key
from agent.monitor.state import Boot, Observed, observe
from agent.podman.output import Container
from agent.store.alerts import Alert, AlertKind, SentAlert
from agent.store.registry import ComponentRow, Registered
from mcp.shared.spec import ComponentSpec
from mcp.shared.states import DesiredState

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
RULES = MonitorConfig(interval=60, cooldown=900, flap_threshold=3, flap_window=600)


def component(state: str = "running", desired: str = "running", name: str = "api", **facts: object) -> Observed:
    """A component of web in a state; removed: without a container."""
    row = ComponentRow("web", name, f"web-{name}", ComponentSpec(name, "localhost/web:1"), DesiredState(desired), START)
    values: dict[str, object] = {"identifier": "id", "started": START, "exit_code": 0, **facts}
    container = Container(
        name=f"web-{name}",
        image="localhost/web:1",
        state=state,
        **values,  # type: ignore[arg-type]
    )
    return observe(Registered((row,)), [] if state == "removed" else [container], Boot(START))[0]


class Rounds:
    """A watch, and a clock that goes on by a minute each round."""

    def __init__(self, rules: MonitorConfig = RULES, last: dict[tuple[str, str], str] | None = None) -> None:
        self.rules = rules
        self.now = START
        self.clock = 1000.0
        self.watch = ChangeDetector(rules, Moment(self.now, self.clock), last or {})
        self.sent: dict[str, SentAlert] = {}  # what the registry keeps

    def restart(self, minutes: float = 1, clock: float = 50.0) -> None:
        """An agent that starts after so many minutes, with a monotonic clock of its own."""
        self.now += timedelta(minutes=minutes)
        self.clock = clock
        self.watch = ChangeDetector(self.rules, Moment(self.now, clock), {}, self.sent.values())

    def see(
        self,
        *observed: Observed,
        minutes: float = 1,
        worked_on: Sequence[str] = (),
        busy: Sequence[str] = (),
        doubtful: bool = False,
        repairs: Repairs = NO_REPAIRS,
        pending: Mapping[Key, str] = NOTHING,
    ) -> Observations:
        """The next round."""
        self.now += timedelta(minutes=minutes)
        self.clock += minutes * 60
        moment = Moment(self.now, self.clock)
        verdict = self.watch.round(
            observed,
            moment,
            worked_on=set(worked_on),
            busy=set(busy),
            doubtful=doubtful,
            repairs=repairs,
            pending=pending,
        )
        for alert in verdict.alerts:
            self.sent.pop(alert.component, None)
            if alert.kind is not AlertKind.RESOLVED:
                self.sent[alert.component] = SentAlert(alert, self.now)
        return verdict


def changes(verdict: Observations) -> list[tuple[str, str, str]]:
    """The events of a round, as (before, after, detail)."""
    return [(event.previous, event.state, event.detail) for event in verdict.events]


def kinds(verdict: Observations) -> list[str]:
    """The alerts of a round."""
    return [alert.kind for alert in verdict.alerts]


def test_what_stays_as_it_is_is_no_event() -> None:
    rounds = Rounds()
    assert changes(rounds.see(component())) == [("", "running", "")]
    assert rounds.see(component()) == Observations((), ())


def test_a_container_that_ends_is_an_event_and_drift() -> None:
    rounds = Rounds()
    rounds.see(component())
    verdict = rounds.see(component("exited", exit_code=3))
    assert changes(verdict) == [("running", "exited", "exit code 3")]
    assert verdict.alerts == (Alert("web", "api", AlertKind.DRIFT, "running", "exited", "exit code 3", rounds.now),)


def test_somebody_is_told_once_in_a_cooldown_and_again_after_it() -> None:
    rounds = Rounds()
    first = rounds.see(component("exited")).alerts[0]
    told = [kinds(rounds.see(component("exited"))) for _ in range(20)]
    assert [index for index, each in enumerate(told, 1) if each] == [15]
    rounds.see(component())
    again = rounds.see(component("exited"), minutes=20).alerts[0]
    assert first.since < again.since == rounds.now


def test_drift_that_is_over_is_taken_back_and_told_again_when_it_returns() -> None:
    rounds = Rounds()
    (drift,) = rounds.see(component("exited", exit_code=3)).alerts
    rounds.see(component("exited", exit_code=3), minutes=10)
    (over,) = rounds.see(component()).alerts
    assert over == Alert(
        "web", "api", AlertKind.RESOLVED, "running", "running", "drift is over after 11m: exit code 3", drift.since
    )
    assert kinds(rounds.see(component())) == [], "once"
    assert kinds(rounds.see(component("exited"))) == ["drift"], "else the last word would be that all is well"


def test_drift_that_ends_while_no_agent_runs_is_taken_back() -> None:
    rounds = Rounds()
    (drift,) = rounds.see(component("exited", exit_code=3)).alerts
    rounds.restart(minutes=10)
    (over,) = rounds.see(component()).alerts
    assert (over.kind, over.since) == ("resolved", drift.since)
    assert over.detail == "drift is over after 11m: exit code 3"
    assert kinds(rounds.see(component())) == [], "once"


def test_drift_that_lasts_is_told_again_after_its_cooldown_whenever_the_agent_starts() -> None:
    rounds = Rounds()
    (first,) = rounds.see(component("exited")).alerts
    rounds.restart(minutes=10)
    assert kinds(rounds.see(component("exited"))) == []
    (again,) = rounds.see(component("exited"), minutes=4).alerts
    assert again.since == first.since


def test_a_wall_clock_that_was_set_back_meanwhile_only_begins_the_cooldown_anew() -> None:
    rounds = Rounds()
    rounds.see(component("exited"))
    rounds.restart(minutes=-10_000)
    assert [kinds(rounds.see(component("exited"))) for _ in range(15)][-1] == ["drift"]


def test_what_is_gone_when_the_agent_starts_is_over() -> None:
    rounds = Rounds()
    rounds.see(component("exited"), component(name="work"))
    rounds.restart()
    verdict = rounds.see(component(name="work"))
    assert [(alert.kind, alert.component, alert.observed) for alert in verdict.alerts] == [
        ("resolved", "api", "removed")
    ]


def test_flapping_goes_on_across_a_restart_of_the_agent_until_its_window_is_over() -> None:
    rounds = Rounds()
    for number in range(1, 4):
        rounds.see(component(restarts=number))
    assert kinds(rounds.see(component(restarts=4))) == ["flapping"]
    rounds.restart()
    assert [kinds(rounds.see(component(restarts=4))) for _ in range(7)] == [[]] * 7
    assert kinds(rounds.see(component(restarts=4), minutes=3)) == ["resolved"]


def test_what_was_never_told_is_not_taken_back() -> None:
    rounds = Rounds()
    rounds.see(component("exited"), busy=["web"])
    assert rounds.see(component()).alerts == ()


def test_nothing_is_taken_back_while_an_operation_is_in_progress() -> None:
    rounds = Rounds()
    rounds.see(component("exited"))
    assert kinds(rounds.see(component(), busy=["web"])) == []
    assert kinds(rounds.see(component())) == ["resolved"]


@pytest.mark.parametrize(
    "after", [component("exited", "stopped"), component("exited", "ignore")], ids=["stopped", "ignored"]
)
def test_what_is_no_longer_wanted_is_over(after: Observed) -> None:
    rounds = Rounds()
    rounds.see(component("exited"))
    (over,) = rounds.see(after).alerts
    assert (over.kind, over.observed, over.detail) == ("resolved", after.state, "drift is over after 1m: exit code 0")


def test_flapping_that_is_over_is_taken_back() -> None:
    rounds = Rounds()
    for number in range(4):
        last = rounds.see(component(restarts=number))
    assert kinds(last) == ["flapping"]
    assert kinds(rounds.see(component(restarts=3), minutes=8)) == []
    (over,) = rounds.see(component(restarts=3), minutes=2).alerts
    assert (over.kind, over.detail) == ("resolved", "flapping is over after 12m: flapping: 3 changes within 10m")


KEY = ("web", "api")
STARTED = "started by the agent after exit code 3 (attempt 1)"


def test_a_container_that_is_about_to_be_started_causes_no_alert() -> None:
    rounds = Rounds()
    rounds.see(component())
    down = rounds.see(component("exited", exit_code=3), repairs=Repairs(pending={KEY}))
    assert (changes(down), down.alerts) == ([("running", "exited", "exit code 3")], ())
    up = rounds.see(component(started=START + timedelta(minutes=2)), repairs=Repairs(done={KEY: STARTED}))
    assert (changes(up), up.alerts) == ([("exited", "running", STARTED)], ())


def test_a_component_is_judged_when_its_repair_is_done() -> None:
    rounds = Rounds()
    rounds.see(component())
    rounds.see(component("exited"), repairs=Repairs(pending={KEY}))
    assert rounds.see(component(), repairs=Repairs(in_progress={KEY})) == Observations((), ())
    assert changes(rounds.see(component(), repairs=Repairs(done={KEY: STARTED}))) == [("exited", "running", STARTED)]


def test_a_repair_is_one_change_of_flapping() -> None:
    """Whether it is seen while it is down, or between two rounds."""
    rounds = Rounds()
    rounds.see(component())
    for minute in range(1, 3):
        rounds.see(component("exited"), minutes=0.1, repairs=Repairs(pending={KEY}))
        up = component(started=START + timedelta(minutes=minute))
        assert kinds(rounds.see(up, minutes=0.1, repairs=Repairs(done={KEY: STARTED}))) == []
    up = component(started=START + timedelta(minutes=9))
    verdict = rounds.see(up, minutes=0.1, repairs=Repairs(done={KEY: STARTED}))
    assert changes(verdict)[0] == ("running", "running", STARTED)
    assert kinds(verdict) == ["flapping"]


def test_one_that_failed_again_right_after_its_repair_is_not_called_started() -> None:
    rounds = Rounds()
    rounds.see(component())
    rounds.see(component("exited", exit_code=3), repairs=Repairs(pending={KEY}))
    again = component("exited", exit_code=4, started=START + timedelta(minutes=2))
    assert changes(rounds.see(again, repairs=Repairs(done={KEY: STARTED}, pending={KEY}))) == [
        ("exited", "exited", "exit code 4")
    ]


def test_giving_up_is_an_event_and_an_alert_whatever_was_told_before() -> None:
    rounds = Rounds()
    assert kinds(rounds.see(component("exited"))) == ["drift"]
    gone = Repairs(given_up={KEY: "given up"})
    verdict = rounds.see(component("exited"), repairs=gone)
    assert changes(verdict) == [("exited", "exited", "given up")]
    assert [(alert.kind, alert.detail) for alert in verdict.alerts] == [("flapping", "given up")]
    assert rounds.see(component("exited"), repairs=gone) == Observations((), ())
    assert kinds(rounds.see(component(), minutes=20)) == ["resolved"]


PENDING = {KEY: "undo pending: no room"}


def test_a_pending_change_is_two_events_and_drift_that_is_told_once() -> None:
    rounds = Rounds()
    rounds.see(component())
    begun = rounds.see(component(), pending=PENDING)
    assert changes(begun) == [("running", "running", "undo pending: no room")]
    assert [(alert.kind, alert.detail) for alert in begun.alerts] == [("drift", "undo pending: no room")]
    other = {KEY: "undo pending: no device"}  # as the next attempt fails
    assert rounds.see(component(), pending=other) == Observations((), ())
    down = rounds.see(component("exited", exit_code=3), pending=other)
    assert (changes(down), down.alerts) == ([("running", "exited", "exit code 3")], ())
    over = rounds.see(component())
    assert changes(over) == [("exited", "running", ""), ("running", "running", "no longer pending")]
    assert kinds(over) == ["resolved"]
    assert kinds(rounds.see(component(), pending=PENDING)) == ["drift"]


def test_what_a_pending_change_causes_is_no_flapping() -> None:
    rounds = Rounds()
    rounds.see(component())
    for state in ("exited", "running", "exited"):
        rounds.see(component(state), minutes=0.1, pending=PENDING)
    over = rounds.see(component(started=START + timedelta(minutes=1)), minutes=0.1)
    assert (changes(over)[-1], kinds(over)) == (("running", "running", "no longer pending"), ["resolved"])


def test_a_pending_change_causes_no_alert_during_an_operation() -> None:
    rounds = Rounds()
    rounds.see(component())
    assert kinds(rounds.see(component(), pending=PENDING, busy=["web"])) == []
    assert kinds(rounds.see(component(), pending=PENDING)) == ["drift"]


def test_a_pending_change_of_what_is_not_registered_is_told() -> None:
    """As after a first deploy whose new container cannot be removed."""
    rounds = Rounds()
    assert kinds(rounds.see(component(desired="ignore"), pending=PENDING)) == ["drift"]
    assert kinds(rounds.see(component(desired="ignore"))) == ["resolved"]


def test_a_pending_change_that_ends_while_no_agent_runs_is_taken_back() -> None:
    rounds = Rounds()
    rounds.see(component(), pending=PENDING)
    rounds.restart()
    assert kinds(rounds.see(component())) == ["resolved"]


def test_each_component_has_a_cooldown_of_its_own() -> None:
    verdict = Rounds().see(component("exited"), component("exited", name="work"))
    assert [alert.component for alert in verdict.alerts] == ["api", "work"]


def test_drift_counts_from_when_it_began() -> None:
    rounds = Rounds()
    rounds.see(component("exited"), busy=["web"])
    began = rounds.now
    assert rounds.see(component("exited")).alerts[0].since == began


def test_what_was_stopped_and_what_is_not_ours_does_not_drift() -> None:
    rounds = Rounds()
    assert rounds.see(component("exited", "stopped"), component("exited", "ignore", "other")).alerts == ()


def test_what_runs_and_should_not_drifts() -> None:
    assert kinds(Rounds().see(component("running", "stopped"))) == ["drift"]


def test_an_operation_under_way_is_an_event_and_no_alert() -> None:
    rounds = Rounds()
    rounds.see(component())
    verdict = rounds.see(component("removed"), busy=["web"], worked_on=["web"])
    assert changes(verdict) == [("running", "removed", "")]
    assert verdict.alerts == ()
    assert kinds(rounds.see(component("removed"))) == ["drift"]


def test_restarts_count_where_podman_counts_them() -> None:
    rounds = Rounds()
    rounds.see(component(restarts=1))
    verdict = rounds.see(component(restarts=6, started=START + timedelta(seconds=50)))
    assert changes(verdict) == [
        ("running", "running", "restarted 5 times"),
        ("running", "running", "flapping: 5 changes within 10m"),
    ]
    assert [(alert.kind, alert.detail) for alert in verdict.alerts] == [("flapping", "flapping: 5 changes within 10m")]


def test_restarts_count_where_only_the_start_changes() -> None:
    rounds = Rounds()
    seen = [rounds.see(component(started=START + timedelta(minutes=minute))) for minute in range(6)]
    assert [changes(verdict) for verdict in seen] == [
        [("", "running", "")],
        [("running", "running", "restarted")],
        [("running", "running", "restarted")],
        [("running", "running", "restarted"), ("running", "running", "flapping: 3 changes within 10m")],
        [],
        [],
    ]
    assert [kinds(verdict) for verdict in seen] == [[], [], [], ["flapping"], [], []]


def test_it_flaps_no_more_when_the_window_has_passed() -> None:
    rounds = Rounds()
    for minute in range(4):
        rounds.see(component(started=START + timedelta(minutes=minute)))
    assert rounds.see(component(started=START + timedelta(minutes=3)), minutes=8).events == ()
    verdict = rounds.see(component(started=START + timedelta(minutes=3)), minutes=1)
    assert changes(verdict) == [("running", "running", "stable again")]


def test_changes_too_far_apart_are_no_flapping() -> None:
    rounds = Rounds()
    for minute in range(20):
        verdict = rounds.see(component(started=START + timedelta(minutes=minute)), minutes=6)
        assert verdict.alerts == ()


def test_up_and_down_is_flapping() -> None:
    rounds = Rounds(MonitorConfig(flap_threshold=3, cooldown=0))
    told = [kinds(rounds.see(component(state))) for state in ("running", "exited", "running", "exited", "running")]
    assert told == [[], ["drift"], ["resolved"], ["flapping"], ["flapping"]]


def test_what_operators_do_is_no_flapping() -> None:
    rounds = Rounds()
    for minute in range(10):
        verdict = rounds.see(component(started=START + timedelta(minutes=minute)), worked_on=["web"])
        assert verdict.alerts == ()


def test_another_container_is_an_event_and_no_restart() -> None:
    rounds = Rounds()
    rounds.see(component(identifier="one", restarts=7))
    for number in range(5):
        verdict = rounds.see(component(identifier=f"new{number}", started=START + timedelta(minutes=number)))
        assert changes(verdict) == [("running", "running", "new container")]
        assert verdict.alerts == ()


def test_undeployed_is_removed_and_forgotten() -> None:
    rounds = Rounds()
    rounds.see(component("exited"))
    verdict = rounds.see()
    assert changes(verdict) == [("exited", "removed", "no longer registered")]
    assert [(alert.kind, alert.observed) for alert in verdict.alerts] == [("resolved", "removed")]
    assert rounds.see() == Observations((), ())
    assert kinds(rounds.see(component("exited"))) == ["drift"]


def test_in_doubt_nothing_is_removed() -> None:
    rounds = Rounds()
    rounds.see(component(), component("exited", "ignore", "stray"))
    verdict = rounds.see(component("removed"), doubtful=True)
    detail = "podman lists no containers after a failure"
    assert changes(verdict) == [("running", "unknown", detail)]
    assert [(alert.kind, alert.observed, alert.detail) for alert in verdict.alerts] == [("drift", "unknown", detail)]
    assert rounds.see(component("removed"), doubtful=True) == Observations((), ())
    assert changes(rounds.see(component(), component("exited", "ignore", "stray"))) == [("unknown", "running", "")]


def test_what_was_removed_before_the_doubt_stays_removed() -> None:
    rounds = Rounds()
    rounds.see(component("removed"))
    assert rounds.see(component("removed"), doubtful=True).events == ()


def test_a_new_agent_goes_on_from_what_the_last_one_wrote() -> None:
    last = {("web", "api"): "running", ("old", "api"): "removed", ("gone", "api"): "running"}
    verdict = Rounds(last=last).see(component("exited"))
    assert [(event.service, event.previous, event.state) for event in verdict.events] == [
        ("web", "running", "exited"),
        ("gone", "running", "removed"),
    ]
    assert Rounds(last={("web", "api"): "running"}).see(component()) == Observations((), ())


def test_labels_of_another_component_do_not_hide_it() -> None:
    stray = component("exited", "ignore")
    verdict = Rounds().see(component(), stray)
    assert changes(verdict) == [("", "running", "")]


def test_unhealthy_is_degraded_and_drift() -> None:
    verdict = Rounds().see(component(health="unhealthy"))
    assert changes(verdict) == [("", "degraded", "unhealthy")]
    assert kinds(verdict) == ["drift"]
    assert changes(Rounds().see(component("paused"))) == [("", "degraded", "paused")]


@pytest.mark.parametrize("set_by", [timedelta(days=365), timedelta(days=-365)], ids=["forward", "back"])
def test_a_wall_clock_that_is_set_changes_neither_cooldown_nor_flapping(set_by: timedelta) -> None:
    rounds = Rounds()
    for number in range(4):
        last = rounds.see(component(restarts=number))
    assert kinds(last) == ["flapping"]
    rounds.now += set_by
    assert rounds.see(component(restarts=3)) == Observations((), ())
    assert kinds(rounds.see(component("exited", restarts=3), minutes=13)) == []
    (told,) = rounds.see(component("exited", restarts=3)).alerts
    assert (told.kind, told.since) == ("drift", rounds.now - timedelta(minutes=1))
