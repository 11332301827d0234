"""Read and write files below the services root, and nowhere else.

The services root is opened, then each name of the path relative to the folder opened before, without following links
(openat(2), O_NOFOLLOW). Whatever the path, and whatever happens to the folders in the meantime, the file was in the
service's folder when it was opened. Its type is determined from the opened entry (O_PATH) before anything is read:
devices and pipes are never opened for reading.

All of this blocks; agent/files/transfer.py uses it from the event loop.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.files.errors import translated
from agent.files.folders import NewFolders, check_folder, identities, identity, open_entry
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
    """The folders of all services below `root`.

    The folders and files in `private` are inaccessible through any of them, and to containers but for `allow_mounts`.
    """

    root: Path
    private: tuple[Path, ...]
    allow_mounts: tuple[Path, ...] = ()

    def reader(self, service: str, path: str) -> "FileReader":
        """Return a reader of one file, without opening it yet; raises InvalidInput."""
        return FileReader(self, _names(service, path), f"{service}/{path}")

    def writer(self, service: str, path: str, mode: int, size: int) -> "FileWriter":
        """Return a writer of one file, without opening it yet; raises InvalidInput.

        Args:
            service: Name of the service.
            path: Path below the service's folder.
            mode: Permission bits; 0 for those of the existing file, or NEW_FILE_MODE.
            size: Size in bytes; 0 if unknown.
        """
        return FileWriter(self, _names(service, path), f"{service}/{path}", mode & MODE_BITS, size)

    def create_folder(self, names: list[bytes]) -> None:
        """Create a folder of a service with those above it, as far as they are missing. Raises McpError or OSError."""
        folder, missing = self.descend(names)
        above = names[: len(names) - len(missing)]
        try:
            with NewFolders(folder, above) as folders:
                for name in missing:
                    folders.enter(name, FOLDER_MODE if folders.names else SERVICE_FOLDER_MODE)
        finally:
            os.close(folder)

    def remove_empty(self, names: Sequence[bytes], count: int) -> None:
        """Remove the last `count` folders of a path, as far as they are empty. Raises McpError or OSError."""
        for length in range(len(names), len(names) - count, -1):
            folder, missing = self.descend(list(names[: length - 1]))
            try:
                if not missing:
                    os.rmdir(names[length - 1], dir_fd=folder)
            except FileNotFoundError:
                continue  # the agent was killed before it came to this one
            finally:
                os.close(folder)

    def descend(self, names: list[bytes]) -> tuple[int, list[bytes]]:
        """Open folder by folder as far as they exist; return the last one and the remaining names.

        The caller closes the folder. Raises McpError if a name is not a folder's, OSError if it cannot be opened.
        """
        private = identities(self.private)
        folder = self._open_root()
        try:
            for index, name in enumerate(names):
                child = open_entry(folder, name)
                if child is None:
                    return folder, names[index:]
                os.close(folder)
                folder = child
                check_folder(folder, names[: index + 1], private)
        except BaseException:
            os.close(folder)
            raise
        return folder, []

    def check_file(self, entry: int, name: str) -> os.stat_result:
        """Return the status of an opened entry; raises NotReady if it is not a regular file, or the agent's own."""
        status = _regular(entry, name)
        if identity(status) in identities(self.private):
            raise NotReady(f"{name}: is one of the agent's own files, which are not copied this way")
        return status

    def _open_root(self) -> int:
        try:
            return open_folder(self.root)
        except OSError as error:
            raise NotReady(
                f"{self.root}: cannot be opened: {error.strerror}", "see services_root in the agent's configuration"
            ) from None


