"""The logs of several nodes as one, by time.

Each node's lines come from a thread of its own. A line is shown once no node can still have an earlier one. A node that
is quiet never holds the others back: while it sends its history, it is waited for QUIET seconds, and afterwards,
when all that comes is new, lines are held back for HOLD seconds only, to be sorted.
"""

import threading
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from mcp.logs.blocks import TIME_WIDTH, Origin, Piece, is_timed, pieces
from mcp.logs.follow import NodeLogs
from mcp.logs.view import LogView, notice
from mcp.shared.errors import EXIT_DONE, EXIT_FAILED, McpError, Unauthenticated
from mcp.terminal import output

if TYPE_CHECKING:
    from proto.mcp.v1 import mcp_pb2 as pb

HOLD = 0.05  # seconds
QUIET = 1.0  # seconds
LIMIT = 8_000_000  # bytes that wait of one node, about; it sends no more until the others have come as far
OVERHEAD = 200  # bytes of memory for each line that waits
POLL = 0.02  # seconds; while lines wait, how often it is looked whether their time has come
_END = b"\xff"  # sorts after every time


class _Item(NamedTuple):
    """A line, or without an origin a marker, with its time and when it came (time.monotonic)."""

    time: bytes
    arrived: float
    origin: Origin | None
    data: bytes


_time, _arrived = itemgetter(0), itemgetter(1)


class Lane:
    """What came from one node and was not shown yet, in the order of times that never go back."""

    def __init__(self, logs: NodeLogs) -> None:
        """Nothing has come."""
        self.logs = logs
        self.items: list[_Item] = []
        self.size = 0
        self.last = b""  # the latest time so far: nothing earlier will come
        self.heard = time.monotonic()
        self.is_live = False  # its history has come
        self.is_done = False
        self.error: McpError | None = None
        self.is_told = False  # the error was said
        self._inside: set[Origin] = set()  # who has begun a line, and not ended it
        self._latest = b""  # what `last` becomes with the block that is being taken apart

    def parse(self, block: "pb.LogsResponse | str") -> list[_Item]:
        """The lines and markers of a block, for `add`."""
        now = time.monotonic()
        if isinstance(block, str):
            return [_Item(self._latest, now, None, block.encode())]
        node = self.logs.node.name
        found: list[_Item] = []
        if block.notice:
            found.append(_Item(self._latest, now, None, notice(block, node, with_node=True).encode()))
        for origin, data in pieces(block, node):
            lines = data.split(b"\n")
            rest = lines.pop()
            found += [self._line(now, origin, line + b"\n") for line in lines]
            if rest:
                found.append(self._line(now, origin, rest))
                self._inside.add(origin)
        return found

    def add(self, items: list[_Item], *, is_live: bool) -> None:
        """Let items wait to be shown; `is_live`: all history has come with them."""
        self.items += items
        self.size += sum(len(item.data) + OVERHEAD for item in items)
        self.last = self._latest
        self.heard = time.monotonic()
        self.is_live = self.is_live or is_live

    def release(self, until: bytes) -> list[_Item]:
        """Give away the items up to a time."""
        count = bisect_right(self.items, until, key=_time)
        released = self.items[:count]
        if count:
            del self.items[:count]
            self.size -= sum(len(item.data) + OVERHEAD for item in released)
            self.heard = time.monotonic()  # it may have had to wait until then
        return released

    def due(self, arrived: float) -> bytes:
        """The time of the last item that came before then."""
        count = bisect_right(self.items, arrived, key=_arrived)
        return self.items[count - 1].time if count else b""

    def holds_back(self, now: float) -> bool:
        """Whether it may be about to send something earlier than what the others have."""
        return not self.is_live and now - self.heard < QUIET

    def _line(self, now: float, origin: Origin, line: bytes) -> _Item:
        if origin in self._inside:  # goes on with one that has its time already
            self._inside.discard(origin)
        elif is_timed(line):
            self._latest = max(self._latest, line[:TIME_WIDTH])
        return _Item(self._latest, now, origin, line)


