"""The registry: the desired state of this node, its history, and its local accounts.

One SQLite file, a class for each group of tables. Every method of a table is one transaction and may block: the
server calls them through `AsyncRegistry`, the command line directly.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from agent.store.alerts import AlertTable
from agent.store.components import ComponentRow, ComponentTable, Registered, UnreadableRow
from agent.store.database import Database, RegistryError
from agent.store.deploys import KEEP_DEPLOYS, DeployRow, DeployTable
from agent.store.events import EventTable
from agent.store.operations import OperationRow, OperationTable, TransactionRow
from agent.store.previous_logs import PreviousLogTable
from agent.store.pushes import PushTable
from agent.store.restores import RestoreTable
from agent.store.tokens import TokenRow, TokenTable
from agent.store.volumes import VolumeTable

__all__ = [
    "AsyncRegistry",
    "ComponentRow",
    "DeployRow",
    "OperationRow",
    "Registered",
    "Registry",
    "RegistryError",
    "TokenRow",
    "TransactionRow",
    "UnreadableRow",
]

P = ParamSpec("P")
T = TypeVar("T")


class Registry:
    """The tables of an open registry file. Not safe for use by several threads at once."""

    def __init__(self, path: Path, *, keep_deploys: int = KEEP_DEPLOYS) -> None:
        """Open or create the file, for a history of so many deploys of each service; raises RegistryError."""
        self._database = Database(path)
        self.path = path
        self.components = ComponentTable(self._database)
        self.deploys = DeployTable(self._database, keep_deploys)
        self.operations = OperationTable(self._database)
        self.tokens = TokenTable(self._database)
        self.events = EventTable(self._database)
        self.previous_logs = PreviousLogTable(self._database)
        self.restores = RestoreTable(self._database)
        self.alerts = AlertTable(self._database)
        self.volumes = VolumeTable(self._database)
        self.pushes = PushTable(self._database)

    def lost(self) -> str:
        """Say what became of the file if another one has its name, or none; empty if it is in its place."""
        return self._database.lost()

    def rescue(self) -> Path:
        """Copy a registry that has lost its name, and return the copy's path; raises McpError."""
        return self._database.rescue()

    def close(self) -> None:
        """Close the file."""
        self._database.close()


class AsyncRegistry:
    """A registry for the event loop: a dedicated thread runs the calls, one at a time."""

    def __init__(self, registry: Registry) -> None:
        """Take over `registry`; use its tables through `call` only."""
        self.path = registry.path
        self.components = registry.components
        self.deploys = registry.deploys
        self.operations = registry.operations
        self.tokens = registry.tokens
        self.events = registry.events
        self.previous_logs = registry.previous_logs
        self.restores = registry.restores
        self.alerts = registry.alerts
        self.volumes = registry.volumes
        self.pushes = registry.pushes
        self.lost = registry.lost
        self.rescue = registry.rescue
        self._registry = registry
        self._thread = ThreadPoolExecutor(1, "registry")

    async def call(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a table's method in the registry's thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(method, *args, **kwargs))

    def close(self) -> None:
        """Finish pending calls and close the file."""
        self._thread.shutdown()
        self._registry.close()
