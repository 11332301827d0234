"""Enter and create folders by descriptor, one name at a time, without following links."""

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from mcp.shared.errors import NotReady
from mcp.shared.replace import sync_folder

Identity = tuple[int, int]


def identity(status: os.stat_result) -> Identity:
    """Return the device and inode of a file or folder, which identify it."""
    return status.st_dev, status.st_ino


def identities(folders: Iterable[Path]) -> set[Identity]:
    """Return the identities of those folders that exist."""
    existing = set()
    for folder in folders:
        with suppress(OSError):  # nothing in a missing or inaccessible folder can be reached
            existing.add(identity(folder.stat()))
    return existing


def open_entry(folder: int, name: bytes) -> int | None:
    """Open an entry of an open folder, of any type and without following links; return None if there is none.

    The descriptor (O_PATH) serves to determine the type and to descend; it has no effect on devices or pipes.
    """
    try:
        return os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        return None


def check_folder(entry: int, names: list[bytes], private: set[Identity]) -> None:
    """Raise NotReady if an entry may not be entered; `names` is its path from the services root."""
    status = os.fstat(entry)
    path = b"/".join(names).decode()
    if stat.S_ISLNK(status.st_mode):
        raise NotReady(f"{path}: is a symbolic link, which is not followed", "name the folder that it leads to")
    if not stat.S_ISDIR(status.st_mode):
        raise NotReady(f"{path}: is not a folder")
    if identity(status) in private:
        raise NotReady(f"{path}: holds the agent's own files, which are not copied this way")


class NewFolders:
    """Folders created below an open one; a context manager that removes them again on an error."""

    def __init__(self, base: int, names: list[bytes]) -> None:
        """Start at `base`, which the caller closes; `names` is its path from the services root."""
        self.names = list(names)
        self._open = [base]
        self._created: list[tuple[int, bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for folder, name in reversed(self._created):
                with suppress(OSError):  # in use by others in the meantime
                    os.rmdir(name, dir_fd=folder)
        for folder in self._open[1:]:
            os.close(folder)

    @property
    def last(self) -> int:
        """Descriptor of the folder entered last."""
        return self._open[-1]

    def enter(self, name: bytes, mode: int) -> None:
        """Enter a folder, creating it with exactly this mode if it is missing. Raises McpError or OSError."""
        created = self._create(name)
        entry = open_entry(self.last, name)
        if entry is None:
            raise FileNotFoundError
        self.names.append(name)
        self._open.append(entry)
        check_folder(entry, self.names, set())
        if created:
            os.chmod(f"/proc/self/fd/{entry}", mode)  # noqa: PTH101 - the opened folder, whatever its name refers to now
            sync_folder(self._open[-2])

    def _create(self, name: bytes) -> bool:
        try:
            os.mkdir(name, 0o700, dir_fd=self.last)
        except FileExistsError:
            return False
        self._created.append((self.last, name))
        return True
