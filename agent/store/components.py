"""The registry's tables of components and their ports: what is deployed, and all that is needed to make it again."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from agent.store.database import Table, now_text, time_of
from mcp.shared.errors import NotFound, NotReady
from mcp.shared.names import container_name
from mcp.shared.spec import ComponentSpec
from mcp.shared.states import DesiredState
from mcp.shared.wire import component_from_json, component_to_json


@dataclass(frozen=True)
class ComponentRow:
    """A component as it was last deployed."""

    service: str
    name: str
    container: str
    spec: ComponentSpec
    desired_state: DesiredState
    deployed_at: datetime
    digest: str = ""  # of the image that it was made from
    deploy: int = 0  # the number of the deploy that made its container; 0: none did


def select_deployed(rows: Sequence[ComponentRow], service: str, component: str = "") -> list[ComponentRow]:
    """Select a service's rows, or one component's; raises NotFound with what is deployed."""
    selected = [row for row in rows if row.service == service]
    if not selected:
        services = ", ".join(sorted({row.service for row in rows}))
        hint = f"deployed here: {services}" if services else "nothing is deployed here"
        raise NotFound(f"{service} is not deployed on this node", hint)
    if component and component not in (names := [row.name for row in selected]):
        raise NotFound(f"{service} has no component {component}", f"it has: {', '.join(names)}")
    return [row for row in selected if component in ("", row.name)]


class ComponentTable(Table):
    """Every method is one transaction."""

    def select(self, service: str = "", component: str = "") -> list[ComponentRow]:
        """The components of a service (all where empty), in the order of their definitions."""
        rows = self._database.rows(
            "SELECT service, name, container, spec, desired_state, deployed_at, digest, deploy FROM components"
            " WHERE ?1 IN ('', service) AND ?2 IN ('', name) ORDER BY service, position, name",
            service,
            component,
        )
        return [
            ComponentRow(
                service=str(row[0]),
                name=str(row[1]),
                container=str(row[2]),
                spec=component_from_json(str(row[3])),
                desired_state=DesiredState(str(row[4])),
                deployed_at=time_of(str(row[5])),
                digest=str(row[6]),
                deploy=int(str(row[7])),
            )
            for row in rows
        ]

    def put(
        self,
        service: str,
        position: int,
        spec: ComponentSpec,
        desired_state: DesiredState,
        digest: str = "",
        deploy: int = 0,
    ) -> None:
        """Write what is now deployed; raises NotReady where the container belongs to another component."""
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

    def check_container(self, service: str, component: str) -> None:
        """Raise NotReady where the component's container would be another component's."""
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
        """Set what a component should be."""
        with self._database.transaction():
            self._database.db.execute(
                "UPDATE components SET desired_state = ? WHERE service = ? AND name = ?", (state, service, component)
            )

    def remove(self, service: str, component: str) -> None:
        """Forget a component, its ports, and what was kept of a log."""
        with self._database.transaction():
            self._database.db.execute("DELETE FROM components WHERE service = ? AND name = ?", (service, component))
            self._database.db.execute("DELETE FROM ports WHERE service = ? AND component = ?", (service, component))
            self._database.db.execute("DELETE FROM kept_logs WHERE service = ? AND component = ?", (service, component))

    # --- ports ---

    def ports(self, service: str, component: str) -> dict[str, int]:
        """The host port of each route that has one."""
        rows = self._database.rows(
            "SELECT route, host_port FROM ports WHERE service = ? AND component = ?", service, component
        )
        return {str(route): int(str(port)) for route, port in rows}

    def reserve_port(self, service: str, component: str, route: str, candidates: Iterator[int]) -> int:
        """The host port of a route: the one it has, or the first candidate that no other route has."""
        with self._database.transaction():
            held = self.ports(service, component).get(route)
            if held is not None:
                return held
            taken = {row[0] for row in self._database.rows("SELECT host_port FROM ports")}
            port = next((candidate for candidate in candidates if candidate not in taken), None)
            if port is None:
                raise NotReady("no free host port was found between 10000 and 60000")
            self._database.db.execute("INSERT INTO ports VALUES (?, ?, ?, ?)", (service, component, route, port))
            return port

    def release_ports(self, service: str, component: str, keep: set[str]) -> None:
        """Give back the ports of all routes of a component but those in `keep`."""
        with self._database.transaction():
            self._drop_ports(service, component, keep)

    def _drop_ports(self, service: str, component: str, keep: set[str]) -> None:
        self._database.db.execute(
            "DELETE FROM ports WHERE service = ? AND component = ? AND route NOT IN (SELECT value FROM json_each(?))",
            (service, component, json.dumps(sorted(keep))),
        )
