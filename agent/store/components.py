"""The registry's tables of components and ports: each deployed component with everything needed to recreate it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeGuard, TypeVar

from agent.store.database import CELL_ERRORS, StoredRow, Table, now_text, readable, time_of
from mcp.shared.errors import NotFound, NotReady
from mcp.shared.names import container_name, is_name
from mcp.shared.ports import published_port
from mcp.shared.spec import ComponentSpec
from mcp.shared.states import DesiredState
from mcp.shared.wire import component_from_json, component_to_json


@dataclass(frozen=True)
class ComponentRow:
    """A component as last deployed."""

    service: str
    name: str
    container: str
    spec: ComponentSpec
    desired_state: DesiredState
    deployed_at: datetime
    digest: str = ""  # of the image that its container was created from
    deploy: int = 0  # the number of the deploy that created its container; 0: none did


@dataclass(frozen=True)
class Run:
    """One run of a container, given by podman's id; `started` as podman has it."""

    container: str
    started: datetime


@dataclass(frozen=True)
class UnreadableRow:
    """A component whose row is damaged, or lost but for its checksum."""

    service: str
    name: str

    @property
    def container(self) -> str:
        """The name of its container."""
        return container_name(self.service, self.name)

    @property
    def refusal(self) -> NotReady:
        """The error of whatever needs the row."""
        what = f"the registry's entry of {self.service}/{self.name} is damaged"
        return NotReady(what, "deploy the service again, or undeploy the component")


Deployed = ComponentRow | UnreadableRow
AnyRow = TypeVar("AnyRow", ComponentRow, UnreadableRow, Deployed)


@dataclass(frozen=True)
class Registered:
    """The components in the registry; one whose row is damaged does not keep the others from being served."""

    rows: tuple[ComponentRow, ...] = ()
    unreadable: tuple[UnreadableRow, ...] = ()


@dataclass(frozen=True)
class RequestedRow:
    """A component that a deploy was to create, and that never came up."""

    service: str
    name: str
    image: str


def select_deployed(
    rows: Sequence[AnyRow], service: str, component: str = "", unreadable: Sequence[UnreadableRow] = ()
) -> list[AnyRow]:
    """Select the rows of a service or of one component.

    Raises NotFound with the deployed names as its hint, NotReady if all of these are `unreadable`.
    """
    selected = [row for row in rows if row.service == service]
    damaged = [row for row in unreadable if row.service == service and component in ("", row.name)]
    if damaged and not [row for row in selected if component in ("", row.name)]:
        raise damaged[0].refusal
    if not selected:
        services = ", ".join(sorted({row.service for row in rows}))
        hint = f"deployed here: {services}" if services else "nothing is deployed here"
        raise NotFound(f"{service} is not deployed on this node", hint)
    if component and component not in (names := [row.name for row in selected]):
        raise NotFound(f"{service} has no component {component}", f"it has: {', '.join(names)}")
    return [row for row in selected if component in ("", row.name)]


