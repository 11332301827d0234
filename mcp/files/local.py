"""Files on the operator's machine, to be pushed or pulled."""

import os
import stat
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from mcp.shared.errors import InvalidInput, McpError, NotReady
from mcp.shared.paths import RULE
from mcp.shared.replace import MODE_BITS, Replacement, open_folder
from mcp.terminal import output

STANDARD = "-"  # standard input or output instead of a file


class LocalFile:
    """A file to be pushed, or standard input."""

    def __init__(self, name: str) -> None:
        """Open it; raises McpError. `size` (bytes) is 0 where it is not known, `mode` where there is none."""
        self.name = name
        self.size = self.mode = self._left = 0
        if name == STANDARD and sys.stdin is None:  # then 0 is no descriptor, or another file's
            raise McpError("standard input is closed", "name a file, or pipe something in")
        try:
            self._file = os.dup(0) if name == STANDARD else os.open(name, os.O_RDONLY)
        except (OSError, ValueError) as error:
            raise McpError(f"{name}: cannot be read: {getattr(error, 'strerror', error)}") from None
        status = os.fstat(self._file)
        if stat.S_ISDIR(status.st_mode):
            os.close(self._file)
            raise InvalidInput(f"{name}: is a folder", "one file is copied at a time; use tar for more")
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
        """Up to `count` bytes, empty at the end; a file that grows meanwhile ends where it ended. Raises McpError."""
        try:
            data = os.read(self._file, min(count, self._left) if self.size else count)
        except OSError as error:
            raise McpError(f"{self.name}: cannot be read: {error.strerror}") from None
        self._left -= len(data)
        if not data and self._left > 0:
            raise McpError(f"{self.name}: became shorter while it was read", "try again")
        return data


def remote_path(path: str, file: str) -> str:
    """Where `file` goes on the node: a path that is a folder (empty, or ending with /) gets the file's name."""
    if path and not path.endswith("/"):
        return path
    name = os.path.basename(file)  # noqa: PTH119 - Path would drop a / at the end
    if file == STANDARD or name in ("", ".", ".."):
        raise InvalidInput("SERVICE/PATH: ends with /, and there is no file name to put behind it", RULE)
    return path + name


class StandardOutput:
    """What is pulled goes to standard output as it comes."""

    def write(self, data: bytes) -> None:
        """Append `data`."""
        output.write_bytes(data, to_stderr=False)

    def commit(self, mode: int) -> None:
        """Nothing is left to do; a pipe has no mode."""


class Destination:
    """A file to be pulled: as a context manager, it is there whole, or as it was before."""

    def __init__(self, option: str, name: str) -> None:
        """`option` is a file's path or a folder's, where the file will be `name`; raises McpError if neither can be."""
        path = Path(option)
        try:
            if path.is_dir():
                path = path / name
            elif option.endswith("/"):
                raise NotReady(f"{option}: there is no such folder")
            self.path = path
            self._file = Path(os.path.realpath(path))  # as cp does, a link's file is replaced, and the link stays
            self._refuse_special()
            self._folder = open_folder(self._file.parent)
        except (OSError, ValueError) as error:
            raise self._failure(path, error) from None
        self._new: Replacement | None = None

    def __enter__(self) -> Self:
        try:
            self._new = Replacement(self._folder)
        except OSError as error:
            os.close(self._folder)
            raise self._failure(self.path, error) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._new is not None
        self._new.discard()
        os.close(self._folder)

    def write(self, data: bytes) -> None:
        """Append `data`; raises McpError."""
        assert self._new is not None
        try:
            self._new.write(data)
        except OSError as error:
            raise self._failure(self.path, error) from None

    def commit(self, mode: int) -> None:
        """Put it in its place; raises McpError."""
        assert self._new is not None
        try:
            self._new.commit(self._folder, self._file.name, mode)
        except OSError as error:
            raise self._failure(self.path, error) from None

    def _refuse_special(self) -> None:
        if self._file.is_dir():
            raise NotReady(f"{self.path}: is a folder, and would have to be a file")
        if self._file.exists() and not self._file.is_file():
            raise NotReady(f"{self.path}: is no regular file", "use - for standard output")

    @staticmethod
    def _failure(path: Path, error: OSError | ValueError) -> McpError:
        return McpError(f"{path}: cannot be written: {getattr(error, 'strerror', error)}; nothing was changed")