class Merge:
    """Shows the logs of several nodes."""

    def __init__(self, nodes: Sequence[NodeLogs], view: LogView, *, strip: bool) -> None:
        """The nodes' lines are timed; with `strip`, they are shown without their times."""
        self._lanes = [Lane(logs) for logs in nodes]
        self._view, self._strip = view, strip
        self._news = threading.Condition()
        self._inside: set[Origin] = set()  # who has begun a line that was shown, and not ended it

    def run(self) -> int:
        """Show everything until all nodes have ended; the exit code. Raises Unauthenticated where all refuse."""
        for lane in self._lanes:
            threading.Thread(target=self._pump, args=(lane,), daemon=True).start()
        try:
            while self._step():
                pass
        finally:
            for lane in self._lanes:
                lane.logs.close()
        self._view.end()
        return self._end()

    def _step(self) -> bool:
        """Show what can be shown, or wait for something; whether there may be more."""
        with self._news:
            items = self._ready()
            errors = self._untold()
            waiting = any(lane.items for lane in self._lanes)
            more = waiting or not all(lane.is_done for lane in self._lanes)
            if more and not items and not errors:
                self._news.wait(POLL if waiting else None)
            self._news.notify_all()  # those that have sent too much
        for error in errors:
            output.error(str(error))
        self._show(items)
        return more

    def _ready(self) -> list[_Item]:
        """What can be shown now, by time."""
        until = self._cutoff(time.monotonic())
        ready = [item for lane in self._lanes for item in lane.release(until)]
        ready.sort(key=_time)
        return ready

    def _cutoff(self, now: float) -> bytes:
        """The time up to which lines can be shown."""
        active = [lane for lane in self._lanes if not lane.is_done]
        if not active:
            return _END
        sure = min(lane.last for lane in active)
        bound = min((lane.last for lane in active if lane.holds_back(now)), default=_END)
        due = max(lane.due(now - HOLD) for lane in self._lanes)
        return max(sure, min(bound, due))

    def _untold(self) -> list[McpError]:
        """Errors to be said now; where a token is refused it may be so everywhere, which is one error."""
        found: list[McpError] = []
        anyone = any(lane.logs.answered for lane in self._lanes)
        for lane in self._lanes:
            if lane.error and not lane.is_told and (anyone or not isinstance(lane.error, Unauthenticated)):
                lane.is_told = True
                found.append(lane.error)
        return found

    def _end(self) -> int:
        left = [lane.error for lane in self._lanes if lane.error and not lane.is_told]
        if left and len(left) == len(self._lanes):
            raise left[0]
        for error in left:
            output.error(str(error))
        codes = {lane.error.exit_code if lane.error else EXIT_DONE for lane in self._lanes}
        return codes.pop() if len(codes) == 1 else EXIT_FAILED

    def _show(self, items: list[_Item]) -> None:
        lines: list[_Item] = []
        for item in items:
            if item.origin is not None:
                lines.append(item)
                continue
            self._view.show(self._joined(lines))
            self._view.marker(item.data.decode())
            lines = []
        self._view.show(self._joined(lines))

    def _joined(self, items: list[_Item]) -> Iterator[Piece]:
        """Neighbouring lines of one origin as one piece."""
        parts: list[bytes] = []
        before: Origin | None = None
        for _, _, origin, data in items:
            if before is not None and origin is not before and origin != before:
                yield before, b"".join(parts)
                parts = []
            before = origin
            parts.append(self._stripped(origin, data) if origin and self._strip else data)
        if before is not None:
            yield before, b"".join(parts)

    def _stripped(self, origin: Origin, line: bytes) -> bytes:
        goes_on = origin in self._inside
        (self._inside.discard if line.endswith(b"\n") else self._inside.add)(origin)
        return line if goes_on or not is_timed(line) else line[TIME_WIDTH:]

    def _pump(self, lane: Lane) -> None:
        """Bring what a node sends into its lane, at most LIMIT ahead of what is shown."""
        try:
            for block in lane.logs.blocks():
                items = lane.parse(block)
                with self._news:
                    lane.add(items, is_live=not isinstance(block, str) and block.caught_up)
                    self._news.notify_all()
                    self._news.wait_for(lambda: lane.size < LIMIT)
        except McpError as error:
            lane.error = error
        except Exception as error:  # noqa: BLE001 - the channel was closed under it, as at the end of the command
            lane.error = McpError(str(error), node=lane.logs.node.name)
        with self._news:
            lane.is_done = True
            self._news.notify_all()
