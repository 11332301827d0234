"""Watch files by inotify(7), with one instance for the process, since a user has 128 of them at most.

Folders are watched, not files: this also reports a file that is created later or renamed over another one.
"""

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path

from agent.log import fields, logger

IN_MODIFY, IN_MOVED_TO, IN_CREATE, IN_DELETE, IN_DELETE_SELF = 0x2, 0x80, 0x100, 0x200, 0x400
IN_Q_OVERFLOW, IN_IGNORED, IN_ONLYDIR = 0x4000, 0x8000, 0x1000000
_MASK = IN_MODIFY | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_ONLYDIR
_EVENT = struct.Struct("iIII")  # struct inotify_event: wd, mask, cookie, len; then the name, padded with NUL
CALLBACKS_AT_ONCE = 8
_BUFFER = 64 * 1024  # bytes read at once

Callback = Callable[[int], None]  # gets the mask of an event; IN_IGNORED: the folder is gone, no more events follow


class Inotify:
    """Calls back, on the event loop, on events of files. Opens its inotify instance on first use."""

    def __init__(self) -> None:
        """Start without watches."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = -1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._folders: dict[int, Path] = {}
        self._numbers: dict[Path, int] = {}
        self._callbacks: dict[Path, dict[str, dict[int, Callback]]] = {}  # folder -> file name -> key -> callback
        self._keys = 0

    def watch(self, path: Path, callback: Callback) -> Callable[[], None] | None:
        """Call `callback` on events of the file `path`; return a function that stops this.

        Returns None if the kernel refuses (no such folder, no instance or watch left): the caller then has to poll.
        Call it on the event loop.
        """
        folder = path.parent
        if not self._add_folder(folder):
            return None
        self._keys += 1
        key = self._keys
        self._callbacks[folder].setdefault(path.name, {})[key] = callback
        return lambda: self._unwatch(folder, path.name, key)

    def close(self) -> None:
        """Remove all watches and close the instance; another watch opens a new one."""
        if self._fd >= 0:
            assert self._loop is not None
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
        self._fd = -1
        self._folders.clear()
        self._numbers.clear()
        self._callbacks.clear()

    def _add_folder(self, folder: Path) -> bool:
        if folder in self._numbers:
            return True
        if self._fd < 0 and not self._open():
            return False
        number = self._libc.inotify_add_watch(self._fd, os.fsencode(folder), _MASK)
        if number < 0:
            self._log_error("inotify_add_watch")
            return False
        if number in self._folders:  # the same folder by another path: the kernel has one watch for both
            return False
        self._folders[number], self._numbers[folder] = folder, number
        self._callbacks.setdefault(folder, {})
        return True

    def _open(self) -> bool:
        fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if fd < 0:
            self._log_error("inotify_init1")
            return False
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self.read)
        return True

    def _log_error(self, call: str) -> None:
        error = os.strerror(ctypes.get_errno())
        logger.warning("cannot watch a log file, polling it instead", extra=fields(call=call, error=error))

    def _unwatch(self, folder: Path, name: str, key: int) -> None:
        names = self._callbacks.get(folder, {})
        callbacks = names.get(name, {})
        callbacks.pop(key, None)
        if not callbacks:
            names.pop(name, None)
        if not names and folder in self._numbers:
            number = self._numbers.pop(folder)
            del self._folders[number]
            del self._callbacks[folder]
            self._libc.inotify_rm_watch(self._fd, number)

    def read(self) -> None:
        """Handle pending events; the event loop also does this by itself."""
        if self._fd < 0:
            return
        try:
            data = os.read(self._fd, _BUFFER)
        except BlockingIOError:
            return
        events: dict[tuple[Path, str], list[int]] = {}
        offset = 0
        while offset < len(data):
            number, mask, _, length = _EVENT.unpack_from(data, offset)
            name = data[offset + _EVENT.size : offset + _EVENT.size + length].rstrip(b"\0")
            offset += _EVENT.size + length
            self._collect(number, mask, os.fsdecode(name), events)
        for (folder, file), masks in events.items():
            self._call(list(self._callbacks.get(folder, {}).get(file, {}).values()), masks)
            if IN_IGNORED in masks:
                self._callbacks.pop(folder, None)

    def _call(self, callbacks: list[Callback], masks: list[int]) -> None:
        """Call some callbacks now and the others in the next iterations of the event loop, to keep it responsive."""
        for callback in callbacks[:CALLBACKS_AT_ONCE]:
            for mask in masks:
                callback(mask)
        if len(callbacks) > CALLBACKS_AT_ONCE:
            asyncio.get_running_loop().call_soon(self._call, callbacks[CALLBACKS_AT_ONCE:], masks)

    def _collect(self, number: int, mask: int, name: str, events: dict[tuple[Path, str], list[int]]) -> None:
        """Add an event to those of the files that it concerns; consecutive writes count as one."""
        if mask & IN_Q_OVERFLOW:  # events were lost: any file may have changed
            files = [(folder, file) for folder, names in self._callbacks.items() for file in names]
        elif number not in self._folders:
            return  # of a removed watch
        elif mask & (IN_IGNORED | IN_DELETE_SELF):
            folder = self._folders[number]
            files = [(folder, file) for file in self._callbacks.get(folder, {})]
            if mask & IN_IGNORED:
                self._numbers.pop(self._folders.pop(number), None)
                mask = IN_IGNORED
        else:
            files = [(self._folders[number], name)]
        for file_key in files:
            masks = events.setdefault(file_key, [])
            if not (masks and masks[-1] == mask == IN_MODIFY):
                masks.append(mask)
