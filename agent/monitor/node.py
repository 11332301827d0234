"""Facts about the node itself: disk, memory, processor, uptime. Sources: statvfs(3), proc(5)."""

import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class NodeFacts:
    """Sizes in bytes; `cpu_percent` is of all processors together, since the last question (or boot)."""

    disk_total: int
    disk_free: int
    memory_total: int
    memory_free: int
    cpu_percent: float
    up_since: datetime


class NodeProbe:
    """Reads the node's facts; keeps the last processor counters to tell the use since then."""

    def __init__(self, data: Path) -> None:
        """`data` is a path on the disk that matters."""
        self._data = data
        self._busy = self._total = 0

    def read(self) -> NodeFacts:
        """The facts as of now; may block for a moment."""
        disk = shutil.disk_usage(self._data)
        memory = parse_meminfo(Path("/proc/meminfo").read_text())
        seconds = float(Path("/proc/uptime").read_text().split()[0])
        return NodeFacts(
            disk_total=disk.total,
            disk_free=disk.free,
            memory_total=memory.get("MemTotal", 0),
            memory_free=memory.get("MemAvailable", 0),
            cpu_percent=self._cpu_percent(Path("/proc/stat").read_text()),
            up_since=datetime.fromtimestamp(time.time() - seconds, UTC),
        )

    def _cpu_percent(self, stat: str) -> float:
        busy, total = parse_cpu(stat)
        busy_since, total_since = busy - self._busy, total - self._total
        self._busy, self._total = busy, total
        return 100.0 * busy_since / total_since if total_since > 0 else 0.0


def parse_meminfo(text: str) -> dict[str, int]:
    """/proc/meminfo as bytes."""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name: int(rest.split()[0]) * 1024 for name, rest in pairs if rest.strip().endswith("kB")}


def parse_cpu(text: str) -> tuple[int, int]:
    """Busy and all ticks since boot from the first line of /proc/stat (idle is its fields 4 and 5)."""
    ticks = [int(field) for field in text.splitlines()[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)
