"""The registry: what should run on this node, and who may ask for it. All SQL is here.

A SQLite file, mode 0600, WAL. Every method is one transaction and may block; the server calls them through
`AsyncRegistry`, the command line directly. Times are UTC, stored as RFC 3339.
"""

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from agent.event_table import EventTable
from agent.migrations import MIGRATIONS
from mcp.shared.errors import McpError, NotFound, NotReady
from mcp.shared.names import container_name
from mcp.shared.spec import ComponentSpec, ServiceSpec
from mcp.shared.wire import component_from_json, component_to_json, service_from_json, service_to_json

P = ParamSpec("P")
T = TypeVar("T")

BUSY_TIMEOUT = 5.0  # seconds to wait for another process's write


class RegistryError(McpError):
    """The registry's file cannot be used as it is."""


@dataclass(frozen=True)
class ComponentRow:
    """A component as it was last deployed."""

    service: str
    name: str
    container: str
    spec: ComponentSpec
    desired_state: str
    deployed_at: datetime
    digest: str = ""  # of the image that it was made from
    deploy: int = 0  # the number of the deploy that made its container; 0: none did


@dataclass(frozen=True)
class DeployRow:
    """One deploy of a service's history; `result` is running, done, failed or interrupted."""

    number: int
    at: datetime
    user: str
    definition: ServiceSpec
    component: str
    digests: dict[str, str]
    result: str
    error: str


@dataclass(frozen=True)
class OperationRow:
    """An operation that was begun and has not ended."""

    service: str
    operation: str
    component: str


@dataclass(frozen=True)
class TokenRow:
    """A token's account; `expires_at` is None where it never ends."""

    name: str
    sha256: str
    account_type: str
    roles: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None


