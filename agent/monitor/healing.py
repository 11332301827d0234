"""Decide when the agent starts a container that failed, restarts one that is unhealthy, or replaces a lost one.

podman's restart policies act first. What they leave down is started again with growing delays, until that has failed
too often. Independent of clock, podman and registry: Healing gets the time and the observed states.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from agent.config import MonitorConfig
from agent.monitor.state import ALWAYS_UP
from agent.podman.inspect import ContainerDetails
from agent.podman.output import Container
from agent.podman.states import ENDED, Health
from agent.store.registry import ComponentRow
from mcp.shared.states import DesiredState

Key = tuple[str, str]  # service, component

DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0)  # seconds before each attempt

ON_FAILURE = "on-failure"
LOST = "podman lost its process"  # or its conmon, without which podman hears and stops nothing


class Remedy(StrEnum):
    """The way to repair a component."""

    START = "start"
    RESTART = "restart"
    REPLACE = "replace"


@dataclass(frozen=True)
class Repair:
    """A component to be repaired now; `attempt` counts from 1 until it has stayed up."""

    key: Key
    container: str
    remedy: Remedy
    reason: str
    attempt: int

    @property
    def note(self) -> str:
        """The detail of the event."""
        return f"{self.remedy.removesuffix('e')}ed by the agent after {self.reason} (attempt {self.attempt})"


@dataclass
class _Record:
    """The recorded past of a component; times by the monotonic clock."""

    attempts: int = 0  # since it last stayed up
    repairs: int = 0  # since somebody last changed its service
    run: tuple[datetime | None, int] = (None, 0)  # start and restart count of the run seen last
    up_since: float | None = None
    ill_since: float | None = None
    due: float | None = None
    remedy: Remedy | None = None  # that is due
    in_progress: bool = False
    started_by_podman: bool = False  # between podman's list and the details
    given_up: str = ""

    def recover(self) -> None:
        """Forget the failures of a component that has stayed up."""
        self.attempts, self.given_up = 0, ""

    def has_no_ailment(self) -> None:
        """Record that there is nothing to repair now."""
        self.ill_since = self.due = self.remedy = None

    def has(self, ailment: "_Ailment", now: float) -> None:
        """Record what there is to repair, and when."""
        self.up_since = None
        if ailment.remedy is not self.remedy or self.due is None:
            self.due = now + ailment.delay
        self.remedy = ailment.remedy
        if ailment.remedy is Remedy.START:
            self.ill_since = None

    def is_well(self, now: float, stable: float) -> None:
        """Record that it is up; after `stable` seconds its failures are forgotten."""
        self.up_since = now if self.up_since is None else self.up_since
        self.has_no_ailment()
        if now - self.up_since >= stable:
            self.recover()


@dataclass(frozen=True)
class _Ailment:
    """The reason to repair a component that has waited for `delay` seconds."""

    remedy: Remedy
    reason: str
    delay: float


class Healing:
    """The components that need to be repaired, from round to round."""

    def __init__(self, rules: MonitorConfig) -> None:
        """Forget failures after `rules.flap_window`; give up after `rules.flap_threshold` or all delays."""
        self._stable, self._threshold = rules.flap_window, rules.flap_threshold
        self._most = max(len(DELAYS), rules.flap_threshold)
        self._records: dict[Key, _Record] = {}

    def suspects(self, rows: Sequence[ComponentRow], containers: Mapping[str, Container]) -> list[str]:
        """Return the names of the containers whose details `round` needs."""
        return [row.container for row in rows if _is_healed(row) and _may_be_ill(containers.get(row.container))]

    def round(
        self,
        rows: Sequence[ComponentRow],
        containers: Mapping[str, Container],
        details: Mapping[str, ContainerDetails],
        now: float,
        *,
        worked_on: Set[str] = frozenset(),
        held: Set[str] = frozenset(),
        left: Set[Key] = frozenset(),
    ) -> list[Repair]:
        """Return the repairs that are due.

        Args:
            rows: The registered components.
            containers: podman's containers by name.
            details: The details of the `suspects`, by name.
            now: The time by the monotonic clock.
            worked_on: Services that somebody changed since the last round: their failures are forgotten.
            held: Services with an operation in progress, which are left alone.
            left: Components with a pending change, which is tried again and not repaired.
        """
        keys = {(row.service, row.name) for row in rows}
        self._records = {
            key: record for key, record in self._records.items() if key in keys and key[0] not in worked_on
        }
        ours = [row for row in rows if row.service not in held and (row.service, row.name) not in left]
        repairs = (self._repair(row, containers, details, now) for row in ours)
        return [repair for repair in repairs if repair is not None]

    def finished(self, key: Key, *, was_needed: bool) -> None:
        """Record that a repair has ended, successful or not; one that was not needed does not count."""
        record = self._records.get(key)
        if record is not None and record.in_progress:
            record.in_progress = False
            record.has_no_ailment()
            record.attempts -= int(not was_needed)
            record.repairs -= int(not was_needed)

    def is_due(self, now: float) -> bool:
        """Tell if `round` would return a repair."""
        return any(record.due is not None and record.due <= now for record in self._waiting())

    @property
    def pending(self) -> set[Key]:
        """The components that the agent is about to start, unless that has failed too often, or that podman started.

        The list that the alerts are decided on shows the latter as ended.
        """
        return {key for key, record in self._records.items() if record.started_by_podman or self._is_to_start(record)}

    @property
    def in_progress(self) -> set[Key]:
        """The components that are being repaired."""
        return {key for key, record in self._records.items() if record.in_progress}

    @property
    def given_up(self) -> dict[Key, str]:
        """The components that the agent no longer starts, with the reason."""
        return {key: record.given_up for key, record in self._records.items() if record.given_up}

    @property
    def repairs(self) -> dict[Key, int]:
        """The number of repairs by component, since somebody last changed its service."""
        return {key: record.repairs for key, record in self._records.items() if record.repairs}

    def _is_to_start(self, record: _Record) -> bool:
        return record.remedy is Remedy.START and not record.given_up and record.attempts < self._threshold

    def _waiting(self) -> Iterator[_Record]:
        return (record for record in self._records.values() if not record.in_progress and not record.given_up)

    def _repair(
        self,
        row: ComponentRow,
        containers: Mapping[str, Container],
        details: Mapping[str, ContainerDetails],
        now: float,
    ) -> Repair | None:
        record = self._records.setdefault((row.service, row.name), _Record())
        container, examined = containers.get(row.container), details.get(row.container)
        record.started_by_podman = _has_ended(container) and examined is not None and examined.state not in ENDED
        ailment = self._ailment(row, container, examined, record, now)
        if record.in_progress:
            return None
        if ailment is None:
            self._no_ailment(container, record, now)
            return None
        record.has(ailment, now)
        if record.attempts >= self._most:
            record.given_up = f"given up after {record.attempts} attempts to repair it: {ailment.reason}"
            return None
        if record.due is None or now < record.due:
            return None
        record.attempts, record.repairs, record.in_progress = record.attempts + 1, record.repairs + 1, True
        return Repair((row.service, row.name), row.container, ailment.remedy, ailment.reason, record.attempts)

    def _no_ailment(self, container: Container | None, record: _Record, now: float) -> None:
        if container is not None and container.running and not _may_be_ill(container):
            record.run = container.started, container.restarts
            record.is_well(now, self._stable)
        else:
            record.up_since = None
            record.has_no_ailment()

    def _ailment(
        self,
        row: ComponentRow,
        container: Container | None,
        details: ContainerDetails | None,
        record: _Record,
        now: float,
    ) -> _Ailment | None:
        """Return what ails a component, if the agent has to do something about it."""
        if not _is_healed(row) or not _may_be_ill(container) or details is None:
            return None
        delay = DELAYS[min(record.attempts, len(DELAYS) - 1)]
        if container is not None and container.orphaned:
            return _Ailment(Remedy.REPLACE, LOST, delay)
        if details.state in ENDED:
            reason = f"exit code {details.exit_code}" if details.ended else "a start that failed"
            return _Ailment(Remedy.START, reason, delay) if _restarts(row.spec.restart, details, record) else None
        if details.health != Health.UNHEALTHY or details.check is None:
            return None
        record.ill_since = now if record.ill_since is None else record.ill_since
        reason = f"it was unhealthy for {round(now - record.ill_since)} s"
        return _Ailment(Remedy.RESTART, reason, max(delay, details.check.interval * details.check.retries))


def _is_healed(row: ComponentRow) -> bool:
    return row.desired_state is DesiredState.RUNNING and row.spec.heal and row.spec.restart != "no"


def _may_be_ill(container: Container | None) -> bool:
    if container is None:
        return False
    return _has_ended(container) or container.orphaned or (container.running and container.health == Health.UNHEALTHY)


def _has_ended(container: Container | None) -> bool:
    return container is not None and container.state in ENDED


def _restarts(policy: str, details: ContainerDetails, record: _Record) -> bool:
    """Tell if a restart policy starts a container that has ended."""
    if policy in ALWAYS_UP:
        return True
    name, _, count = policy.partition(":")
    if name != ON_FAILURE or details.exit_code == 0:
        return False
    return not count or max(record.attempts, _podmans_restarts(details, record)) < int(count)


def _podmans_restarts(details: ContainerDetails, record: _Record) -> int:
    """Return how often podman started a container again; it also counts attempts that fail.

    With pasta and a published port they all do: the run that was seen last is then the one that has ended.
    """
    started, restarts = record.run
    if started is not None and int(started.timestamp()) == int(details.started):
        return restarts
    return details.restarts
