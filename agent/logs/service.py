"""Logs as the servicer asks for them: which components, from which readers, merged or alone."""

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from functools import partial
from weakref import WeakValueDictionary

from agent.component_table import ComponentRow
from agent.lifecycle import Lifecycle
from agent.logs import window
from agent.logs.component import ComponentLog, Wanted
from agent.logs.filters import Filter
from agent.logs.inotify import Inotify
from agent.logs.journald import JournaldReader
from agent.logs.k8s_file import K8sFile
from agent.logs.merge import Block, merged, single
from agent.logs.model import Piece, Reader, Source
from agent.logs.podman_logs import PodmanReader
from agent.logs.readers import Readers, Wrap
from agent.logs.segments import Keeper
from agent.logs.sources import Seen, look
from agent.logs.tracker import Removed, Tracker
from agent.logs.upkeep import Upkeep
from agent.podman import Podman
from agent.registry import AsyncRegistry, Registry
from mcp.shared.errors import InvalidInput, NotFound, NotReady, Unavailable

Key = tuple[str, str]


@dataclass(frozen=True)
class Query:
    """What a call asks for; the texts and `tail` are as in LogsRequest. `every`: all services of the node."""

    targets: Sequence[Key] = ()
    every: bool = False
    since: str = ""
    until: str = ""
    tail: int = 0
    follow: bool = False
    timed: bool = False
    grep: Sequence[str] = ()
    exclude: Sequence[str] = ()
    ignore_case: bool = False
    previous: bool = False
    cursors: Mapping[Key, str] = field(default_factory=dict)


class Logs:
    """The logs of this node's components."""

    def __init__(self, podman: Podman, registry: AsyncRegistry, lifecycle: Lifecycle) -> None:
        """`lifecycle` tells what is deployed."""
        self._podman = podman
        self._registry = registry
        self._lifecycle = lifecycle
        self._news = Inotify()
        self._readers = Readers(K8sFile(self._news), JournaldReader(), PodmanReader(podman))
        self._trackers: WeakValueDictionary[str, Tracker] = WeakValueDictionary()  # by container
        self._upkeep = Upkeep(podman, registry, Keeper(self._news))
        podman.on_start = self._started

    async def keep(self) -> None:
        """Have rotated logs kept, until cancelled."""
        await self._upkeep.run()

    def close(self) -> None:
        """Watch no files any more."""
        self._news.close()

    def _started(self, container: str) -> None:
        """A container was started: whoever follows its component looks at once."""
        self._upkeep.started(container)
        if (tracker := self._trackers.get(container)) is not None:
            tracker.poke()

    async def read(self, query: Query) -> AsyncGenerator[Block]:
        """What was logged, and with `follow` what is logged from now on.

        Raises NotFound with what there is, InvalidInput, and NotReady where a log cannot be read. Closing it ends all
        that it began.
        """
        try:
            async with aclosing(self._read(query)) as blocks:
                async for block in blocks:
                    yield block
        except Unavailable as error:  # to a client it would mean that the agent is about to be back
            raise NotReady(str(error)) from None

    async def _read(self, query: Query) -> AsyncGenerator[Block]:
        rows = await self._rows(query)
        async with AsyncExitStack() as stack:
            wrap: Wrap = self._readers.pick
            if query.grep or query.exclude:
                matching = Filter(query.grep, query.exclude, ignore_case=query.ignore_case)
                wrap = partial(self._filtered, await stack.enter_async_context(matching))
            inputs, notices = await self._inputs(query, rows, wrap)
            for notice in notices:
                yield Block(notice=notice)
            if not inputs:
                yield Block(caught_up=True)
                return
            blocks = single(inputs[0]) if len(inputs) == 1 else merged(inputs, timed=query.timed)
            async with aclosing(blocks):
                async for block in blocks:
                    yield block

    def _filtered(self, matching: Filter, what: Reader | Source) -> Reader:
        return matching.over(self._readers.pick(what))

    async def _rows(self, query: Query) -> list[ComponentRow]:
        if query.follow and query.previous:
            raise InvalidInput("previous: a container that is gone cannot be followed")
        if query.every:
            return await self._registry.call(Registry.components)
        found: dict[Key, ComponentRow] = {}
        for service, component in query.targets:
            for row in await self._lifecycle.rows(service, component):
                found[row.service, row.name] = row
        return list(found.values())

    async def _inputs(
        self, query: Query, rows: Sequence[ComponentRow], wrap: Wrap
    ) -> tuple[list[AsyncGenerator[Piece]], list[str]]:
        """A stream for each component, and what is to be said of those that have none."""
        now = time.time_ns()
        inputs: list[AsyncGenerator[Piece]] = []
        notices: list[str] = []
        present = {} if query.follow or query.previous else await look(self._podman, rows)
        if not (query.follow or query.previous or query.every):
            self._refuse_missing(rows, present)
        for row in rows:
            key = row.service, row.name
            wanted = Wanted(
                await window.resolve(
                    self._registry, row.service, since=query.since, until=query.until, tail=query.tail, now=now
                ),
                query.timed or len(rows) > 1,
                query.cursors.get(key, ""),
            )
            log = ComponentLog(wanted, wrap, partial(self._registry.call, Registry.kept_log, *key))
            if query.previous:
                kept = await self._registry.call(Registry.kept_log, *key)
                if kept is not None:
                    inputs.append(log.previous(kept, *key))
                    continue
            elif query.follow:
                inputs.append(log.follow(self._tracker(row), patient=query.every or bool(wanted.cursor)))
                continue
            elif key in present:
                inputs.append(log.once(present[key].source))
                continue
            what = "has no previous container" if query.previous else "has no container"
            notices.append(f"{row.service}/{row.name}: {what}")
        if query.previous and not inputs and rows:
            raise NotFound("; ".join(notices), "one is kept when a container is replaced, or fails as it is deployed")
        return inputs, notices

    def _refuse_missing(self, rows: Sequence[ComponentRow], present: Mapping[Key, Seen]) -> None:
        missing = [row for row in rows if (row.service, row.name) not in present]
        if missing:
            raise no_container(missing, [row for row in rows if row not in missing])

    def _tracker(self, row: ComponentRow) -> Tracker:
        tracker = self._trackers.get(row.container)
        if tracker is None:
            look_again = partial(self._look, row.service, row.name)
            tracker = self._trackers[row.container] = Tracker(row.container, look_again)
        return tracker

    async def _look(self, service: str, component: str) -> Seen | None:
        rows = await self._registry.call(Registry.components, service, component)
        if not rows:
            raise Removed
        return (await look(self._podman, rows)).get((service, component))


def no_container(missing: Sequence[ComponentRow], there: Sequence[ComponentRow]) -> NotFound:
    """The error for components that have no container."""
    what = f"no container named {', '.join(sorted(row.container for row in missing))}"
    others = f"there are {', '.join(sorted(row.container for row in there))}; " if there else ""
    return NotFound(what, f"{others}start or deploy the service first")
