"""Folders by descriptor: entered and made one name at a time, without following a link."""

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
    """What tells one file or folder from every other one: device and inode."""
    return status.st_dev, status.st_ino


def identities(folders: Iterable[Path]) -> set[Identity]:
    """Those of the folders that are there."""
    found = set()
    for folder in folders:
        with suppress(OSError):  # what is not there, or out of reach, holds nothing that could be reached
            found.add(identity(folder.stat()))
    return found


def open_entry(folder: int, name: bytes) -> int | None:
    """A descriptor of whatever `name` is in an open folder, a link itself included; None where there is nothing.

    It is good for asking what it is and for going further, and has no effect on devices or pipes (O_PATH).
    """
    try:
        return os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        return None


def check_folder(entry: int, names: list[bytes], private: set[Identity]) -> None:
    """Raise NotReady where an entry cannot be gone through; `names` are those from the services root down to it."""
    status = os.fstat(entry)
    what = b"/".join(names).decode()
    if stat.S_ISLNK(status.st_mode):
        raise NotReady(f"{what}: is a symbolic link, which is not followed", "name the folder that it leads to")
    if not stat.S_ISDIR(status.st_mode):
        raise NotReady(f"{what}: is not a folder")
    if identity(status) in private:
        raise NotReady(f"{what}: holds the agent's own files, which are not copied this way")


class NewFolders:
    """Folders made below an open one; as a context manager they are removed again where an error leaves it."""

    def __init__(self, base: int, names: list[bytes]) -> None:
        """`base` stays the caller's; `names` are those from the services root down to it."""
        self.names = list(names)
        self._open = [base]
        self._made: list[tuple[int, bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for folder, name in reversed(self._made):
                with suppress(OSError):  # somebody else uses it by now
                    os.rmdir(name, dir_fd=folder)
        for folder in self._open[1:]:
            os.close(folder)

    @property
    def last(self) -> int:
        """The descriptor of the folder entered last."""
        return self._open[-1]

    def enter(self, name: bytes, mode: int) -> None:
        """Go into a folder, made with exactly this mode where there is none. Raises McpError or OSError."""
        made = self._make(name)
        entry = open_entry(self.last, name)
        if entry is None:
            raise FileNotFoundError
        self.names.append(name)
        self._open.append(entry)
        check_folder(entry, self.names, set())
        if made:
            os.chmod(f"/proc/self/fd/{entry}", mode)  # noqa: PTH101 - the opened folder, whatever its name means now
            sync_folder(self._open[-2])

    def _make(self, name: bytes) -> bool:
        try:
            os.mkdir(name, 0o700, dir_fd=self.last)
        except FileExistsError:  # somebody else was quicker
            return False
        self._made.append((self.last, name))
        return True
