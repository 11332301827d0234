"""Atomic replacement of a file of any size, written in blocks, and the way to its folder."""

import errno
import os
import secrets
import stat
from collections import deque
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from mcp.shared.errors import NotReady

MODE_BITS = 0o777  # without setuid, setgid and sticky bits, which a transferred file never gets
MOST_LINKS = 40  # on the way to a file, as of the kernel: path_resolution(7)


class Replacement:
    """New content for a file, invisible until `commit`.

    The content is in an unnamed file (O_TMPFILE), which disappears however the process ends; on file systems without
    that, in a hidden temporary file. Leaving the context discards it. Methods raise OSError.
    """

    def __init__(self, folder: int) -> None:
        """Take the descriptor of a folder on the target's file system; the caller keeps its ownership."""
        self._folder = folder
        self._name = ""
        self._file = -1
        try:
            self._file = os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o600, dir_fd=folder)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):  # EISDIR: a kernel without O_TMPFILE
                raise
            name = _hidden_name()
            self._file = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600, dir_fd=folder)
            self._name = name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def write(self, data: bytes) -> None:
        """Append `data`."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]

    def commit(self, folder: int, name: str | bytes, mode: int) -> None:
        """Make it the file `name` of the open `folder`, synced to disk; a symbolic link there is replaced."""
        os.fchmod(self._file, mode & MODE_BITS)
        os.fsync(self._file)
        if not self._name:
            hidden = _hidden_name()  # a link cannot replace a file; a rename can
            os.link(f"/proc/self/fd/{self._file}", hidden, dst_dir_fd=self._folder, follow_symlinks=True)
            self._name = hidden
        os.rename(self._name, name, src_dir_fd=self._folder, dst_dir_fd=folder)
        self._name = ""
        sync_folder(folder)

    def discard(self) -> None:
        """Remove it unless it was committed; may be called more than once."""
        if self._name:
            with suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=self._folder)
            self._name = ""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def sync_folder(folder: int) -> None:
    """Sync the entries of an open folder to disk."""
    with suppress(PermissionError):  # a folder without read permission cannot be opened for fsync
        readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
        try:
            os.fsync(readable)
        finally:
            os.close(readable)


def open_folder(path: Path) -> int:
    """Open a folder for access to its entries only (O_PATH); raises OSError."""
    return os.open(path, os.O_PATH | os.O_DIRECTORY)


class Place(NamedTuple):
    """An open folder, which the receiver closes, and the name of a file in it, which may not exist."""

    folder: int
    name: str


def locate(path: Path, *, follow: bool) -> Place:
    """Open the folder of a file to write, name by name, following no symbolic link that another user made.

    With `follow`, a link of the file's name is followed as well, to what may not exist. The kernel refuses such links
    only in folders that are sticky and open to everyone, and only with fs.protected_symlinks.

    Raises:
        NotReady: A link belongs to another user.
        OSError: A folder cannot be opened.
    """
    way, links = deque(path.parts), 0
    if not way:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    folder = open_folder(Path())
    try:
        while len(way) > 1 or follow:
            name = way.popleft()
            target = _link(folder, name)
            if target is not None:
                links += 1
                if links > MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                way.extendleft(reversed(target.parts))
            elif way:
                within, folder = folder, os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                os.close(within)
            else:
                return Place(folder, name)
        return Place(folder, way[0])
    except BaseException:
        os.close(folder)
        raise


def _link(folder: int, name: str) -> Path | None:
    """Return the target of an entry that is a symbolic link; raises NotReady if it is not to be followed."""
    try:
        entry = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(entry)
        if not stat.S_ISLNK(status.st_mode):
            return None
        # a second name: another user may have moved our link to where we look, unless fs.protected_hardlinks is set
        if status.st_uid not in (os.geteuid(), 0) or status.st_nlink > 1:
            where = Path(f"/proc/self/fd/{folder}").readlink() / name
            raise NotReady(
                f"{where}: is a symbolic link of another user, which is not followed", "name the file that it leads to"
            )
        return Path(os.readlink("", dir_fd=entry))
    finally:
        os.close(entry)


def _hidden_name() -> str:
    return f".mcp-{secrets.token_hex(8)}.part"
