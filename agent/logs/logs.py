"""Serve the servicer's log requests: select components and readers, and send one log or several in turns."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from functools import partial
from weakref import WeakValueDictionary

from agent.logs import time_window
from agent.logs.blocks import LogBlock, in_turns, single
from agent.logs.component import ComponentLog, ComponentQuery
from agent.logs.follow import Removed, Tracker
from agent.logs.grep import Filter, Workers
from agent.logs.inotify import Inotify
from agent.logs.k8s_file.rotation import LogRetention
from agent.logs.k8s_file.segments import SegmentLinker
from agent.logs.model import LogReader, LogSource, Piece
from agent.logs.readers import PickReader, Readers
from agent.logs.sources import ContainerSnapshot, inspect_containers
from agent.podman.client import Podman
from agent.store.components import Deployed, select_deployed
from agent.store.registry import AsyncRegistry
from mcp.shared.errors import InvalidInput, NotFound, NotReady, Unavailable

Key = tuple[str, str]

NO_PREVIOUS = (
    "a log is saved when a container is replaced, or fails while it is deployed; "
    "the log of a restarted container includes its earlier runs: leave out --previous"
)


@dataclass(frozen=True)
class AgentLogsQuery:
    """The arguments of a call, with texts and `tail` as in LogsRequest.

    `every` selects all services of the node. With `merges`, the client merges several components by the times that
    prefix their lines.
    """

    targets: Sequence[Key] = ()
    every: bool = False
    since: str = ""
    until: str = ""
    tail: int = 0
    follow: bool = False
    timed: bool = False
    merges: bool = False
    grep: Sequence[str] = ()
    exclude: Sequence[str] = ()
    ignore_case: bool = False
    previous: bool = False
    cursors: Mapping[Key, str] = field(default_factory=dict)


@dataclass
class _Selection:
    """The inputs selected by a query at the time `now`, one for each of `names`, and notices.

    A single component is sent as it is; if more are `expected`, in turns.
    """

    now: int = field(default_factory=time.time_ns)
    expected: int = 0
    names: list[str] = field(default_factory=list)
    inputs: list[AsyncGenerator[Piece]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def add(self, key: Key, pieces: AsyncGenerator[Piece]) -> None:
        """Add a component."""
        self.names.append("/".join(key))
        self.inputs.append(pieces)


class Logs:
    """The logs of this node's components."""

    def __init__(self, podman: Podman, registry: AsyncRegistry) -> None:
        """Take podman and the registry, whose components' logs can be read."""
        self._podman = podman
        self._registry = registry
        self._searchers = Workers()
        self._notifier = Inotify()
        self._readers = Readers(podman, self._notifier)
        self._trackers: WeakValueDictionary[str, Tracker] = WeakValueDictionary()  # by container
        self._retention = LogRetention(podman, registry, SegmentLinker(self._notifier))
        podman.on_start.append(self._started)

    async def retain_rotated(self) -> None:
        """Retain rotated log files until cancelled."""
        await self._retention.run()

    async def close(self) -> None:
        """Stop tracking containers and watching files."""
        await asyncio.gather(*(tracker.stop() for tracker in list(self._trackers.values())))
        self._notifier.close()

    def _started(self, container: str) -> None:
        """Handle the start of a container: watch its log and make its tracker inspect it at once."""
        self._retention.started(container)
        if (tracker := self._trackers.get(container)) is not None:
            tracker.inspect_now()

    async def read(self, query: AgentLogsQuery) -> AsyncGenerator[LogBlock]:
        """Yield the selected logs, followed if `follow`. Closing the iterator releases its resources.

        Raises:
            InvalidInput: An argument is malformed.
            NotFound: A component or its container does not exist; the hint names those that do.
            NotReady: A log cannot be read.
        """
        try:
            async with aclosing(self._read(query)) as blocks:
                async for block in blocks:
                    yield block
        except Unavailable as error:  # which clients take for an agent that is restarting
            raise NotReady(error.what, error.hint) from None

    async def _read(self, query: AgentLogsQuery) -> AsyncGenerator[LogBlock]:
        async with AsyncExitStack() as stack:
            pick: PickReader = self._readers.pick
            if query.grep or query.exclude:
                line_filter = Filter(query.grep, query.exclude, ignore_case=query.ignore_case, workers=self._searchers)
                pick = partial(self._pick_filtered, await stack.enter_async_context(line_filter))
            selection = _Selection()
            await (self._previous if query.previous else self._present)(query, pick, selection)
            for notice in selection.notices:
                yield LogBlock(notice=notice)
            if not selection.inputs:
                yield LogBlock(caught_up=True)
                return
            is_single = selection.expected == 1
            blocks = single(selection.inputs[0]) if is_single else in_turns(selection.inputs, selection.names)
            async with aclosing(blocks):
                async for block in blocks:
                    yield block

    def _pick_filtered(self, line_filter: Filter, item: LogReader | LogSource) -> LogReader:
        return line_filter.filtered(self._readers.pick(item))

    async def _previous(self, query: AgentLogsQuery, pick: PickReader, selection: "_Selection") -> None:
        """Select previous logs, including those of components whose first deploy failed."""
        if query.follow:
            raise InvalidInput("previous: a removed container cannot be followed")
        keys = await self._previous_keys(query)
        selection.expected = len(keys)
        for key in keys:
            previous = await self._registry.call(self._registry.previous_logs.find, *key)
            if previous is None:
                if not query.every:  # with all services, most have none
                    selection.notices.append(f"{'/'.join(key)}: has no previous container")
            elif (log := await self._log(query, key, pick, selection)) is not None:
                selection.add(key, log.previous(previous, *key))
        if not selection.inputs and keys:
            what = "; ".join(selection.notices) or "no component on this node has a previous container"
            raise NotFound(what, NO_PREVIOUS)

    async def _previous_keys(self, query: AgentLogsQuery) -> list[Key]:
        """Return the requested components: deployed ones, and others that have a previous log."""
        saved = await self._registry.call(self._registry.previous_logs.names)
        if query.every:
            rows = await self._registry.call(self._registry.components.deployed)
            return sorted({*((row.service, row.name) for row in rows), *saved})
        keys: dict[Key, None] = {}
        for service, component in query.targets:
            matching = [key for key in saved if key[0] == service and component in ("", key[1])]
            deployed = await self._registry.call(self._registry.components.deployed, service, component)
            if not deployed and not matching:
                await self._deployed(service, component)  # raises NotFound
            keys |= dict.fromkeys([*((row.service, row.name) for row in deployed), *matching])
        return list(keys)

    async def _present(self, query: AgentLogsQuery, pick: PickReader, selection: "_Selection") -> None:
        """Select the logs of present containers and, with `follow`, of their successors."""
        rows = await self._rows(query)
        selection.expected = len(rows)
        present: Mapping[Key, ContainerSnapshot] | None = None
        for row in rows:
            key = row.service, row.name
            if (log := await self._log(query, key, pick, selection)) is None:
                continue
            if query.follow and not log.is_over(selection.now):
                selection.add(key, log.follow(self._tracker(row), wait=query.every or key in query.cursors))
                continue
            if present is None:
                present = await inspect_containers(self._podman, rows)
                if not query.every:
                    self._refuse_missing(rows, present)
            if key in present:
                selection.add(key, log.once(present[key].source))
            else:
                selection.notices.append(f"{'/'.join(key)}: has no container")

    async def _rows(self, query: AgentLogsQuery) -> list[Deployed]:
        if query.every:
            return await self._registry.call(self._registry.components.deployed)
        rows: dict[Key, Deployed] = {}
        for service, component in query.targets:
            for row in await self._deployed(service, component):
                rows[row.service, row.name] = row
        return list(rows.values())

    async def _deployed(self, service: str, component: str) -> list[Deployed]:
        """Return the requested components; raises NotFound, with a hint if a failed deploy left a previous log."""
        try:
            return select_deployed(await self._registry.call(self._registry.components.deployed), service, component)
        except NotFound:
            saved = await self._registry.call(self._registry.previous_logs.names)
            if not any(key[0] == service and component in ("", key[1]) for key in saved):
                raise
            name = f"{service}/{component}" if component else service
            hint = "the log of its failed deploy is saved: give --previous"
            raise NotFound(f"{name} is not deployed on this node", hint) from None

    async def _log(
        self, query: AgentLogsQuery, key: Key, pick: PickReader, selection: "_Selection"
    ) -> ComponentLog | None:
        """Return a component's log; with `every`, return None and add a notice if its window cannot be resolved."""
        times = {"since": query.since, "until": query.until}
        try:
            window = await time_window.resolve(self._registry, key[0], **times, tail=query.tail, now=selection.now)
        except NotFound as error:  # `deploy` for a component without one, as after adoption
            if not query.every:
                raise
            selection.notices.append(f"{'/'.join(key)}: {error}")
            return None
        timed = query.timed or (query.merges and selection.expected > 1)
        component_query = ComponentQuery(window, timed, query.cursors.get(key, ""))
        find_previous = partial(self._registry.call, self._registry.previous_logs.find, *key)
        return ComponentLog(component_query, pick, find_previous)

    def _refuse_missing(self, rows: Sequence[Deployed], present: Mapping[Key, ContainerSnapshot]) -> None:
        missing = [row for row in rows if (row.service, row.name) not in present]
        if missing:
            raise no_container(missing, [row for row in rows if row not in missing])

    def _tracker(self, row: Deployed) -> Tracker:
        tracker = self._trackers.get(row.container)
        if tracker is None:
            inspect = partial(self._inspect, row.service, row.name)
            tracker = self._trackers[row.container] = Tracker(row.container, inspect, self._notifier)
        return tracker

    async def _inspect(self, service: str, component: str) -> ContainerSnapshot | None:
        rows = await self._registry.call(self._registry.components.deployed, service, component)
        if not rows:
            raise Removed
        return (await inspect_containers(self._podman, rows)).get((service, component))


def no_container(missing: Sequence[Deployed], existing: Sequence[Deployed]) -> NotFound:
    """Return the error for components that have no container."""
    what = f"no container named {', '.join(sorted(row.container for row in missing))}"
    others = f"there are {', '.join(sorted(row.container for row in existing))}; " if existing else ""
    return NotFound(what, f"{others}start or deploy the service first")
