"""Memory of the agent that its containers do not pay for."""

import asyncio
import ctypes
import os
from contextlib import suppress
from pathlib import Path

SECONDS = 10.0  # between two looks
GROWTH = 16 * 1024 * 1024  # bytes of growth since the start from which on it is worth the milliseconds
OOM_SCORE = 200  # added to our own badness: the kernel ends us before a container of equal size
_OOM_FILE = Path("/proc/self/oom_score_adj")


def raise_oom_score() -> int | None:
    """Let the kernel end us rather than a container when memory is short; return the former score, None if unchanged.

    Not by OOMScoreAdjust of the unit: what root has set no child can lower, and conmon, with which a container ends,
    would keep it, and so would the container (podman 4.3 and 5.4). From our own, podman starts with the former one.
    """
    with suppress(OSError, ValueError):
        former = int(_OOM_FILE.read_text())
        if former < OOM_SCORE:
            _OOM_FILE.write_text(str(OOM_SCORE))
            return former
    return None


async def give_back() -> None:
    """Call glibc's malloc_trim(3) while the resident memory is larger than at first, until cancelled.

    glibc gives back only what lies at the end of its arenas: of 5,000 idle connections 226 MiB stayed, with this 25.
    When a flood ends is not known, so this does not end either; a call that finds nothing takes less than 2 ms. Return
    at once without glibc.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return
    first = _resident()
    while True:
        await asyncio.sleep(SECONDS)
        if _resident() - first > GROWTH:
            await asyncio.to_thread(trim, 0)


def _resident() -> int:
    """Return the bytes of our resident memory; 0 if /proc does not tell."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
