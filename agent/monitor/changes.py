"""What the monitor makes of what it sees, round by round: changes, drift, flapping, and when to tell somebody.

No clock, no podman and no registry here: `Watch` is told the time and what was observed, and returns what follows.
"""

from collections import deque
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime

from agent.config import MonitorConfig
from agent.monitor.state import Observed
from agent.podman.output import Container
from agent.store.events import Event
from mcp.shared.states import DesiredState, ObservedState
from mcp.shared.times import ago

Key = tuple[str, str]  # service, component


@dataclass(frozen=True)
class Alert:
    """Something that somebody should know; `kind` is drift or flapping, `since` when it began."""

    service: str
    component: str
    kind: str
    desired: str
    observed: str
    detail: str
    since: datetime


@dataclass(frozen=True)
class Observations:
    """What follows from one round."""

    events: tuple[Event, ...]
    alerts: tuple[Alert, ...]


@dataclass(frozen=True)
class Moment:
    """A time by both clocks: `wall` is for people, `clock` (monotonic seconds) for durations."""

    wall: datetime
    clock: float


@dataclass
class _Past:
    """What is remembered of a component."""

    state: str
    identifier: str = ""
    started: datetime | None = None
    restarts: int = 0
    changes: deque[tuple[Moment, int]] = field(default_factory=deque)  # when, and how many
    drift_since: datetime | None = None
    flapping: bool = False
    alerted: float | None = None  # by the monotonic clock

    def see(self, state: str, container: Container | None) -> None:
        """Remember what was seen last."""
        self.state = state
        self.identifier = container.identifier if container else ""
        self.started = container.started if container else None
        self.restarts = container.restarts if container else 0


class ChangeDetector:
    """Remembers what the rounds saw."""

    def __init__(self, rules: MonitorConfig, last_states: Mapping[Key, str]) -> None:
        """`last_states` is what the registry's events say of each component."""
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
        """Compare what is with what was.

        Changes of services that were `worked_on` since the last round are the operator's doing, and no flapping; of
        those still `busy` nobody is alerted. In a `doubtful` round what is not there is unknown, and not removed.
        """
        events: list[Event] = []
        alerts: list[Alert] = []
        seen: set[Key] = set()
        for component in observed:
            key = (component.service, component.component)
            if key in seen:  # a container that bears the labels of another one's component
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
        """The event of a change, if there was component; `past` is brought up to date."""
        replaced = "" not in (past.identifier, component.identifier) and past.identifier != component.identifier
        restarted = 0 if replaced else _restarts(component, past)
        count = max(restarted, int(past.state not in ("", state)))
        if count and not worked_on:
            past.changes.append((now, count))
        previous = past.state
        past.see(state, component.container)
        # while it flaps, that is said once; every single restart would drown all else
        if state == previous and not replaced and (not restarted or past.flapping):
            return []
        detail = _detail(component, state, restarted) or ("new container" if replaced else "")
        return [Event(component.service, component.component, previous, state, now.wall, detail)]

    def _judge(
        self, component: Observed, state: str, past: _Past, now: Moment, busy: bool, events: list[Event]
    ) -> list[Alert]:
        """Whether somebody should be told; adds the begin and end of flapping to `events`."""
        flaps, began = self._flaps(past, now)
        detail = f"flapping: {flaps} changes within {ago(self._rules.flap_window)}"
        was, past.flapping = past.flapping, flaps >= self._rules.flap_threshold
        if past.flapping != was:
            detail_of_change = detail if past.flapping else "steady again"
            events.append(Event(component.service, component.component, state, state, now.wall, detail_of_change))
        drifts = (
            component.desired != DesiredState.IGNORE and component.desired != state
        )  # not component.drifts: what is doubtful is unknown
        past.drift_since = (past.drift_since or now.wall) if drifts else None
        wanted = component.desired != DesiredState.IGNORE and (past.flapping or drifts)
        if busy or not wanted or not self._may_alert(past, now):
            return []
        past.alerted = now.clock
        if past.flapping:
            return [
                Alert(
                    component.service,
                    component.component,
                    "flapping",
                    component.desired,
                    state,
                    detail,
                    began or now.wall,
                )
            ]
        since = past.drift_since or now.wall
        return [
            Alert(
                component.service,
                component.component,
                "drift",
                component.desired,
                state,
                _detail(component, state, 0),
                since,
            )
        ]

    def _flaps(self, past: _Past, now: Moment) -> tuple[int, datetime | None]:
        """How many changes there were within the window, and when the first of them was."""
        while past.changes and now.clock - past.changes[0][0].clock > self._rules.flap_window:
            past.changes.popleft()
        return sum(count for _, count in past.changes), past.changes[0][0].wall if past.changes else None

    def _may_alert(self, past: _Past, now: Moment) -> bool:
        return past.alerted is None or now.clock - past.alerted >= self._rules.cooldown

    def _gone(self, seen: Set[Key], now: datetime) -> list[Event]:
        """Events for what neither the registry nor podman knows any more."""
        gone = [key for key in self._past if key not in seen]
        return [
            Event(*key, past.state, ObservedState.REMOVED, now, "no longer registered")
            for key, past in ((key, self._past.pop(key)) for key in gone)
            if past.state not in ("", ObservedState.REMOVED)
        ]


def _restarts(component: Observed, past: _Past) -> int:
    """How often a container was started again since the last round, as far as can be told.

    podman 4.3 lists no count: there, a container that began anew counts as one restart.
    """
    container = component.container
    if container is None or not past.identifier:
        return 0
    anew = container.started is not None and past.started is not None and container.started != past.started
    return max(container.restarts - past.restarts, int(anew))


def _detail(component: Observed, state: str, restarted: int) -> str:
    container = component.container
    if container is None:
        return "podman lists no containers at all after it failed" if state == ObservedState.UNKNOWN else ""
    if state == ObservedState.EXITED or (state == ObservedState.STOPPED and container.exit_code):
        return f"exit code {container.exit_code}"
    if state == ObservedState.DEGRADED:
        return container.health if container.running else container.state
    if restarted:
        return f"restarted {restarted} times" if restarted > 1 else "restarted"
    return ""
