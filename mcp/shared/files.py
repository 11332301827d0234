"""Atomic writes of files, and private files."""

import os
import stat
import tempfile
from pathlib import Path

from mcp.shared.errors import McpError


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
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_uid == os.geteuid():
            path.chmod(0o700)
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
    """Return the XDG base directory `variable`, or `default` below home; as specified, relative paths are ignored."""
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else Path.home() / default
