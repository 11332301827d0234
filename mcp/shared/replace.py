"""A file in the making, of any size: nobody sees it before it is whole, and nothing is left of it otherwise."""

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

MODE_BITS = 0o777  # setuid, setgid and sticky bits are never set on a file that came from elsewhere


class Replacement:
    """New content for a file, kept beside it without a name until `commit` puts it into its place.

    The content lies in a file without a name (O_TMPFILE): however the process ends, it is gone. File systems that
    cannot do so get a hidden temporary file instead. Methods raise OSError; as a context manager it is discarded.
    """

    def __init__(self, folder: int) -> None:
        """`folder` is a descriptor of a folder on the file system of the file to come; it stays the caller's."""
        self._folder = folder
        self._name = ""
        self._file = -1
        try:
            self._file = os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o600, dir_fd=folder)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):  # the second from kernels without O_TMPFILE
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
        """Make it the file `name` of the open `folder`, on disk when this returns; a link there is replaced itself."""
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
        """Leave nothing of it, unless it was committed. May be called more than once."""
        if self._name:
            with suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=self._folder)
            self._name = ""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def sync_folder(folder: int) -> None:
    """Put the names in an open folder on disk."""
    with suppress(PermissionError):  # a folder that may be written and not read cannot be synced by itself
        readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
        try:
            os.fsync(readable)
        finally:
            os.close(readable)


def open_folder(path: Path) -> int:
    """A descriptor of a folder that is good for reaching what is in it; raises OSError."""
    return os.open(path, os.O_PATH | os.O_DIRECTORY)


def _hidden_name() -> str:
    return f".mcp-{secrets.token_hex(8)}.part"
