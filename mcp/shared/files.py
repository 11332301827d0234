"""Home folder, atomic writes of files, and private files."""

import os
import stat
import tempfile
from pathlib import Path

from mcp.shared.errors import InvalidInput, McpError


def write_atomic(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file atomically: temporary file in the same folder, fsync, rename; raises McpError."""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).rename(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise McpError(f"{path}: cannot be written: {error.strerror}") from None


def private_folder(path: Path) -> None:
    """Create `path`, with its parents, with mode 0700; raises McpError."""
    make_folder(path, 0o700)
    try:
        if path.stat().st_uid == os.geteuid():
            path.chmod(0o700)
    except OSError as error:
        raise McpError(f"{path}: cannot be created: {error.strerror}") from None


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Create `path`, with its parents but not a missing home folder; raises McpError."""
    home = _home()
    if home is not None and path.is_relative_to(home) and not home.exists():
        what = f"{path}: cannot be created: the home folder {home} does not exist"
        raise McpError(what, "create it, or set HOME to a folder of your own")
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise McpError(f"{path}: cannot be created: {error.strerror}") from None


def read_secret(path: Path) -> str:
    """Return the stripped text of a secret file; raises McpError if it is unreadable or readable by others."""
    try:
        with path.open(encoding="ascii") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise McpError(f"{path}: others can read it (mode {mode:04o})", f"run: chmod 600 {path}")
            return file.read(65536).strip()
    except UnicodeDecodeError:
        raise McpError(f"{path}: not a token file: contains non-ASCII bytes") from None
    except OSError as error:
        raise McpError(f"{path}: cannot be read: {error.strerror}") from None


def xdg_folder(variable: str, default: str) -> Path:
    """Return the XDG base directory `variable`, or `default` below home; as specified, relative paths are ignored.

    Raises InvalidInput if the user has no home folder.
    """
    value = os.environ.get(variable, "")
    if value.startswith("/"):
        return Path(value)
    home = _home()
    if home is None:
        raise InvalidInput(f"user {os.getuid()} has no home folder", f"set HOME or {variable}")
    return home / default


def expand(text: str) -> Path:
    """Return a path with ~ expanded; raises ValueError."""
    if "\0" in text:
        raise ValueError("a path cannot contain NUL")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError("unknown user or home folder in ~") from None


def _home() -> Path | None:
    """Return $HOME, or the home folder of the user database; None if there is neither."""
    try:
        return Path.home()
    except RuntimeError:
        return None