class Registry(EventTable):
    """An open registry. Not safe for use by several threads at once."""

    def __init__(self, path: Path) -> None:
        """Open or make the file and bring its schema up to date; raises RegistryError."""
        self.path = path
        try:
            # Made 0600 before SQLite opens it: the side files (-wal, -shm) copy its mode.
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            os.fchmod(descriptor, 0o600)
            os.close(descriptor)
            self._db = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        except OSError as error:
            raise RegistryError(f"{path}: cannot be opened: {error.strerror}") from None
        except sqlite3.Error as error:
            raise RegistryError(f"{path}: cannot be opened: {error}") from None
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        try:
            self._refuse_foreign()
            for pragma in ("journal_mode = WAL", "foreign_keys = ON", "synchronous = FULL"):
                self._db.execute(f"PRAGMA {pragma}")
            self._migrate()
        except sqlite3.DatabaseError as error:
            raise as_mcp_error(self.path, error) from None

    def _refuse_foreign(self) -> None:
        """Raise RegistryError for another program's database, before anything in it is changed."""
        # one statement, so that a migration under way in another process is seen whole or not at all
        query = (
            "SELECT user_version, EXISTS(SELECT 1 FROM sqlite_master),"
            " EXISTS(SELECT 1 FROM sqlite_master WHERE name = 'components') FROM pragma_user_version"
        )
        version, any_table, our_table = self._db.execute(query).fetchone()
        if version < 0 or (any_table if version == 0 else not our_table):
            raise RegistryError(f"{self.path}: is another program's database", "name another file")

    def _migrate(self) -> None:
        with self._transaction():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version > len(MIGRATIONS):
                raise RegistryError(
                    f"{self.path}: was written by a newer mcp-agent (schema {version}; {len(MIGRATIONS)} is known)",
                    "run that agent, or restore a copy made before the upgrade",
                )
            for number, script in enumerate(MIGRATIONS[version:], version + 1):
                for statement in script.split(";\n"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {number}")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One write transaction; SQLite's errors come out as McpError."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            raise as_mcp_error(self.path, error) from None

    def _rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise as_mcp_error(self.path, error) from None

    # --- components ---

    def components(self, service: str = "", component: str = "") -> list[ComponentRow]:
        """The components of a service (all where empty), in the order of their definitions."""
        rows = self._rows(
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
                desired_state=str(row[4]),
                deployed_at=_time(str(row[5])),
                digest=str(row[6]),
                deploy=int(str(row[7])),
            )
            for row in rows
        ]

    def put_component(
        self, service: str, position: int, spec: ComponentSpec, desired_state: str, digest: str = "", deploy: int = 0
    ) -> None:
        """Write what is now deployed; raises NotReady where the container belongs to another component."""
        container = container_name(service, spec.name)
        with self._transaction():
            self._refuse_foreign_container(container, service, spec.name)
            self._db.execute(
                "INSERT OR REPLACE INTO components"
                " (service, name, position, container, spec, desired_state, deployed_at, digest, deploy)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(service, spec.name, position, container, component_to_json(spec)),
                    *(desired_state, _now(), digest, deploy),
                ),
            )
            self._drop_ports(service, spec.name, keep={route.name for route in spec.routes})

    def check_container(self, service: str, component: str) -> None:
        """Raise NotReady where the component's container would be another component's."""
        self._refuse_foreign_container(container_name(service, component), service, component)

    def _refuse_foreign_container(self, container: str, service: str, component: str) -> None:
        rows = self._rows(
            "SELECT service, name FROM components WHERE container = ? AND NOT (service = ? AND name = ?)",
            container,
            service,
            component,
        )
        if rows:
            raise NotReady(
                f"the container {container} belongs to {rows[0][0]}/{rows[0][1]}", "give one of the two another name"
            )

    def set_desired(self, service: str, component: str, state: str) -> None:
        """Set what a component should be."""
        with self._transaction():
            self._db.execute(
                "UPDATE components SET desired_state = ? WHERE service = ? AND name = ?", (state, service, component)
            )

    def remove_component(self, service: str, component: str) -> None:
        """Forget a component and its ports."""
        with self._transaction():
            self._db.execute("DELETE FROM components WHERE service = ? AND name = ?", (service, component))
            self._db.execute("DELETE FROM ports WHERE service = ? AND component = ?", (service, component))

    # --- history ---

    def begin_deploy(self, definition: ServiceSpec, component: str, user: str) -> int:
        """Note that a deploy begins; returns its number."""
        with self._transaction():
            cursor = self._db.execute(
                "INSERT INTO deploys (service, component, at, user, definition, digests, result, error)"
                " VALUES (?, ?, ?, ?, ?, '{}', 'running', '')",
                (definition.name, component, _now(), user, service_to_json(definition)),
            )
            return cursor.lastrowid or 0

    def end_deploy(self, number: int, result: str, error: str, digests: dict[str, str]) -> None:
        """Note how a deploy ended."""
        with self._transaction():
            self._db.execute(
                "UPDATE deploys SET result = ?, error = ?, digests = ? WHERE number = ?",
                (result, error, json.dumps(digests, sort_keys=True), number),
            )

    def deploys(self, service: str, limit: int = 0, result: str = "") -> list[DeployRow]:
        """The deploys of a service, newest first; at most `limit` (0: all), only those with `result` if given."""
        rows = self._rows(
            "SELECT number, at, user, definition, component, digests, result, error FROM deploys"
            " WHERE service = ?1 AND ?3 IN ('', result) ORDER BY number DESC LIMIT ?2",
            service,
            limit or -1,
            result,
        )
        return [
            DeployRow(
                number=int(str(row[0])),
                at=_time(str(row[1])),
                user=str(row[2]),
                definition=service_from_json(str(row[3])),
                component=str(row[4]),
                digests=json.loads(str(row[5])),
                result=str(row[6]),
                error=str(row[7]),
            )
            for row in rows
        ]

    # --- operations ---

    def begin_operation(self, row: OperationRow, user: str) -> None:
        """Note that an operation begins, so that an agent that is killed in it finds it when it starts again."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO operations (service, operation, component, user, at) VALUES (?, ?, ?, ?, ?)",
                (row.service, row.operation, row.component, user, _now()),
            )

    def end_operation(self, service: str) -> None:
        """Note that it has ended, in whatever way."""
        with self._transaction():
            self._db.execute("DELETE FROM operations WHERE service = ?", (service,))

    def operations(self) -> list[OperationRow]:
        """The operations under way."""
        rows = self._rows("SELECT service, operation, component FROM operations ORDER BY at")
        return [OperationRow(*(str(value) for value in row)) for row in rows]

    # --- ports ---

    def ports(self, service: str, component: str) -> dict[str, int]:
        """The host port of each route that has one."""
        rows = self._rows("SELECT route, host_port FROM ports WHERE service = ? AND component = ?", service, component)
        return {str(route): int(str(port)) for route, port in rows}

    def reserve_port(self, service: str, component: str, route: str, candidates: Iterator[int]) -> int:
        """The host port of a route: the one it has, or the first candidate that no other route has."""
        with self._transaction():
            held = self.ports(service, component).get(route)
            if held is not None:
                return held
            taken = {row[0] for row in self._rows("SELECT host_port FROM ports")}
            port = next((candidate for candidate in candidates if candidate not in taken), None)
            if port is None:
                raise NotReady("no free host port was found between 10000 and 60000")
            self._db.execute("INSERT INTO ports VALUES (?, ?, ?, ?)", (service, component, route, port))
            return port

    def release_ports(self, service: str, component: str, keep: set[str]) -> None:
        """Give back the ports of all routes of a component but those in `keep`."""
        with self._transaction():
            self._drop_ports(service, component, keep)

    def _drop_ports(self, service: str, component: str, keep: set[str]) -> None:
        self._db.execute(
            "DELETE FROM ports WHERE service = ? AND component = ? AND route NOT IN (SELECT value FROM json_each(?))",
            (service, component, json.dumps(sorted(keep))),
        )

    # --- tokens ---

    def add_token(self, token: TokenRow) -> None:
        """Add an account's token; raises NotReady where the name is taken."""
        try:
            with self._transaction():
                self._db.execute(
                    "INSERT INTO tokens (name, sha256, account_type, roles, created_at, expires_at)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        token.name,
                        token.sha256,
                        token.account_type,
                        json.dumps(token.roles),
                        token.created_at.isoformat(),
                        token.expires_at.isoformat() if token.expires_at else None,
                    ),
                )
        except sqlite3.IntegrityError:
            raise NotReady(
                f"there is a token named {token.name} already", "revoke it first, or use another name"
            ) from None

    def tokens(self, sha256: str = "") -> list[TokenRow]:
        """All tokens by name, or the one with this hash."""
        rows = self._rows(
            "SELECT name, sha256, account_type, roles, created_at, expires_at FROM tokens"
            " WHERE ?1 IN ('', sha256) ORDER BY name",
            sha256,
        )
        return [
            TokenRow(
                str(row[0]),
                str(row[1]),
                str(row[2]),
                tuple(json.loads(str(row[3]))),
                _time(str(row[4])),
                _time(str(row[5])) if row[5] else None,
            )
            for row in rows
        ]

    def revoke_token(self, name: str) -> None:
        """Remove a token; raises NotFound with the names there are."""
        with self._transaction():
            if self._db.execute("DELETE FROM tokens WHERE name = ?", (name,)).rowcount == 0:
                names = [str(row[0]) for row in self._rows("SELECT name FROM tokens ORDER BY name")]
                raise NotFound(f"no token named {name}", f"there is: {', '.join(names)}" if names else "there are none")


