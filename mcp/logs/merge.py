"""Merge of logs: the lines of all components of all nodes, by time.

Agents send the lines of each component in order, and a watermark up to which they have sent everything. A line is shown
once no component can have an earlier one. With one node, its watermarks alone decide. With several, a thread per node
reads blocks, and an idle node does not delay the others for long: QUIET seconds while it sends its history; afterwards
lines are held back for HOLD seconds only, to be sorted.
"""

import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import accumulate, groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from mcp.logs.blocks import TIME_WIDTH, Origin, Piece, is_timed, pieces
from mcp.logs.follow import NodeLogs
from mcp.logs.view import LogView, notice
from mcp.shared import watermark
from mcp.shared.errors import EXIT_DONE, EXIT_FAILED, McpError, Unauthenticated
from mcp.terminal import output

if TYPE_CHECKING:
    from proto.mcp.v1 import mcp_pb2 as pb

HOLD = 0.05  # seconds
QUIET = 1.0  # seconds
LIMIT = 8_000_000  # bytes, approximately, buffered per node; it is read no further until the other nodes catch up
OVERHEAD = 200  # bytes of memory per buffered line
POLL = 0.02  # seconds between checks for due lines while lines are buffered
END = watermark.END.encode()

Item = tuple[bytes, Origin | None, bytes]  # time, origin, line; a marker has no origin
Key = tuple[str, str]
_WHOLE: Key = ("", "")  # for a node that sends all lines in order
_time, _origin, _data = itemgetter(0), itemgetter(1), itemgetter(2)


class Lane:
    """Buffered lines of a node by component, with times that never decrease."""

    def __init__(self, logs: NodeLogs, *, strip: bool, with_node: bool) -> None:
        """Prepare a lane; with `strip`, lines lose their times; `with_node`: notices name the node."""
        self.logs = logs
        self.size = 0
        self.sure = b""  # no earlier line follows
        self.heard = time.monotonic()  # the last time that it sent later lines than before
        self.is_live = False  # its history is complete
        self.is_done = False
        self.error: McpError | None = None
        self.is_told = False  # the error was printed
        self._strip, self._with_node = strip, with_node
        self._items: dict[Key, list[Item]] = {}
        self._latest: dict[Key, bytes] = {}
        self._inside: set[Origin] = set()  # origins with an unfinished line
        self._arrivals: deque[tuple[float, bytes]] = deque()  # arrival and last time of each buffered block

    def parse(self, block: "pb.LogsResponse | str") -> list[tuple[Key, list[Item]]]:
        """Return the lines and markers of a block by component, for `add`."""
        if isinstance(block, str):
            return [(_WHOLE, [(max(self._latest.values(), default=b""), None, block.encode())])]
        node = self.logs.node.name
        found: list[tuple[Key, list[Item]]] = []
        split = bool(block.watermark)
        if block.notice:
            text = notice(block, node, with_node=self._with_node)
            key = (block.cursors[0].service, block.cursors[0].component) if split and block.cursors else _WHOLE
            found.append((key, [(self._latest.get(key, b""), None, text.encode())]))
        for key, parts in groupby(pieces(block, node), lambda piece: piece[0][1:3] if split else _WHOLE):
            found.append((key, self._lines(key, parts)))
        return found

    def add(self, block: "pb.LogsResponse | str", found: list[tuple[Key, list[Item]]]) -> None:
        """Add the items of a block, and update the watermark."""
        for key, items in found:
            self._items.setdefault(key, []).extend(items)
            self.size += _size(items)
        now, before = time.monotonic(), self.sure
        if found:
            self._arrivals.append((now, max(items[-1][0] for _, items in found)))
        if isinstance(block, str):
            return
        if block.watermark:
            self.is_live = block.watermark == watermark.END
            self.sure = b"" if self.is_live else block.watermark.encode()
        else:
            self.is_live = self.is_live or block.caught_up
            self.sure = self._latest.get(_WHOLE, b"")
        if self.sure != before:
            self.heard = now

    def release(self, until: bytes) -> list[Item]:
        """Remove and return the items up to a time, sorted."""
        was_full, released = self.is_full(), list[Item]()
        for items in self._items.values():
            if count := bisect_right(items, until, key=_time):
                released += items[:count]
                del items[:count]
        while self._arrivals and self._arrivals[0][1] <= until:
            self._arrivals.popleft()
        if released:
            released.sort(key=_time)
            self.size -= _size(released)
        if released and was_full:  # it has waited for buffer space
            self.heard = time.monotonic()
        return released

    def due(self, arrived: float) -> bytes:
        """Return the latest time of buffered blocks that arrived before then."""
        return max((last for came, last in self._arrivals if came <= arrived), default=b"")

    def holds_back(self, now: float) -> bool:
        """Return True if the node may still send lines earlier than those of others."""
        return not self.is_live and now - self.heard < QUIET

    def is_full(self) -> bool:
        """Return True if the buffer is full and does not wait for more of this node."""
        return self.size >= LIMIT and (
            self.is_live or any(items[0][0] <= self.sure for items in self._items.values() if items)
        )

    def _lines(self, key: Key, parts: Iterable[Piece]) -> list[Item]:
        times: list[bytes] = []
        origins: list[Origin | None] = []
        texts: list[bytes] = []
        for origin, data in parts:
            lines = data.split(b"\n")
            rest = lines.pop()
            found = [line + b"\n" for line in lines]
            if rest:
                found.append(rest)
            stamps = [line[: TIME_WIDTH - 1] if is_timed(line) else b"" for line in found]
            if origin in self._inside:  # continues a line whose time is known
                stamps[0] = b""
            (self._inside.add if rest else self._inside.discard)(origin)
            if self._strip:
                found = [line[TIME_WIDTH:] if stamp else line for stamp, line in zip(stamps, found, strict=True)]
            times += stamps
            origins += [origin] * len(found)
            texts += found
        return [*zip(self._in_order(key, times), origins, texts, strict=True)]

    def _in_order(self, key: Key, times: list[bytes]) -> list[bytes]:
        """Return times that never decrease even if the clock did, up to the last line's, as the agent does."""
        latest = self._latest.get(key, b"")
        last = max(latest, next((stamp for stamp in reversed(times) if stamp), b""))
        self._latest[key] = last
        if times[0] >= latest and times == sorted(times):
            return times
        return [min(stamp, last) for stamp in accumulate(times, max, initial=latest)][1:]