class FileReader:
    """A file read from its start. Methods raise McpError."""

    def __init__(self, files: ServiceFiles, names: list[bytes], name: str) -> None:
        """See ServiceFiles.reader."""
        self.size = self.mode = 0
        self._files, self._names, self._name = files, names, name
        self._file = -1
        self._remaining = 0

    def open(self) -> None:
        """Open the file and set `size` (bytes) and `mode` (permission bits)."""
        with translated(self._name):
            status = self._open()
        self.size = self._remaining = status.st_size
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
            status = self._files.check_file(entry, self._name)
            self._file = os.open(f"/proc/self/fd/{entry}", os.O_RDONLY | os.O_NOCTTY)
        finally:
            os.close(entry)
        return status

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes, none at the end of the file as of its opening."""
        if not self._remaining:
            return b""
        with translated(self._name):
            data = os.read(self._file, min(count, self._remaining))
        if not data:
            raise Unavailable(f"{self._name}: was truncated while it was read", "try again")
        self._remaining -= len(data)
        return data

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class FileWriter:
    """New content of a file. Methods raise McpError."""

    def __init__(self, files: ServiceFiles, names: list[bytes], name: str, mode: int, size: int) -> None:
        """See ServiceFiles.writer."""
        self._files, self._names, self._name = files, names, name
        self._mode, self._size = mode, size
        self._folder = -1
        self._missing: list[bytes] = []  # folders to create on commit
        self._replacement: Replacement | None = None

    def open(self) -> None:
        """Check that the file can be written and prepare its replacement, without any visible change."""
        with translated(self._name, writing=True):
            self._folder, self._missing = self._files.descend(self._names[:-1])
            if not self._missing:
                self._inspect_existing()
            self._check_space()
            self._begin()

    def _begin(self) -> None:
        try:
            self._replacement = Replacement(self._folder)
        except PermissionError:
            if len(self._missing) < len(self._names) - 1:
                raise
            folder = self._files.root / self._names[0].decode()
            raise NotReady(
                f"{folder} does not exist, and the agent's user may not create it",
                "run `mcp node provision`, which gives it the right, or create it on the node, owned by that user",
            ) from None

    def _inspect_existing(self) -> None:
        entry = open_entry(self._folder, self._names[-1])
        if entry is None:
            return
        try:
            status = self._files.check_file(entry, self._name)
        finally:
            os.close(entry)
        self._mode = self._mode or stat.S_IMODE(status.st_mode) & MODE_BITS

    def _check_space(self) -> None:
        disk = os.statvfs(self._folder)
        free = disk.f_bavail * disk.f_frsize
        if self._size > free:
            raise NotReady(
                f"{self._name}: has {self._size} bytes, and the node's disk has {free} bytes left", "make room there"
            )

    @property
    def new_folders(self) -> tuple[list[bytes], int]:
        """The path of the file's folder, and how many of its last names `commit` creates."""
        return self._names[:-1], len(self._missing)

    def write(self, data: bytes) -> None:
        """Append `data`."""
        assert self._replacement is not None
        with translated(self._name, writing=True):
            self._replacement.write(data)

    def commit(self) -> None:
        """Create missing folders and move the content into place, synced to disk."""
        assert self._replacement is not None
        above = self._names[: len(self._names) - 1 - len(self._missing)]
        with translated(self._name, writing=True), NewFolders(self._folder, above) as folders:
            for name in self._missing:
                folders.enter(name, FOLDER_MODE if folders.names else SERVICE_FOLDER_MODE)
            self._replacement.commit(folders.last, self._names[-1], self._mode or NEW_FILE_MODE)

    def discard(self) -> None:
        """Delete the content unless it was committed; idempotent."""
        if self._replacement is not None:
            self._replacement.discard()
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1


def _names(service: str, path: str) -> list[bytes]:
    if check_name("service", service) == OWN_SERVICE:
        raise InvalidInput(f"service: {OWN_SERVICE} is the agent itself", "its files are not copied this way")
    return [service.encode(), *split_path(path)]


def _regular(entry: int, name: str) -> os.stat_result:
    """Return the status of an entry that is a regular file; raises NotReady for anything else."""
    status = os.fstat(entry)
    if stat.S_ISLNK(status.st_mode):
        raise NotReady(f"{name}: is a symbolic link, which is not followed", "name the file that it leads to")
    if stat.S_ISDIR(status.st_mode):
        raise NotReady(f"{name}: is a folder", "one file is copied at a time; name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise NotReady(f"{name}: is a device, pipe or socket, and not a file")
    return status