class ComponentTable(Table):
    """Table of deployed components and their ports."""

    def select(self, service: str = "", component: str = "") -> list[ComponentRow]:
        """Return the readable components of a service (of all if empty), in the order of their definitions."""
        return list(self.read(service, component).rows)

    def deployed(self, service: str = "", component: str = "") -> list[Deployed]:
        """Return the components of a service (of all if empty), for what needs only their names."""
        registered = self.read(service, component)
        return [*registered.rows, *registered.unreadable]

    def read(self, service: str = "", component: str = "") -> Registered:
        """Return the components of a service (of all if empty), in the order of their definitions."""
        rows: dict[tuple[str, int, str], ComponentRow] = {}
        damaged: set[tuple[str, ...]] = set()
        # one whose name is damaged is not found by it, but its checksum is
        for row in self._database.stored("components", "?1 IN ('', service) AND ?2 IN ('', name)", service, component):
            try:
                found, position = _component(row), row.number("position")
            except CELL_ERRORS:
                damaged.add((row.named("service"), row.named("name")))
            else:
                rows[found.service, position, found.name] = found
        known = {(row.service, row.name) for row in rows.values()}
        recorded = self._database.recorded_keys("components", *([service] if service else []))
        damaged.update(key for key in recorded if key not in known and component in ("", key[-1]))
        return Registered(
            tuple(row for _, row in sorted(rows.items())),
            tuple(UnreadableRow(*key) for key in sorted(damaged) if _is_named(key)),
        )

    def put(
        self,
        service: str,
        position: int,
        spec: ComponentSpec,
        desired_state: DesiredState,
        digest: str = "",
        deploy: int = 0,
    ) -> None:
        """Insert or update a deployed component; raises NotReady if another component owns the container."""
        container = container_name(service, spec.name)
        with self._database.transaction():
            self._refuse_foreign_container(container, service, spec.name)
            self._database.db.execute(
                "INSERT OR REPLACE INTO components"
                " (service, name, position, container, spec, desired_state, deployed_at, digest, deploy)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(service, spec.name, position, container, component_to_json(spec)),
                    *(desired_state, now_text(), digest, deploy),
                ),
            )
            self._drop_ports(service, spec.name, keep={route.name for route in spec.routes})
            self._drop_request(service, spec.name)

    def requested(self, service: str = "", component: str = "") -> list[RequestedRow]:
        """Return the components of a service (of all if empty) that deploys were to create, and that never came up."""
        rows = self._database.rows(
            "SELECT service, component, image FROM requested WHERE ?1 IN ('', service) AND ?2 IN ('', component)"
            " ORDER BY service, position",
            service,
            component,
        )
        return [RequestedRow(*map(str, row)) for row in rows]

    def _drop_request(self, service: str, component: str) -> None:
        self._database.db.execute("DELETE FROM requested WHERE service = ? AND component = ?", (service, component))

    def check_container(self, service: str, component: str) -> None:
        """Raise NotReady if another component owns a container of this component's name."""
        self._refuse_foreign_container(container_name(service, component), service, component)

    def _refuse_foreign_container(self, container: str, service: str, component: str) -> None:
        rows = self._database.rows(
            "SELECT service, name FROM components WHERE container = ? AND NOT (service = ? AND name = ?)",
            container,
            service,
            component,
        )
        if rows:
            raise NotReady(
                f"the container {container} belongs to {rows[0][0]}/{rows[0][1]}", "give one of the two another name"
            )

    def set_desired(self, service: str, component: str, state: DesiredState) -> None:
        """Set the desired state of a component."""
        with self._database.transaction():
            self._database.db.execute(
                "UPDATE components SET desired_state = ? WHERE service = ? AND name = ?", (state, service, component)
            )

    def remove(self, service: str, component: str) -> None:
        """Remove a component, its ports and its previous log."""
        with self._database.transaction():
            self._database.db.execute("DELETE FROM components WHERE service = ? AND name = ?", (service, component))
            self._database.forget_checksum("components", service, component)
            for table in ("ports", "kept_logs", "ended_runs"):
                self._database.db.execute(
                    f"DELETE FROM {table} WHERE service = ? AND component = ?",  # noqa: S608 - our own names
                    (service, component),
                )
            self._drop_request(service, component)

    # --- ports ---

    def ports(self, service: str, component: str) -> dict[str, int]:
        """Return the host port of each route that has one."""
        rows = self._database.rows(
            "SELECT route, host_port FROM ports WHERE service = ? AND component = ?", service, component
        )
        return dict(readable("ports", rows, lambda row: (str(row[0]), int(str(row[1])))))

    # --- jobs ---

    def ended(self, boot: str) -> frozenset[Run]:
        """Return the last run of each job, if it ended in the boot with this id."""
        rows = self._database.rows("SELECT container, started FROM ended_runs WHERE boot = ?", boot)
        return frozenset(readable("ended_runs", rows, lambda row: Run(str(row[0]), time_of(str(row[1])))))

    def record_ended(self, boot: str, runs: Mapping[tuple[str, str], Run]) -> None:
        """Record runs, by service and component, that ended in the boot with this id."""
        with self._database.transaction():
            self._database.db.executemany(
                "INSERT OR REPLACE INTO ended_runs (service, component, container, started, boot)"
                " VALUES (?, ?, ?, ?, ?)",
                [(*place, run.container, run.started.astimezone(UTC).isoformat(), boot) for place, run in runs.items()],
            )

    def reserve_port(self, service: str, component: str, route: str, candidates: Iterator[int]) -> int:
        """Return the host port of a route, reserving the first free candidate if it has none.

        Raises NotReady if no candidate is free.
        """
        with self._database.transaction():
            reserved = self.ports(service, component).get(route)
            return reserved or self._draw(service, component, route, candidates)

    def move_port(self, service: str, component: str, route: str, candidates: Iterator[int]) -> int:
        """Reserve the first free candidate for a route in place of its host port; raises NotReady if none is free."""
        with self._database.transaction():
            return self._draw(service, component, route, candidates)

    def _draw(self, service: str, component: str, route: str, candidates: Iterator[int]) -> int:
        taken = {row[0] for row in self._database.rows("SELECT host_port FROM ports")}
        # A stopped component publishes nothing now, but will need its ports again.
        taken |= {published_port(mapping) for row in self.select() for mapping in row.spec.ports}
        port = next((candidate for candidate in candidates if candidate not in taken), None)
        if port is None:
            raise NotReady("no free host port was found between 10000 and 60000")
        self._database.db.execute("INSERT OR REPLACE INTO ports VALUES (?, ?, ?, ?)", (service, component, route, port))
        return port

    def release_ports(self, service: str, component: str, keep: set[str]) -> None:
        """Release the ports of a component's routes, except those named in `keep`."""
        with self._database.transaction():
            self._drop_ports(service, component, keep)

    def _drop_ports(self, service: str, component: str, keep: set[str]) -> None:
        self._database.db.execute(
            "DELETE FROM ports WHERE service = ? AND component = ? AND route NOT IN (SELECT value FROM json_each(?))",
            (service, component, json.dumps(sorted(keep))),
        )


def _component(row: StoredRow) -> ComponentRow:
    """Decode a row; raises one of CELL_ERRORS."""
    if row.text("container") != container_name(row.text("service"), row.text("name")):
        raise ValueError("container")
    return ComponentRow(
        service=row.text("service"),
        name=row.text("name"),
        container=row.text("container"),
        spec=component_from_json(row.text("spec")),
        desired_state=DesiredState(row.text("desired_state")),
        deployed_at=time_of(row.text("deployed_at")),
        digest=row.text("digest"),
        deploy=row.number("deploy"),
    )


def _is_named(key: tuple[str, ...]) -> TypeGuard[tuple[str, str]]:
    """Tell if a key can be that of a component; one of a damaged row may be anything."""
    return len(key) == 2 and all(map(is_name, key))
