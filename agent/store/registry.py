"""The registry: what should run on this node, what was done, and who may ask for it.

One SQLite file (database.py), a module for each group of tables. Every method is one transaction and may block; the
server calls them through `AsyncRegistry`, the command line directly.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

from agent.store.components import ComponentRow, ComponentTable
from agent.store.database import RegistryError
from agent.store.deploys import DeployRow, DeployTable, OperationRow
from agent.store.events import EventTable
from agent.store.previous_logs import PreviousLogTable
from agent.store.tokens import TokenRow, TokenTable

__all__ = ["AsyncRegistry", "ComponentRow", "DeployRow", "OperationRow", "Registry", "RegistryError", "TokenRow"]

P = ParamSpec("P")
T = TypeVar("T")


class Registry(ComponentTable, DeployTable, TokenTable, EventTable, PreviousLogTable):
    """An open registry. Not safe for use by several threads at once."""


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
