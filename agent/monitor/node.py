"""Disk, memory, processor and uptime of the node, from statvfs(3) and proc(5)."""

import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class NodeFacts:
    """Facts of the node: sizes in bytes; `cpu_percent` of all processors since the last read (or boot)."""

    disk_total: int
    disk_free: int
    memory_total: int
    memory_free: int
    cpu_percent: float
    up_since: datetime


class NodeProbe:
    """Reads the node's facts; keeps the processor counters between reads."""

    def __init__(self, data: Path) -> None:
        """Measure the disk of the path `data`."""
        self._data = data
        self._busy = self._total = 0

    def read(self) -> NodeFacts:
        """Return the current facts; may block for a moment."""
        disk = shutil.disk_usage(self._data)
        memory = parse_meminfo(Path("/proc/meminfo").read_text())
        return NodeFacts(
            disk_total=disk.total,
            disk_free=disk.free,
            memory_total=memory.get("MemTotal", 0),
            memory_free=memory.get("MemAvailable", 0),
            cpu_percent=self._cpu_percent(Path("/proc/stat").read_text()),
            up_since=boot_time(),
        )

    def _cpu_percent(self, stat: str) -> float:
        busy, total = parse_cpu(stat)
        busy_since, total_since = busy - self._busy, total - self._total
        self._busy, self._total = busy, total
        return 100.0 * busy_since / total_since if total_since > 0 else 0.0


def boot_time() -> datetime:
    """Return the boot time of this machine."""
    seconds = float(Path("/proc/uptime").read_text().split()[0])
    return datetime.fromtimestamp(time.time() - seconds, UTC)


def boot_id() -> str:
    """Return the kernel's id of this boot, which no clock changes; see random(4)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def parse_meminfo(text: str) -> dict[str, int]:
    """Parse /proc/meminfo into bytes by name."""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name: int(rest.split()[0]) * 1024 for name, rest in pairs if rest.strip().endswith("kB")}


def parse_cpu(text: str) -> tuple[int, int]:
    """Return busy and total ticks since boot from /proc/stat (idle: fields 4 and 5 of the first line)."""
    ticks = [int(field) for field in text.splitlines()[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)
