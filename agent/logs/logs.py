"""Logs as the servicer asks for them: which components, from which readers, alone or in turns."""

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
from agent.logs.grep import Filter
from agent.logs.inotify import Inotify
from agent.logs.k8s_file.rotation import RotationKeeper
from agent.logs.k8s_file.segments import Keeper
from agent.logs.model import LogReader, LogSource, Piece
from agent.logs.readers import Readers, Wrap
from agent.logs.sources import Seen, inspect_containers
from agent.podman.client import Podman
from agent.store.components import ComponentRow, select_deployed
from agent.store.registry import AsyncRegistry
from mcp.shared.errors import InvalidInput, NotFound, NotReady, Unavailable

Key = tuple[str, str]

NO_PREVIOUS = (
    "one is kept when a container is replaced, or fails as it is deployed; "
    "a container that was started again has what it wrote before in its log: leave out --previous"
)


@dataclass(frozen=True)
class AgentLogsQuery:
    """The arguments of a call; the texts and `tail` are as in LogsRequest. `every`: all services of the node.

    `merges`: the client merges several components, by times in front of their lines.
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
class _Found:
    """The streams to read for a query that came at `now`, one for each of `names`, and notices.

    Of `expected` components, one is sent as it is, more than one in turns.
    """

    now: int = field(default_factory=time.time_ns)
    expected: int = 0
    names: list[str] = field(default_factory=list)
    inputs: list[AsyncGenerator[Piece]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def add(self, key: Key, pieces: AsyncGenerator[Piece]) -> None:
        """One more component."""
        self.names.append("/".join(key))
        self.inputs.append(pieces)


class Logs:
    """The logs of this node's components."""

    def __init__(self, podman: Podman, registry: AsyncRegistry) -> None:
        """Read the logs of what `registry` knows."""
        self._podman = podman
        self._registry = registry
        self._news = Inotify()
        self._readers = Readers(podman, self._news)
        self._trackers: WeakValueDictionary[str, Tracker] = WeakValueDictionary()  # by container
        self._upkeep = RotationKeeper(podman, registry, Keeper(self._news))
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

    async def read(self, query: AgentLogsQuery) -> AsyncGenerator[LogBlock]:
        """Yield the log, and with `follow` what is logged from now on.

        Raises NotFound with what there is, InvalidInput, and NotReady where a log cannot be read. Closing it ends all
        that it began.
        """
        try:
            async with aclosing(self._read(query)) as blocks:
                async for block in blocks:
                    yield block
        except Unavailable as error:  # to a client it would mean that the agent is about to be back
            raise NotReady(error.what, error.hint) from None

    async def _read(self, query: AgentLogsQuery) -> AsyncGenerator[LogBlock]:
        async with AsyncExitStack() as stack:
            wrap: Wrap = self._readers.pick
            if query.grep or query.exclude:
                matching = Filter(query.grep, query.exclude, ignore_case=query.ignore_case)
                wrap = partial(self._filtered, await stack.enter_async_context(matching))
            found = _Found()
            await (self._previous if query.previous else self._present)(query, wrap, found)
            for notice in found.notices:
                yield LogBlock(notice=notice)
            if not found.inputs:
                yield LogBlock(caught_up=True)
                return
            one = found.expected == 1
            blocks = single(found.inputs[0]) if one else in_turns(found.inputs, found.names)
            async with aclosing(blocks):
                async for block in blocks:
                    yield block

    def _filtered(self, matching: Filter, what: LogReader | LogSource) -> LogReader:
        return matching.over(self._readers.pick(what))

    async def _previous(self, query: AgentLogsQuery, wrap: Wrap, found: "_Found") -> None:
        """Find the logs kept of former containers, also of components whose first deploy failed."""
        if query.follow:
            raise InvalidInput("previous: a container that is gone cannot be followed")
        keys = await self._kept_keys(query)
        found.expected = len(keys)
        for key in keys:
            kept = await self._registry.call(self._registry.previous_logs.find, *key)
            if kept is None:
                if not query.every:  # of a whole fleet that is most
                    found.notices.append(f"{'/'.join(key)}: has no previous container")
            elif (log := await self._log(query, key, wrap, found)) is not None:
                found.add(key, log.previous(kept, *key))
        if not found.inputs and keys:
            what = "; ".join(found.notices) or "no component on this node has a previous container"
            raise NotFound(what, NO_PREVIOUS)

    async def _kept_keys(self, query: AgentLogsQuery) -> list[Key]:
        """The components asked for: those deployed, and those of which only a log is kept."""
        kept = await self._registry.call(self._registry.previous_logs.names)
        if query.every:
            rows = await self._registry.call(self._registry.components.select)
            return sorted({*((row.service, row.name) for row in rows), *kept})
        keys: dict[Key, None] = {}
        for service, component in query.targets:
            only_kept = [key for key in kept if key[0] == service and component in ("", key[1])]
            deployed = await self._registry.call(self._registry.components.select, service, component)
            if not deployed and not only_kept:
                await self._deployed(service, component)  # raises with what there is
            keys |= dict.fromkeys([*((row.service, row.name) for row in deployed), *only_kept])
        return list(keys)

    async def _present(self, query: AgentLogsQuery, wrap: Wrap, found: "_Found") -> None:
        """Find the logs of present containers, and with `follow` of those to come."""
        rows = await self._rows(query)
        found.expected = len(rows)
        present: Mapping[Key, Seen] | None = None
        for row in rows:
            key = row.service, row.name
            if (log := await self._log(query, key, wrap, found)) is None:
                continue
            if query.follow and not log.is_over(found.now):
                found.add(key, log.follow(self._tracker(row), patient=query.every or key in query.cursors))
                continue
            if present is None:
                present = await inspect_containers(self._podman, rows)
                if not query.every:
                    self._refuse_missing(rows, present)
            if key in present:
                found.add(key, log.once(present[key].source))
            else:
                found.notices.append(f"{'/'.join(key)}: has no container")

    async def _rows(self, query: AgentLogsQuery) -> list[ComponentRow]:
        if query.every:
            return await self._registry.call(self._registry.components.select)
        found: dict[Key, ComponentRow] = {}
        for service, component in query.targets:
            for row in await self._deployed(service, component):
                found[row.service, row.name] = row
        return list(found.values())

    async def _deployed(self, service: str, component: str) -> list[ComponentRow]:
        """The components asked for; NotFound says what there is, and whether a failed deploy has left its words."""
        try:
            return select_deployed(await self._registry.call(self._registry.components.select), service, component)
        except NotFound:
            kept = await self._registry.call(self._registry.previous_logs.names)
            if not any(key[0] == service and component in ("", key[1]) for key in kept):
                raise
            name = f"{service}/{component}" if component else service
            hint = "what its container wrote before its deploy failed is kept: give --previous"
            raise NotFound(f"{name} is not deployed on this node", hint) from None

    async def _log(self, query: AgentLogsQuery, key: Key, wrap: Wrap, found: "_Found") -> ComponentLog | None:
        """A component's log as it is asked for; None, and a notice, where everything is asked for but this has none."""
        times = {"since": query.since, "until": query.until}
        try:
            bounds = await time_window.resolve(self._registry, key[0], **times, tail=query.tail, now=found.now)
        except NotFound as error:  # no deploy to begin at, as with what was adopted
            if not query.every:
                raise
            found.notices.append(f"{'/'.join(key)}: {error}")
            return None
        timed = query.timed or (query.merges and found.expected > 1)
        wanted = ComponentQuery(bounds, timed, query.cursors.get(key, ""))
        return ComponentLog(wanted, wrap, partial(self._registry.call, self._registry.previous_logs.find, *key))

    def _refuse_missing(self, rows: Sequence[ComponentRow], present: Mapping[Key, Seen]) -> None:
        missing = [row for row in rows if (row.service, row.name) not in present]
        if missing:
            raise no_container(missing, [row for row in rows if row not in missing])

    def _tracker(self, row: ComponentRow) -> Tracker:
        tracker = self._trackers.get(row.container)
        if tracker is None:
            look_again = partial(self._look, row.service, row.name)
            tracker = self._trackers[row.container] = Tracker(row.container, look_again, self._news)
        return tracker

    async def _look(self, service: str, component: str) -> Seen | None:
        rows = await self._registry.call(self._registry.components.select, service, component)
        if not rows:
            raise Removed
        return (await inspect_containers(self._podman, rows)).get((service, component))


def no_container(missing: Sequence[ComponentRow], there: Sequence[ComponentRow]) -> NotFound:
    """The error for components that have no container."""
    what = f"no container named {', '.join(sorted(row.container for row in missing))}"
    others = f"there are {', '.join(sorted(row.container for row in there))}; " if there else ""
    return NotFound(what, f"{others}start or deploy the service first")
