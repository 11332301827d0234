"""Has the C library and Python keep the memory of one block of a log for the next one."""

import ctypes
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h; see mallopt(3)
KEPT = 4 * 1024 * 1024  # bytes; a block and what is made of it take some two million

_pins: list[bytes] = []  # one in every 500 KiB of small objects; CPython gives memory back by the MiB, when it is empty


def keep_blocks() -> None:
    """Have blocks of up to 4 MiB not given back to the kernel after each use; does nothing where libc is not glibc.

    In threads it gives everything back at once, and has it page by page again for the next block: that took more time
    than the reading did. Python does the same with the memory of the lines.
    """
    if not _pins:
        _pins.extend([bytes(450) for _ in range(8000)][::1000])
    with suppress(AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, KEPT)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT)