class AsyncRegistry:
    """A registry for the event loop: one thread of its own runs the calls, one after the other."""

    def __init__(self, registry: Registry) -> None:
        """Takes over `registry`."""
        self.path = registry.path
        self._registry = registry
        self._thread = ThreadPoolExecutor(1, "registry")

    async def call(self, method: Callable[Concatenate[Registry, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `Registry.method` in the registry's thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: method(self._registry, *args, **kwargs))

    def close(self) -> None:
        """Finish what is under way and close the file."""
        self._thread.shutdown()
        self._registry.close()


def as_mcp_error(path: Path, error: sqlite3.DatabaseError) -> McpError:
    """What SQLite's error means to the operator; raises one that is a bug of ours."""
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_NOTADB" or name.startswith("SQLITE_CORRUPT"):
        return RegistryError(f"{path}: is not a database, or is damaged", "restore a copy, or move the file away")
    if name == "SQLITE_FULL" or name.startswith("SQLITE_IOERR"):
        return NotReady(f"{path}: cannot be written: {error}", "make room on its disk")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return NotReady(f"{path}: cannot be written: {error}", "check the owner and mode of the file and its folder")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return NotReady(f"{path}: is locked by another process for more than {BUSY_TIMEOUT:g} s", "try again")
    raise error


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
