"""Read past events from the registry, and follow new ones."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from agent.store.events import Event
from agent.store.registry import AsyncRegistry

PAGE = 500  # events read from the registry at once


class EventLog:
    """The events of this node."""

    def __init__(self, registry: AsyncRegistry) -> None:
        """Store events in `registry`."""
        self._registry = registry
        self._news = asyncio.Event()

    async def add(self, events: Sequence[Event]) -> None:
        """Write events, and wake followers."""
        await self._registry.call(self._registry.events.add, events)
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def last(self, service: str, count: int) -> list[Event]:
        """Return the last events of a service (of all if empty), oldest first."""
        after = await self._registry.call(self._registry.events.number_before_last, service, count)
        return await self._registry.call(self._registry.events.select, service, after)

    async def read(self, service: str, after: int, tail: int | None, *, follow: bool) -> AsyncGenerator[Event]:
        """Yield events above number `after`, at most the last `tail` (None: all), then follow new ones."""
        if tail is not None:
            after = max(after, await self._registry.call(self._registry.events.number_before_last, service, tail))
        while True:
            news = self._news  # before the query, so that no event between query and wait is missed
            page = await self._registry.call(self._registry.events.select, service, after, PAGE)
            for event in page:
                yield event
                after = event.number
            if len(page) < PAGE:
                if not follow:
                    return
                await news.wait()
