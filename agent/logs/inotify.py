"""News of files from the kernel (inotify(7)), one instance for the process: a user has 128 of them at most.

Folders are watched, not files: a file that is renamed over another one, or made later, is then news as well.
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
AT_ONCE = 8  # callbacks
_BUFFER = 64 * 1024  # bytes read at once

Callback = Callable[[int], None]  # is given the mask of an event; IN_IGNORED: the folder is gone, no more will come


class Inotify:
    """Calls back, on the event loop, when something happens to a file. The kernel is asked on first use."""

    def __init__(self) -> None:
        """Nothing is watched yet."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = -1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._folders: dict[int, Path] = {}
        self._numbers: dict[Path, int] = {}
        self._callbacks: dict[Path, dict[str, dict[int, Callback]]] = {}  # folder -> file name -> key -> callback
        self._keys = 0

    def watch(self, path: Path, callback: Callback) -> Callable[[], None] | None:
        """Have `callback` called at news of the file `path`, until what is returned is called.

        None where the kernel refuses (no folder, no instance or watch left): the caller then has to look by itself.
        To be called on the event loop.
        """
        folder = path.parent
        if not self._watched(folder):
            return None
        self._keys += 1
        key = self._keys
        self._callbacks[folder].setdefault(path.name, {})[key] = callback
        return lambda: self._unwatch(folder, path.name, key)

    def close(self) -> None:
        """Watch nothing any more; another watch would begin anew."""
        if self._fd >= 0:
            assert self._loop is not None
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
        self._fd = -1
        self._folders.clear()
        self._numbers.clear()
        self._callbacks.clear()

    def _watched(self, folder: Path) -> bool:
        if folder in self._numbers:
            return True
        if self._fd < 0 and not self._open():
            return False
        number = self._libc.inotify_add_watch(self._fd, os.fsencode(folder), _MASK)
        if number < 0:
            self._refused("inotify_add_watch")
            return False
        old = self._folders.get(number)  # the same folder by another path: one watch, whose last path counts
        if old is not None:
            return False
        self._folders[number], self._numbers[folder] = folder, number
        self._callbacks.setdefault(folder, {})
        return True

    def _open(self) -> bool:
        fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if fd < 0:
            self._refused("inotify_init1")
            return False
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self.read)
        return True

    def _refused(self, call: str) -> None:
        error = os.strerror(ctypes.get_errno())
        logger.warning("a log cannot be watched, it is looked at instead", extra=fields(call=call, error=error))

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
        """Call back for what there is; the event loop does this by itself."""
        if self._fd < 0:
            return
        try:
            data = os.read(self._fd, _BUFFER)
        except BlockingIOError:
            return
        news: dict[tuple[Path, str], list[int]] = {}
        place = 0
        while place < len(data):
            number, mask, _, length = _EVENT.unpack_from(data, place)
            name = data[place + _EVENT.size : place + _EVENT.size + length].rstrip(b"\0")
            place += _EVENT.size + length
            self._sort(number, mask, os.fsdecode(name), news)
        for (folder, file), masks in news.items():
            self._call(list(self._callbacks.get(folder, {}).get(file, {}).values()), masks)
            if IN_IGNORED in masks:
                self._callbacks.pop(folder, None)

    def _call(self, callbacks: list[Callback], masks: list[int]) -> None:
        """Call back a few, and the next ones when the event loop has come round: a thousand would hold it up."""
        for callback in callbacks[:AT_ONCE]:
            for mask in masks:
                callback(mask)
        if len(callbacks) > AT_ONCE:
            asyncio.get_running_loop().call_soon(self._call, callbacks[AT_ONCE:], masks)

    def _sort(self, number: int, mask: int, name: str, news: dict[tuple[Path, str], list[int]]) -> None:
        """Add an event to the news of the files that it is about; a thousand writes are one."""
        if mask & IN_Q_OVERFLOW:  # some were lost: everything may have changed
            about = [(folder, file) for folder, names in self._callbacks.items() for file in names]
        elif number not in self._folders:
            return  # of a watch that was just ended
        elif mask & (IN_IGNORED | IN_DELETE_SELF):
            folder = self._folders[number]
            about = [(folder, file) for file in self._callbacks.get(folder, {})]
            if mask & IN_IGNORED:
                self._numbers.pop(self._folders.pop(number), None)
                mask = IN_IGNORED
        else:
            about = [(self._folders[number], name)]
        for one in about:
            masks = news.setdefault(one, [])
            if not (masks and masks[-1] == mask == IN_MODIFY):
                masks.append(mask)
