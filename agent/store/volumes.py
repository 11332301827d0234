"""The registry's table of anonymous volumes: their names, should podman lose the container that has them."""

from collections.abc import Mapping

from agent.store.database import Table


class VolumeTable(Table):
    """Table of the last known anonymous volume of each component at each target."""

    def select(self, service: str, component: str) -> dict[str, str]:
        """Return the anonymous volumes of a component by target."""
        rows = self._database.rows(
            "SELECT target, volume FROM anonymous_volumes WHERE service = ? AND component = ?", service, component
        )
        return {str(target): str(volume) for target, volume in rows}

    def components(self, service: str, component: str = "") -> list[str]:
        """Return the components of a service (one if given) of which there are anonymous volumes."""
        rows = self._database.rows(
            "SELECT DISTINCT component FROM anonymous_volumes WHERE service = ?1 AND ?2 IN ('', component)"
            " ORDER BY component",
            service,
            component,
        )
        return [str(row[0]) for row in rows]

    def names(self) -> set[str]:
        """Return the names of all recorded volumes."""
        return {str(row[0]) for row in self._database.rows("SELECT volume FROM anonymous_volumes")}

    def owners(self) -> dict[str, str]:
        """Return the services of all recorded volumes, by name of the volume."""
        rows = self._database.rows("SELECT volume, service FROM anonymous_volumes")
        return {str(volume): str(service) for volume, service in rows}

    def put(self, service: str, component: str, volumes: Mapping[str, str]) -> None:
        """Record the anonymous volumes of a component; those at other targets stay recorded."""
        with self._database.transaction():
            self._database.db.executemany(
                "INSERT OR REPLACE INTO anonymous_volumes VALUES (?, ?, ?, ?)",
                [(service, component, target, volume) for target, volume in volumes.items()],
            )

    def remove(self, service: str, component: str) -> None:
        """Forget the anonymous volumes of a component."""
        with self._database.transaction():
            self._database.db.execute(
                "DELETE FROM anonymous_volumes WHERE service = ? AND component = ?", (service, component)
            )
