"""Detect changes, drift and flapping between monitor rounds, and decide on alerts.

Independent of clock, podman and registry: ChangeDetector gets the time and the observed states, and returns events and
alerts.
"""

from collections import deque
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime

from agent.config import MonitorConfig
from agent.monitor.state import Observed, is_drift
from agent.podman.output import Container
from agent.store.events import Event
from mcp.shared.states import DesiredState, ObservedState
from mcp.shared.times import ago

Key = tuple[str, str]  # service, component


@dataclass(frozen=True)
class Alert:
    """An alert; `kind` is drift or flapping, `since` its start."""

    service: str
    component: str
    kind: str
    desired: str
    observed: str
    detail: str
    since: datetime


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
    alerted: float | None = None  # by the monotonic clock

    def see(self, state: str, container: Container | None) -> None:
        """Record the latest observation."""
        self.state = state
        self.identifier = container.identifier if container else ""
        self.started = container.started if container else None
        self.restarts = container.restarts if container else 0


class ChangeDetector:
    """Compares each round with the previous ones."""

    def __init__(self, rules: MonitorConfig, last_states: Mapping[Key, str]) -> None:
        """Start from `last_states`, the states in the latest events of the registry."""
        self._rules = rules
        self._past = {key: _Past(state) for key, state in last_states.items() if state != ObservedState.REMOVED}

    def round(
        self,
        observed: Sequence[Observed],
        now: Moment,
        *,
        worked_on: Set[str] = frozenset(),
        busy: Set[str] = frozenset(),
        doubtful: bool = False,
    ) -> Observations:
        """Compare the observed components with the previous round.

        Args:
            observed: The components as observed now.
            now: The time of the observation.
            worked_on: Services with operations since the last round, whose changes do not count as flapping.
            busy: Services with an operation in progress, which cause no alerts.
            doubtful: Report missing containers as unknown instead of removed.
        """
        events: list[Event] = []
        alerts: list[Alert] = []
        seen: set[Key] = set()
        for component in observed:
            key = (component.service, component.component)
            if key in seen:  # another container with the labels of the same component
                continue
            seen.add(key)
            past = self._past.setdefault(key, _Past(""))
            state = self._believed(component, past, doubtful)
            events += self._changed(component, state, past, now, component.service in worked_on)
            alerts += self._judge(component, state, past, now, component.service in busy, events)
        if not doubtful:
            events += self._gone(seen, now.wall)
        return Observations(tuple(events), tuple(alerts))

    def _believed(self, component: Observed, past: _Past, doubtful: bool) -> str:
        gone = component.state is ObservedState.REMOVED and past.state != ObservedState.REMOVED
        return ObservedState.UNKNOWN if doubtful and gone else component.state

    def _changed(self, component: Observed, state: str, past: _Past, now: Moment, worked_on: bool) -> list[Event]:
        """Return the event of a change, if any, and update `past`."""
        replaced = "" not in (past.identifier, component.identifier) and past.identifier != component.identifier
        restarted = 0 if replaced else _restarts(component, past)
        count = max(restarted, int(past.state not in ("", state)))
        if count and not worked_on:
            past.changes.append((now, count))
        previous = past.state
        past.see(state, component.container)
        # flapping is reported once, not for every restart
        if state == previous and not replaced and (not restarted or past.flapping):
            return []
        detail = _detail(component, state, restarted) or ("new container" if replaced else "")
        return [Event(component.service, component.component, previous, state, now.wall, detail)]

    def _judge(
        self, component: Observed, state: str, past: _Past, now: Moment, busy: bool, events: list[Event]
    ) -> list[Alert]:
        """Return the alerts for a component; adds start and end of flapping to `events`."""
        flaps, began = self._flaps(past, now)
        detail = f"flapping: {flaps} changes within {ago(self._rules.flap_window)}"
        was, past.flapping = past.flapping, flaps >= self._rules.flap_threshold
        if past.flapping != was:
            change = detail if past.flapping else "stable again"
            events.append(Event(component.service, component.component, state, state, now.wall, change))
        drifts = is_drift(component.desired, state)  # unlike component.drifts, with the doubtful state
        past.drift_since = (past.drift_since or now.wall) if drifts else None
        wanted = component.desired != DesiredState.IGNORE and (past.flapping or drifts)
        if busy or not wanted or not self._may_alert(past, now):
            return []
        past.alerted = now.clock
        if past.flapping:
            kind, since = "flapping", began
        else:
            kind, since, detail = "drift", past.drift_since, _detail(component, state, 0)
        return [
            Alert(component.service, component.component, kind, component.desired, state, detail, since or now.wall)
        ]

    def _flaps(self, past: _Past, now: Moment) -> tuple[int, datetime | None]:
        """Return the number of changes within the window, and the time of the first."""
        while past.changes and now.clock - past.changes[0][0].clock > self._rules.flap_window:
            past.changes.popleft()
        return sum(count for _, count in past.changes), past.changes[0][0].wall if past.changes else None

    def _may_alert(self, past: _Past, now: Moment) -> bool:
        return past.alerted is None or now.clock - past.alerted >= self._rules.cooldown

    def _gone(self, seen: Set[Key], now: datetime) -> list[Event]:
        """Return events for components that are in neither the registry nor podman any more."""
        gone = [key for key in self._past if key not in seen]
        return [
            Event(*key, past.state, ObservedState.REMOVED, now, "no longer registered")
            for key, past in ((key, self._past.pop(key)) for key in gone)
            if past.state not in ("", ObservedState.REMOVED)
        ]


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
