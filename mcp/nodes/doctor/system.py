"""Checks of the node itself: disks, clock, ports."""

from collections.abc import Iterator
from dataclasses import dataclass

from mcp.nodes.doctor.model import Finding, Inspection, error, ok, warning

FIRST_PORT, LAST_PORT = 10000, 60000  # range from which the agent assigns ports to routes
FEW_PORTS = 1000
LISTENING = "0A"  # proc(5), /proc/net/tcp: st
DISK_ERROR, DISK_WARNING = 200 * 1024**2, 2 * 1024**3  # bytes free
INODES_WARNING = 10_000
CLOCK_WARNING, CLOCK_ERROR = 2.0, 60.0  # seconds


@dataclass(frozen=True)
class Skew:
    """Offset of a node's clock from ours, in seconds (positive: ahead), and its uncertainty either way."""

    ahead: float
    uncertainty: float

    @property
    def at_least(self) -> float:
        """The minimum difference of the clocks."""
        return max(0.0, abs(self.ahead) - self.uncertainty)


def skew(before: float, node_time: float, after: float) -> Skew:
    """Compute the skew from our time before and after a request, and the node's (seconds since the epoch)."""
    return Skew(node_time - (before + after) / 2, (after - before) / 2)


def check(inspection: Inspection) -> Iterator[Finding]:
    """Check disks and ports."""
    yield from disks(inspection)
    yield from ports(inspection)


def clock(measured: Skew, remedy: str) -> Finding:
    """Judge a clock skew."""
    direction = "ahead of" if measured.ahead > 0 else "behind"
    size = f"{abs(measured.ahead):.2f} s (± {measured.uncertainty:.2f} s) {direction} this machine's"
    if measured.at_least >= CLOCK_ERROR:
        return error("clock", f"the clock is {size}: tokens and certificates appear expired or not yet valid", remedy)
    if measured.at_least >= CLOCK_WARNING:
        return warning("clock", f"the clock is {size}", remedy)
    return ok("clock", f"the clock is {size}")


def disks(inspection: Inspection) -> Iterator[Finding]:
    """Check the free space of all relevant file systems."""
    inodes = {row[5]: int(row[3]) for row in _table(inspection, "inodes")}
    for row in _table(inspection, "disk"):
        yield room(row[5], int(row[3]) * 1024, int(row[1]) * 1024, inodes.get(row[5]))


def room(where: str, free: int, total: int, inodes: int | None = None) -> Finding:
    """Judge free space in bytes; `inodes` is the number of free inodes, 0 or None: no limit."""
    text = f"{where}: {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
    do = "free space: the images and volumes that `mcp doctor -v` lists as unused, old files below /srv"
    if free < DISK_ERROR:
        return error("disk", f"{text}: the disk is full; nothing can be deployed, and logs are lost", do)
    if inodes and inodes < INODES_WARNING:
        return warning("disk", f"{where}: only {inodes} free inodes", do)
    if free < DISK_WARNING:
        return warning("disk", text, do)
    return ok("disk", text)


def ports(inspection: Inspection) -> Iterator[Finding]:
    """Check the free ports for routes; an overlap is harmless, as the agent tries a port before it assigns it."""
    words = inspection.text("ports").split()
    taken = {port for port in _listening(inspection) if FIRST_PORT <= port <= LAST_PORT}
    free = LAST_PORT - FIRST_PORT + 1 - len(taken)
    text = f"{free} ports of {FIRST_PORT} to {LAST_PORT} are free"
    if len(words) == 2 and all(word.isdigit() for word in words):
        text += f"; {words[0]} to {words[1]} also serve outgoing connections"
    if free < FEW_PORTS:
        yield warning("ports", text, "list the listeners: " + inspection.command("ss", "-Htlnp"))
    else:
        yield ok("ports", text)


def _table(inspection: Inspection, section: str) -> list[list[str]]:
    """Return the rows of `df -P`, each file system once: name, blocks, used, available, %, mount point."""
    rows = {row[5]: row for row in (line.split(None, 5) for line in inspection.lines(section)[1:]) if len(row) == 6}
    return [row for row in rows.values() if row[1].isdigit() and row[3].isdigit()]


def _listening(inspection: Inspection) -> set[int]:
    rows = [line.split() for line in inspection.lines("listening")]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if len(row) > 3 and row[3] == LISTENING}