def _size(items: list[Item]) -> int:
    return sum(map(len, map(_data, items))) + OVERHEAD * len(items)


class Merge:
    """Merge and show the logs of nodes."""

    def __init__(self, nodes: Sequence[NodeLogs], view: LogView, *, strip: bool) -> None:
        """Take nodes whose lines are timed if there are several nodes or components; `strip` removes the times."""
        self._lanes = [Lane(logs, strip=strip, with_node=len(nodes) > 1) for logs in nodes]
        self._view = view
        self._news = threading.Condition()

    def run(self) -> int:
        """Show logs until all nodes have ended; return the exit code.

        Raises McpError if the only node fails, Unauthenticated if all reject the token.
        """
        try:
            if len(self._lanes) == 1:
                self._run_one(self._lanes[0])
            else:
                self._run_all()
        finally:
            for lane in self._lanes:
                lane.logs.close()
            self._view.end()
        return self._end()

    def _run_one(self, lane: Lane) -> None:
        """Show the logs of the only node, those of a single component without buffering."""
        node = lane.logs.node.name
        try:
            with closing(lane.logs.blocks()) as blocks:
                for block in blocks:
                    if not isinstance(block, str) and block.watermark:
                        lane.add(block, lane.parse(block))
                        self._show(lane.release(END if lane.is_live else lane.sure))
                        continue
                    self._show(lane.release(END))
                    if isinstance(block, str):
                        self._view.marker(block)
                        continue
                    if block.notice:
                        self._view.marker(notice(block, node, with_node=False))
                    self._view.show(pieces(block, node))
        except McpError:
            self._show(lane.release(END))
            raise
        self._show(lane.release(END))

    def _run_all(self) -> None:
        for lane in self._lanes:
            threading.Thread(target=self._pump, args=(lane,), daemon=True).start()
        while self._step():
            pass

    def _step(self) -> bool:
        """Show the lines that are due, or wait for more; return False at the end."""
        with self._news:
            items = self._ready()
            errors = self._untold()
            waiting = any(lane.size for lane in self._lanes)
            more = waiting or not all(lane.is_done for lane in self._lanes)
            if more and not items and not errors:
                self._news.wait(POLL if waiting else None)
            self._news.notify_all()  # threads with a full buffer
        for error in errors:
            output.error(str(error))
        self._show(items)
        return more

    def _ready(self) -> list[Item]:
        """Return the due lines, by time."""
        until = self._cutoff(time.monotonic())
        ready = [item for lane in self._lanes for item in lane.release(until)]
        ready.sort(key=_time)
        return ready

    def _cutoff(self, now: float) -> bytes:
        """Return the time up to which lines are due."""
        active = [lane for lane in self._lanes if not lane.is_done]
        if not active:
            return END
        sure = min(lane.sure for lane in active)
        bound = min((lane.sure for lane in active if lane.holds_back(now)), default=END)
        due = max(lane.due(now - HOLD) for lane in self._lanes)
        return max(sure, min(bound, due))

    def _untold(self) -> list[McpError]:
        """Return the errors to print now; a token rejected everywhere is one error at the end."""
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

    def _show(self, items: list[Item]) -> None:
        """Show items: consecutive lines of one origin as one piece, and markers between them."""
        parts: list[Piece] = []
        for origin, lines in groupby(items, _origin):
            if origin is not None:
                parts.append((origin, b"".join(map(_data, lines))))
                continue
            self._view.show(parts)
            parts = []
            for text in map(_data, lines):
                self._view.marker(text.decode())
        self._view.show(parts)

    def _pump(self, lane: Lane) -> None:
        """Read a node's blocks into its lane, at most about LIMIT bytes ahead of the output."""
        try:
            for block in lane.logs.blocks():
                found = lane.parse(block)
                with self._news:
                    lane.add(block, found)
                    self._news.notify_all()
                    self._news.wait_for(lambda: not lane.is_full())
        except McpError as error:
            lane.error = error
        except Exception as error:  # noqa: BLE001 - closing the channel at the end of the command can raise anything
            lane.error = McpError(str(error), node=lane.logs.node.name)
        with self._news:
            lane.is_done = True
            self._news.notify_all()
