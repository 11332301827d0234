"""The node itself: room on its disks, its clock, its ports."""

from collections.abc import Iterator
from dataclasses import dataclass

from mcp.nodes.doctor.model import Finding, There, error, ok, warning

FIRST_PORT, LAST_PORT = 10000, 60000  # of which the agent gives ports to routes
FEW_PORTS = 1000
LISTENING = "0A"  # proc(5), /proc/net/tcp: st
DISK_ERROR, DISK_WARNING = 200 * 1024**2, 2 * 1024**3  # bytes free
INODES_WARNING = 10_000
CLOCK_WARNING, CLOCK_ERROR = 2.0, 60.0  # seconds


@dataclass(frozen=True)
class Skew:
    """How far a node's clock is ahead of ours, in seconds, and by how much that may be wrong either way."""

    ahead: float
    uncertainty: float

    @property
    def at_least(self) -> float:
        """How much the clocks differ for certain."""
        return max(0.0, abs(self.ahead) - self.uncertainty)


def skew(before: float, there: float, after: float) -> Skew:
    """From our time before and after a question, and the node's own in between (seconds since 1970)."""
    return Skew(there - (before + after) / 2, (after - before) / 2)


def check(there: There) -> Iterator[Finding]:
    """Disks and ports."""
    yield from disks(there)
    yield from ports(there)


def clock(found: Skew, mend: str) -> Finding:
    """What a measured difference means; `mend` is what to do."""
    direction = "ahead of" if found.ahead > 0 else "behind"
    size = f"{abs(found.ahead):.2f} s (± {found.uncertainty:.2f} s) {direction} this machine's"
    if found.at_least >= CLOCK_ERROR:
        return error("clock", f"the clock is {size}: tokens and certificates are taken for expired or too new", mend)
    if found.at_least >= CLOCK_WARNING:
        return warning("clock", f"the clock is {size}", mend)
    return ok("clock", f"the clock is {size}")


def disks(there: There) -> Iterator[Finding]:
    """Room on every file system that matters, each once."""
    inodes = {row[5]: int(row[3]) for row in _table(there, "inodes")}
    for row in _table(there, "disk"):
        yield room(row[5], int(row[3]) * 1024, int(row[1]) * 1024, inodes.get(row[5]))


def room(where: str, free: int, total: int, inodes: int | None = None) -> Finding:
    """What so much room means, in bytes; `inodes`: how many files more there can be, 0 or None: no limit."""
    text = f"{where}: {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
    do = "remove what is not needed: `podman image prune --all` as mcp, old files below /srv"
    if free < DISK_ERROR:
        return error("disk", f"{text}: the disk is full; nothing can be deployed, and logs are lost", do)
    if inodes and inodes < INODES_WARNING:
        return warning("disk", f"{where}: room for only {inodes} files more", do)
    if free < DISK_WARNING:
        return warning("disk", text, do)
    return ok("disk", text)


def ports(there: There) -> Iterator[Finding]:
    """How many ports are left for routes. The agent tries each port before it takes it, so an overlap does no harm."""
    words = there.text("ports").split()
    taken = {port for port in _listening(there) if FIRST_PORT <= port <= LAST_PORT}
    free = LAST_PORT - FIRST_PORT + 1 - len(taken)
    text = f"{free} ports of {FIRST_PORT} to {LAST_PORT} are free"
    if len(words) == 2 and all(word.isdigit() for word in words):
        text += f"; {words[0]} to {words[1]} also serve outgoing connections"
    if free < FEW_PORTS:
        yield warning("ports", text, there.command("ss", "-Htlnp") + " shows whose the others are")
    else:
        yield ok("ports", text)


def _table(there: There, section: str) -> list[list[str]]:
    """The rows of `df -P`, each file system once: name, blocks, used, available, %, where."""
    rows = {row[5]: row for row in (line.split(None, 5) for line in there.lines(section)[1:]) if len(row) == 6}
    return [row for row in rows.values() if row[1].isdigit() and row[3].isdigit()]


def _listening(there: There) -> set[int]:
    rows = [line.split() for line in there.lines("listening")]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if len(row) > 3 and row[3] == LISTENING}
