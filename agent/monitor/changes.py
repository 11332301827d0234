"""Detect changes, drift and flapping between monitor rounds, and decide on alerts.

Independent of clock, podman and registry: ChangeDetector gets the time and the observed states, and returns events and
alerts.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime

from agent.config import MonitorConfig
from agent.monitor.healing import Key
from agent.monitor.state import Observed, is_drift
from agent.podman.output import Container
from agent.store.alerts import Alert, AlertKind, SentAlert
from agent.store.events import Event
from mcp.shared.states import DesiredState, ObservedState
from mcp.shared.times import ago


@dataclass(frozen=True)
class Observations:
    """The events and alerts of one round."""

    events: tuple[Event, ...]
    alerts: tuple[Alert, ...]


@dataclass(frozen=True)
class Moment:
    """A time on two clocks: `wall` for people, `clock` (monotonic seconds) for durations."""

    wall: datetime
    clock: float


@dataclass(frozen=True)
class Repairs:
    """Repairs of components by the agent: done since the last round, with the detail of their event, and to come.

    A component is judged again once its repair is done.
    """

    done: Mapping[Key, str] = field(default_factory=dict)
    in_progress: Set[Key] = frozenset()
    pending: Set[Key] = frozenset()  # which cause no alerts for drift
    given_up: Mapping[Key, str] = field(default_factory=dict)  # with the reason


NO_REPAIRS = Repairs()
NOTHING: Mapping[Key, str] = {}


@dataclass
class _Past:
    """The recorded past of a component."""

    state: str
    identifier: str = ""
    started: datetime | None = None
    restarts: int = 0
    changes: deque[tuple[Moment, int]] = field(default_factory=deque)  # time and number of changes
    drift_since: datetime | None = None
    flapping: bool = False
    flapping_since: datetime | None = None
    detail: str = ""  # of flapping
    given_up: str = ""
    pending: str = ""
    alerted: float | None = None  # by the monotonic clock
    alert: Alert | None = None  # the last one, until its condition is over

    def see(self, state: str, container: Container | None) -> None:
        """Record the latest observation."""
        self.state = state
        self.identifier = container.identifier if container else ""
        self.started = container.started if container else None
        self.restarts = container.restarts if container else 0


class ChangeDetector:
    """Compares each round with the previous ones."""

    def __init__(
        self, rules: MonitorConfig, now: Moment, last_states: Mapping[Key, str], sent: Iterable[SentAlert] = ()
    ) -> None:
        """Continue from the registry.

        Args:
            rules: The configuration.
            now: The time of the first round.
            last_states: The states in the latest events.
            sent: The alerts that are not resolved.
        """
        self._rules = rules
        self._past = {key: _Past(state) for key, state in last_states.items() if state != ObservedState.REMOVED}
        for alert in sent:
            if alert.alert.component:
                self._continue(alert, now)

    def _continue(self, sent: SentAlert, now: Moment) -> None:
        """Take over an alert from before a restart of the agent: its cooldown, and the start of its condition."""
        alert = sent.alert
        past = self._past.setdefault((alert.service, alert.component), _Past(alert.observed))
        past.alert, past.alerted = alert, now.clock - max(0.0, (now.wall - sent.at).total_seconds())
        if alert.kind is AlertKind.FLAPPING:  # until flap_window has passed without a change
            past.flapping = True
            past.changes.append((Moment(alert.since, past.alerted), self._rules.flap_threshold))
        else:
            past.drift_since = alert.since

    def round(
        self,
        observed: Sequence[Observed],
        now: Moment,
        *,
        worked_on: Set[str] = frozenset(),
        busy: Set[str] = frozenset(),
        doubtful: bool = False,
        repairs: Repairs = NO_REPAIRS,
        pending: Mapping[Key, str] = NOTHING,
    ) -> Observations:
        """Compare the observed components with the previous round.

        Args:
            observed: The components as observed now.
            now: The time of the observation.
            worked_on: Services with operations since the last round, whose changes do not count as flapping.
            busy: Services with an operation in progress, which cause no alerts.
            doubtful: Report missing containers as unknown instead of removed.
            repairs: The repairs of failed components by the agent.
            pending: What failed changes have left to be undone or completed, which is drift and no flapping.
        """
        events: list[Event] = []
        alerts: list[Alert] = []
        seen: set[Key] = set()
        for component in observed:
            key = (component.service, component.component)
            if key in seen:  # another container with the labels of the same component
                continue
            seen.add(key)
            if key in repairs.in_progress:
                continue
            past = self._past.setdefault(key, _Past(""))
            state = self._believed(component, past, doubtful)
            done, left = repairs.done.get(key, ""), pending.get(key, "")
            caused = component.service in worked_on or bool(left or past.pending)
            events += self._changed(component, state, past, now, done, caused)
            events += self._flapping(component, state, past, now, repairs.given_up.get(key, ""))
            events += _pending(component, state, past, now, left)
            alerts += self._judge(component, state, past, now, component.service in busy, key in repairs.pending)
        if not doubtful:
            gone = [(key, self._past.pop(key)) for key in list(self._past) if key not in seen]
            events += _gone(gone, now.wall)
            alerts += [_resolved(past.alert, ObservedState.REMOVED, now) for _, past in gone if past.alert is not None]
        return Observations(tuple(events), tuple(alerts))

    def _believed(self, component: Observed, past: _Past, doubtful: bool) -> str:
        gone = component.state is ObservedState.REMOVED and past.state != ObservedState.REMOVED
        return ObservedState.UNKNOWN if doubtful and gone else component.state

    def _changed(
        self, component: Observed, state: str, past: _Past, now: Moment, repair: str, caused: bool
    ) -> list[Event]:
        """Return the event of a change, if any, and update `past`.

        What an operation or a pending change has `caused` is no flapping; nor is a `repair`, but its reason was.
        """
        replaced = "" not in (past.identifier, component.identifier) and past.identifier != component.identifier
        restarted = 0 if replaced else _restarts(component, past)
        count = max(restarted, int(past.state not in ("", state)))
        repaired = repair and state != ObservedState.EXITED
        if repaired and past.state in (ObservedState.EXITED, ObservedState.DEGRADED):
            count = 0
        if count and not caused:
            past.changes.append((now, count))
        previous = past.state
        past.see(state, component.container)
        # flapping is reported once, not for every restart
        if state == previous and not replaced and (not restarted or past.flapping):
            return []
        detail = (repaired and repair) or _detail(component, state, restarted) or ("new container" if replaced else "")
        return [Event(component.service, component.component, previous, state, now.wall, detail)]

    def _flapping(self, component: Observed, state: str, past: _Past, now: Moment, given_up: str) -> Iterator[Event]:
        """Update `past`, and yield events for start and end of flapping, and for the agent's giving up."""
        flaps, past.flapping_since = self._flaps(past, now)
        was, past.flapping = past.flapping, flaps >= self._rules.flap_threshold
        past.detail = f"flapping: {flaps} changes within {ago(self._rules.flap_window)}"
        if past.flapping != was:
            change = past.detail if past.flapping else "stable again"
            yield Event(component.service, component.component, state, state, now.wall, change)
        if given_up and not past.given_up:
            past.alerted = None  # whatever was alerted before, this is worse
            yield Event(component.service, component.component, state, state, now.wall, given_up)
        past.given_up = given_up

    def _judge(
        self, component: Observed, state: str, past: _Past, now: Moment, busy: bool, pending: bool
    ) -> Iterator[Alert]:
        """Yield the alert for a component, or for the end of its condition; drift to be repaired is none yet."""
        ignored = component.desired == DesiredState.IGNORE
        # unlike component.drifts, with the doubtful state
        drifts = is_drift(component.desired, state) or bool(component.differences or past.pending)
        past.drift_since = (past.drift_since or now.wall) if drifts else None
        if busy:
            return
        if not drifts and (ignored or not past.flapping):
            if past.alert is not None:
                yield _resolved(past.alert, state, now)
                past.alert = past.alerted = None
        elif self._may_alert(past, now) and (past.flapping or past.given_up or not pending):
            past.alerted, past.alert = now.clock, self._alert(component, state, past, now)
            yield past.alert

    def _alert(self, component: Observed, state: str, past: _Past, now: Moment) -> Alert:
        """Return the alert for a component that drifts or flaps."""
        if past.given_up:
            kind, since, detail = AlertKind.FLAPPING, past.drift_since, past.given_up
        elif past.flapping:
            kind, since, detail = AlertKind.FLAPPING, past.flapping_since, past.detail
        else:
            detail = past.pending or "; ".join(component.differences) or _detail(component, state, 0)
            kind, since = AlertKind.DRIFT, past.drift_since
        return Alert(component.service, component.component, kind, component.desired, state, detail, since or now.wall)

    def _flaps(self, past: _Past, now: Moment) -> tuple[int, datetime | None]:
        """Return the number of changes within the window, and the time of the first."""
        while past.changes and now.clock - past.changes[0][0].clock > self._rules.flap_window:
            past.changes.popleft()
        return sum(count for _, count in past.changes), past.changes[0][0].wall if past.changes else None

    def _may_alert(self, past: _Past, now: Moment) -> bool:
        return past.alerted is None or now.clock - past.alerted >= self._rules.cooldown


