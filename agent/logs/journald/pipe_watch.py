"""Detect a container's output before journald reports it.

journald writes its files through mappings, which inotify does not see, and touches them 0.25 s later for its waiting
readers. But a container writes into a pipe to conmon, and inotify reports writes to pipes: the output is in the journal
some milliseconds later. Thus a follower need not poll at a high rate. Without pipes (a container with a terminal has
none), followers poll at a low rate.

Runs in a process of its own (worker.py): imports no other module of ours and nothing that is slow to import.
"""

import ctypes
import os
from pathlib import Path

IN_MODIFY = 2  # inotify(7)


class PipeWatch:
    """Makes an inotify descriptor readable when a container writes."""

    def __init__(self, descriptor: int, identifier: str) -> None:
        """Take libsystemd's inotify descriptor, since a user has only 128; it ignores watches that it does not know."""
        self._descriptor = descriptor
        self._identifier = identifier.encode()
        self._conmon = b""
        self._add = ctypes.CDLL(None).inotify_add_watch
        self._add.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]

    def watch(self, conmon: bytes) -> None:
        """Watch the pipes of a conmon, given its pid from the journal, which changes with a restart.

        Earlier watches need no removal: they disappear with their pipes.
        """
        if conmon == self._conmon or not conmon.isdigit():
            return
        self._conmon = conmon
        process = Path("/proc") / conmon.decode()
        try:
            if self._identifier not in (process / "cmdline").read_bytes():
                return  # it ended long ago, and the pid is another process's
            for file in (process / "fd").iterdir():
                if str(file.readlink()).startswith("pipe:"):
                    self._add(self._descriptor, os.fsencode(file), IN_MODIFY)
        except OSError:
            return  # ended in the meantime
