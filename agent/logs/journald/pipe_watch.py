"""Learns that a container wrote something before journald says so.

journald writes its files through mappings, which no inotify sees; for those who wait it touches them 0.25 s later.
But a container writes into a pipe that conmon holds, and inotify tells of writes to pipes, too: what was written there
is in the journal some milliseconds later. So that a follower need not look all the time. Where it cannot be had (a
container with a terminal has no pipes), followers look every now and then.

Runs in a process of its own (worker.py): imports nothing of ours and nothing that is slow to import.
"""

import ctypes
import os
from pathlib import Path

IN_MODIFY = 2  # inotify(7)


class PipeWatch:
    """Makes an inotify descriptor readable when a container writes."""

    def __init__(self, descriptor: int, identifier: str) -> None:
        """`descriptor` is libsystemd's own, which passes over watches that it does not know: a user has but 128."""
        self._descriptor = descriptor
        self._identifier = identifier.encode()
        self._conmon = b""
        self._add = ctypes.CDLL(None).inotify_add_watch
        self._add.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]

    def hang(self, conmon: bytes) -> None:
        """Watch what a conmon reads; `conmon` is its process as the journal says, and another one after a restart.

        What was watched before needs no removal: it goes with its pipe.
        """
        if conmon == self._conmon or not conmon.isdigit():
            return
        self._conmon = conmon
        process = Path("/proc") / conmon.decode()
        try:
            if self._identifier not in (process / "cmdline").read_bytes():
                return  # long gone, and the number is another process's
            for file in (process / "fd").iterdir():
                if str(file.readlink()).startswith("pipe:"):
                    self._add(self._descriptor, os.fsencode(file), IN_MODIFY)
        except OSError:
            return  # gone just now
