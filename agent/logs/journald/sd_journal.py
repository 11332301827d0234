"""Bindings of libsystemd's sd-journal(3), as far as reading container logs needs it.

Runs in a process of its own (worker.py): imports no other module of ours and nothing that is slow to import.
"""

import ctypes
import errno
import os
from pathlib import Path

LIBRARY = "libsystemd.so.0"
LOCAL_ONLY = 1  # SD_JOURNAL_LOCAL_ONLY
INVALIDATE = 2  # SD_JOURNAL_INVALIDATE
ROOTS = (Path("/var/log/journal"), Path("/run/log/journal"))
MACHINE_ID = Path("/etc/machine-id")


def load() -> ctypes.PyDLL:
    """Load libsystemd; raises OSError if there is none."""
    library = ctypes.PyDLL(LIBRARY)  # not CDLL: there are no other threads to run during a call
    handle, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    signatures: dict[str, list[type]] = {
        "open": [handle, ctypes.c_int],
        "open_directory": [handle, text, ctypes.c_int],
        "close": [handle],
        "add_match": [handle, text, size],
        "set_data_threshold": [handle, size],
        "seek_head": [handle],
        "seek_tail": [handle],
        "seek_realtime_usec": [handle, ctypes.c_uint64],
        "seek_cursor": [handle, text],
        "test_cursor": [handle, text],
        "next": [handle],
        "previous": [handle],
        "get_realtime_usec": [handle, handle],
        "get_cursor": [handle, handle],
        "get_data": [handle, text, handle, handle],
        "get_fd": [handle],
        "process": [handle],
    }
    for name, types in signatures.items():
        getattr(library, f"sd_journal_{name}").argtypes = types
    return library


class Journal:
    """The journal's entries that match given fields, with a present entry, or a position before or after them all."""

    def __init__(self, library: ctypes.PyDLL, matches: dict[str, str], directory: str | None) -> None:
        """Open the journal in `directory`, or this machine's if None. Raises OSError."""
        self._library = library
        self._cursor_text = ctypes.c_void_p()
        self._data = ctypes.c_void_p()
        self._size = ctypes.c_size_t()
        self._time = ctypes.c_uint64()
        self._at = tuple(ctypes.addressof(place) for place in (self._data, self._size, self._time, self._cursor_text))
        self._free = ctypes.CDLL(None).free
        self._free.argtypes = [ctypes.c_void_p]
        opened = ctypes.c_void_p()
        if directory is None:
            _checked(library.sd_journal_open(ctypes.byref(opened), LOCAL_ONLY))
        else:
            _checked(library.sd_journal_open_directory(ctypes.byref(opened), os.fsencode(directory), 0))
        self._handle = opened.value
        _checked(library.sd_journal_set_data_threshold(self._handle, 0))
        for field, value in matches.items():
            match = f"{field}={value}".encode()
            _checked(library.sd_journal_add_match(self._handle, match, len(match)))

    def seek_head(self) -> None:
        """Move before the first entry."""
        _checked(self._library.sd_journal_seek_head(self._handle))

    def seek_tail(self) -> None:
        """Move after the last entry; only `previous` makes sense then."""
        _checked(self._library.sd_journal_seek_tail(self._handle))

    def seek_time(self, microseconds: int) -> None:
        """Move to a time: `next` finds the first entry that is not older, `previous` the last that is not newer."""
        _checked(self._library.sd_journal_seek_realtime_usec(self._handle, max(0, microseconds)))

    def seek_cursor(self, cursor: str) -> None:
        """Move to an entry: `next` finds it or, if it is gone, one nearby. Raises OSError (EINVAL: not a cursor)."""
        _checked(self._library.sd_journal_seek_cursor(self._handle, cursor.encode()))

    def next(self) -> bool:
        """Advance to the next entry; tell if there is one."""
        return _checked(self._library.sd_journal_next(self._handle)) > 0

    def previous(self) -> bool:
        """Go back to the previous entry; tell if there is one."""
        return _checked(self._library.sd_journal_previous(self._handle)) > 0

    def is_at(self, cursor: str) -> bool:
        """Tell if the present entry is the cursor's."""
        return _checked(self._library.sd_journal_test_cursor(self._handle, cursor.encode())) > 0

    def time(self) -> int:
        """Return the entry's time of arrival at journald in µs since the epoch, which `podman logs` uses as well."""
        _checked(self._library.sd_journal_get_realtime_usec(self._handle, self._at[2]))
        return self._time.value

    def cursor(self) -> str:
        """Return the cursor of the present entry."""
        _checked(self._library.sd_journal_get_cursor(self._handle, self._at[3]))
        try:
            return ctypes.string_at(self._cursor_text.value or 0).decode()
        finally:
            self._free(self._cursor_text)

    def get(self, field: bytes) -> bytes:
        """Return a field of the present entry; empty if it is missing or damaged."""
        data, size, _, _ = self._at
        result = self._library.sd_journal_get_data(self._handle, field, data, size)
        if result < 0:
            if -result in (errno.ENOENT, errno.EBADMSG, errno.EADDRNOTAVAIL):
                return b""
            _checked(result)
        name = len(field) + 1
        return ctypes.string_at((self._data.value or 0) + name, self._size.value - name)

    def fileno(self) -> int:
        """Return a descriptor that becomes readable on changes, late (see pipe_watch.py); call `process` then."""
        return _checked(self._library.sd_journal_get_fd(self._handle))

    def process(self) -> bool:
        """Process added and removed files; tell if there were any."""
        return _checked(self._library.sd_journal_process(self._handle)) == INVALIDATE

    def close(self) -> None:
        """Close the journal."""
        self._library.sd_journal_close(self._handle)


def is_readable(user: int, roots: tuple[Path, ...] = ROOTS) -> bool | None:
    """Tell if we may read the files with the messages of `user`; return None if there are no journal files.

    A user id of 1000 and above has a file of its own, which it may read; other users' messages go to the system's file
    (SplitMode= in journald.conf(5)), which the group systemd-journal may read. libsystemd silently omits unreadable
    files.
    """
    readable: dict[str, bool] = {}
    for root in roots:
        try:
            machine = MACHINE_ID.read_text().strip()
            for file in (root / machine).iterdir():
                if file.suffix == ".journal" and "@" not in file.name:
                    readable[file.name] = readable.get(file.name, True) and _may_read(file)
        except FileNotFoundError:
            continue
        except PermissionError:
            return False
    own = f"user-{user}.journal"
    return readable.get(own, readable.get("system.journal")) if readable else None


def _may_read(file: Path) -> bool:
    return os.access(file, os.R_OK)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result