def _pending(component: Observed, state: str, past: _Past, now: Moment, pending: str) -> Iterator[Event]:
    """Update `past`, and yield events for the begin and the end of a pending change."""
    if bool(pending) != bool(past.pending):
        yield Event(component.service, component.component, state, state, now.wall, pending or "no longer pending")
    past.pending = pending


def _gone(gone: Iterable[tuple[Key, _Past]], now: datetime) -> Iterator[Event]:
    """Yield events for components that are in neither the registry nor podman any more."""
    for key, past in gone:
        if past.state not in ("", ObservedState.REMOVED):
            yield Event(*key, past.state, ObservedState.REMOVED, now, "no longer registered")


def _resolved(alert: Alert, state: str, now: Moment) -> Alert:
    """Return the alert that takes another one back."""
    lasted = ago(max(0.0, (now.wall - alert.since).total_seconds()))
    detail = f"{alert.kind} is over after {lasted}" + (f": {alert.detail}" if alert.detail else "")
    return replace(alert, kind=AlertKind.RESOLVED, observed=state, detail=detail)


def _restarts(component: Observed, past: _Past) -> int:
    """Return the number of restarts of a container since the last round, as far as known.

    podman 4.3 lists no restart count: there, a new start time counts as one restart.
    """
    container = component.container
    if container is None or not past.identifier:
        return 0
    anew = container.started is not None and past.started is not None and container.started != past.started
    return max(container.restarts - past.restarts, int(anew))


def _detail(component: Observed, state: str, restarted: int) -> str:
    container = component.container
    if container is None:
        return "podman lists no containers after a failure" if state == ObservedState.UNKNOWN else ""
    if state == ObservedState.EXITED or (state == ObservedState.STOPPED and container.exit_code):
        return f"exit code {container.exit_code}"
    if state == ObservedState.DEGRADED:
        return container.health if container.running else container.state
    if restarted:
        return f"restarted {restarted} times" if restarted > 1 else "restarted"
    return ""
