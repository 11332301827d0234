"""Make the C library and Python reuse the memory of one block of a log for the next."""

import ctypes
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h; see mallopt(3)
THRESHOLD = 4 * 1024 * 1024  # bytes; a block and the objects made of it take some two million

_pins: list[bytes] = []  # one in every 500 KiB of small objects; CPython frees memory by the MiB, once it is empty


def reuse_block_memory() -> None:
    """Stop malloc from returning blocks of up to 4 MiB to the kernel after each use; no effect without glibc.

    In threads glibc would return all of it at once, and fault it in page by page for the next block, which took longer
    than the reading. Python does the same with the memory of the lines, unless small objects pin it.
    """
    if not _pins:
        _pins.extend([bytes(450) for _ in range(8000)][::1000])
    with suppress(AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, THRESHOLD)
        libc.mallopt(M_TRIM_THRESHOLD, THRESHOLD)
