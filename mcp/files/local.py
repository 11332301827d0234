"""Local files of push and pull."""

import errno
import os
import stat
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from mcp.shared.errors import InvalidInput, McpError, NotReady
from mcp.shared.files import Unusable, open_file
from mcp.shared.paths import RULE
from mcp.shared.replace import MODE_BITS, Replacement, locate
from mcp.terminal import output

STANDARD = "-"  # standard input or output instead of a file


class LocalFile:
    """A file to push, or standard input."""

    def __init__(self, name: str) -> None:
        """Open it; raises McpError. `size` (bytes) and `mode` are 0 if unknown."""
        self.name = name
        self.size = self.mode = self._left = 0
        if name == STANDARD and sys.stdin is None:  # then descriptor 0 is invalid or another file
            raise McpError("standard input is closed", "name a file, or pipe something in")
        try:
            self._file = os.dup(0) if name == STANDARD else open_file(name)
        except Unusable as error:
            if error.code == errno.EISDIR:
                raise InvalidInput(f"{name}: is a folder", "push copies one file; use tar for more") from None
            raise
        status = os.fstat(self._file)
        if stat.S_ISREG(status.st_mode) and name != STANDARD:
            self.size = self._left = status.st_size
            self.mode = stat.S_IMODE(status.st_mode) & MODE_BITS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def read(self, count: int) -> bytes:
        """Read up to `count` bytes, empty at the end; later growth of the file is ignored. Raises McpError."""
        try:
            data = os.read(self._file, min(count, self._left) if self.size else count)
        except OSError as error:
            raise McpError(f"{self.name}: cannot be read: {error.strerror}") from None
        self._left -= len(data)
        if not data and self._left > 0:
            raise McpError(f"{self.name}: was truncated while being read", "try again")
        return data


def remote_path(path: str, file: str) -> str:
    """Return the path of `file` on the node; the file's name is appended to a folder (empty, or ending with /)."""
    if path and not path.endswith("/"):
        return path
    name = os.path.basename(file)  # noqa: PTH119 - Path would drop a trailing /
    if file == STANDARD or name in ("", ".", ".."):
        raise InvalidInput("SERVICE/PATH: ends with /, and standard input has no file name", RULE)
    return path + name


class StandardOutput:
    """Standard output as the destination of pull."""

    def write(self, data: bytes) -> None:
        """Append `data`."""
        output.write_bytes(data, to_stderr=False)

    def commit(self, mode: int) -> None:
        """Do nothing: standard output has no mode."""


class Destination:
    """The file that pull writes: a context manager that replaces it completely or not at all."""

    def __init__(self, option: str, name: str) -> None:
        """Take the path of a file, or of a folder for a file `name`; raises McpError if it is not writable."""
        self.path = Path(option)
        try:
            if stat.S_ISDIR(self._mode()):
                self.path /= name
            elif option.endswith("/"):
                raise NotReady(f"{option}: no such folder")
            mode = self._mode()
            if stat.S_ISDIR(mode):
                raise NotReady(f"{self.path}: is a folder, expected a file")
            if mode and not stat.S_ISREG(mode):
                raise NotReady(f"{self.path}: is not a regular file", "use - for standard output")
            self._place = locate(self.path, follow=True)  # like cp, replaces the target of a symbolic link
        except (OSError, ValueError) as error:
            raise self._failure(self.path, error) from None
        self._new: Replacement | None = None

    def __enter__(self) -> Self:
        try:
            self._new = Replacement(self._place.folder)
        except OSError as error:
            os.close(self._place.folder)
            raise self._failure(self.path, error) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._new is not None
        self._new.discard()
        os.close(self._place.folder)

    def write(self, data: bytes) -> None:
        """Append `data`; raises McpError."""
        assert self._new is not None
        try:
            self._new.write(data)
        except OSError as error:
            raise self._failure(self.path, error) from None

    def commit(self, mode: int) -> None:
        """Replace the file; raises McpError."""
        assert self._new is not None
        try:
            self._new.commit(*self._place, mode)
        except OSError as error:
            raise self._failure(self.path, error) from None

    def _mode(self) -> int:
        """Return the type and mode of what the path leads to; 0 if there is nothing."""
        if not self.path.parts:  # the working directory
            return stat.S_IFDIR
        place = locate(self.path, follow=True)
        try:
            return os.stat(place.name, dir_fd=place.folder, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return 0
        finally:
            os.close(place.folder)

    @staticmethod
    def _failure(path: Path, error: OSError | ValueError) -> McpError:
        return McpError(f"{path}: cannot be written: {getattr(error, 'strerror', error)}; nothing was changed")
