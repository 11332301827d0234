"""Files below the services root, reached so that no path leads anywhere else.

The services root is opened, then one name after the other, each relative to the folder opened before and each without
following a link (openat(2), O_NOFOLLOW). So it does not matter what a path says, nor what anybody does to the folders
meanwhile: what is read or written was in the service's folder when it was opened. What an entry is, is asked of the
opened entry (O_PATH) before anything is read: a device or a pipe is never opened for real.

Everything here blocks; agent/files/transfer.py uses it from the event loop.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from agent.files.errors import explained
from agent.files.folders import NewFolders, check_folder, identities, open_entry
from mcp.shared.errors import InvalidInput, NotReady, Unavailable
from mcp.shared.names import check_name
from mcp.shared.paths import split_path
from mcp.shared.replace import MODE_BITS, Replacement, open_folder

OWN_SERVICE = "mcp"  # the agent's registry, keys and tokens lie in its folder
NEW_FILE_MODE = 0o600
SERVICE_FOLDER_MODE = 0o700
FOLDER_MODE = 0o755


@dataclass(frozen=True)
class ServiceFiles:
    """Where services keep their files; what lies in the folders `private` is out of reach through any service."""

    root: Path
    private: tuple[Path, ...]

    def reader(self, service: str, path: str) -> "FileReader":
        """To read one file; raises InvalidInput. Nothing is opened yet."""
        return FileReader(self, _names(service, path), f"{service}/{path}")

    def writer(self, service: str, path: str, mode: int, size: int) -> "FileWriter":
        """To write one file; raises InvalidInput. Nothing is opened yet.

        `mode` 0 is that of the present file, or NEW_FILE_MODE; `size` is in bytes, 0 where it is not known.
        """
        return FileWriter(self, _names(service, path), f"{service}/{path}", mode & MODE_BITS, size)

    def descend(self, names: list[bytes]) -> tuple[int, list[bytes]]:
        """Open folder after folder as far as there are any; returns the last one and the names that are left.

        The caller closes it. Raises McpError where a name is not a folder's, OSError where it cannot be opened.
        """
        private = identities(self.private)
        folder = self._open_root()
        try:
            for index, name in enumerate(names):
                below = open_entry(folder, name)
                if below is None:
                    return folder, names[index:]
                os.close(folder)
                folder = below
                check_folder(folder, names[: index + 1], private)
        except BaseException:
            os.close(folder)
            raise
        return folder, []

    def _open_root(self) -> int:
        try:
            return open_folder(self.root)
        except OSError as error:
            raise NotReady(
                f"{self.root}: cannot be opened: {error.strerror}", "see services_root in the agent's configuration"
            ) from None


class FileReader:
    """One file, read from its start. Methods raise McpError."""

    def __init__(self, files: ServiceFiles, names: list[bytes], what: str) -> None:
        """See Files.reader."""
        self.size = self.mode = 0
        self._files, self._names, self._what = files, names, what
        self._file = -1
        self._left = 0

    def open(self) -> None:
        """Open it and learn `size` (bytes) and `mode` (permission bits)."""
        with explained(self._what):
            status = self._open()
        self.size = self._left = status.st_size
        self.mode = stat.S_IMODE(status.st_mode) & MODE_BITS

    def _open(self) -> os.stat_result:
        folder, missing = self._files.descend(self._names[:-1])
        try:
            entry = None if missing else open_entry(folder, self._names[-1])
        finally:
            os.close(folder)
        if entry is None:
            raise FileNotFoundError
        try:
            status = _regular(entry, self._what)
            self._file = os.open(f"/proc/self/fd/{entry}", os.O_RDONLY | os.O_NOCTTY)
        finally:
            os.close(entry)
        return status

    def read(self, count: int) -> bytes:
        """Up to `count` bytes, empty at the end: a file that grows meanwhile ends where it ended when it was opened."""
        if not self._left:
            return b""
        with explained(self._what):
            data = os.read(self._file, min(count, self._left))
        if not data:
            raise Unavailable(f"{self._what}: became shorter while it was read", "try again")
        self._left -= len(data)
        return data

    def close(self) -> None:
        """Close it. May be called more than once."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class FileWriter:
    """New content for one file. Methods raise McpError."""

    def __init__(self, files: ServiceFiles, names: list[bytes], what: str, mode: int, size: int) -> None:
        """See Files.writer."""
        self._files, self._names, self._what = files, names, what
        self._mode, self._size = mode, size
        self._folder = -1
        self._missing: list[bytes] = []  # folders that are made when all has arrived
        self._new: Replacement | None = None

    def open(self) -> None:
        """Look whether the file can be written, and begin; nothing that others see changes."""
        with explained(self._what, writing=True):
            self._folder, self._missing = self._files.descend(self._names[:-1])
            if not self._missing:
                self._look_at_present()
            self._check_space()
            self._begin()

    def _begin(self) -> None:
        try:
            self._new = Replacement(self._folder)
        except PermissionError:
            if len(self._missing) < len(self._names) - 1:
                raise
            folder = self._files.root / self._names[0].decode()
            raise NotReady(
                f"{folder} does not exist, and the agent's user may not make it", "make it on the node, for that user"
            ) from None

    def _look_at_present(self) -> None:
        entry = open_entry(self._folder, self._names[-1])
        if entry is None:
            return
        try:
            status = _regular(entry, self._what)
        finally:
            os.close(entry)
        self._mode = self._mode or stat.S_IMODE(status.st_mode) & MODE_BITS

    def _check_space(self) -> None:
        disk = os.statvfs(self._folder)
        free = disk.f_bavail * disk.f_frsize
        if self._size > free:
            raise NotReady(
                f"{self._what}: has {self._size} bytes, and the node's disk has {free} bytes left", "make room there"
            )

    def write(self, data: bytes) -> None:
        """Append `data`."""
        assert self._new is not None
        with explained(self._what, writing=True):
            self._new.write(data)

    def commit(self) -> None:
        """Put it in its place, on disk when this returns; folders that are missing are made."""
        assert self._new is not None
        above = self._names[: len(self._names) - 1 - len(self._missing)]
        with explained(self._what, writing=True), NewFolders(self._folder, above) as folders:
            for name in self._missing:
                folders.enter(name, FOLDER_MODE if folders.names else SERVICE_FOLDER_MODE)
            self._new.commit(folders.last, self._names[-1], self._mode or NEW_FILE_MODE)

    def discard(self) -> None:
        """Leave nothing of it, unless it was committed. May be called more than once."""
        if self._new is not None:
            self._new.discard()
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1


def _names(service: str, path: str) -> list[bytes]:
    if check_name("service", service) == OWN_SERVICE:
        raise InvalidInput(f"service: {OWN_SERVICE} is the agent itself", "its files are not copied this way")
    return [service.encode(), *split_path(path)]


def _regular(entry: int, what: str) -> os.stat_result:
    """The status of an entry that is a regular file; raises NotReady for anything else."""
    status = os.fstat(entry)
    if stat.S_ISLNK(status.st_mode):
        raise NotReady(f"{what}: is a symbolic link, which is not followed", "name the file that it leads to")
    if stat.S_ISDIR(status.st_mode):
        raise NotReady(f"{what}: is a folder", "one file is copied at a time; name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise NotReady(f"{what}: is a device, pipe or socket, and not a file")
    return status
