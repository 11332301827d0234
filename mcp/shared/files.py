"""Home folder, and files read and written with regard to other users of the machine."""

import errno
import os
import stat
from enum import Enum, auto
from pathlib import Path

from mcp.shared.errors import InvalidInput, McpError, shell_word
from mcp.shared.replace import Replacement, locate

READ_LIMIT = 16 * 1024 * 1024  # bytes of a configuration, definition or certificate
SECRET_LIMIT = 65536  # bytes of a token or key


class Trust(Enum):
    """The owners and modes with which the content of a file is used."""

    NAMED = auto()  # anyone's: the user names it, and what it says is checked
    OWN = auto()  # nobody but we and root can change it: it says whom we trust
    SECRET = auto()  # OWN, and nobody else can read it


class Unusable(McpError):
    """A file that cannot be used; `problem` is the message without the path, `code` the errno or 0."""

    def __init__(self, path: Path | str, problem: str, hint: str = "", code: int = 0) -> None:
        """Join path and problem."""
        super().__init__(f"{path}: {problem}", hint)
        self.problem, self.code = problem, code


def open_file(path: Path | str) -> int:
    """Open a regular file for reading, or a pipe that we inherited, as of a shell's `<(command)`; raises Unusable.

    The type is determined before the file is opened (O_PATH): a named pipe would block, and a device may act.
    """
    try:
        entry = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            mode = os.fstat(entry).st_mode
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not stat.S_ISREG(mode) and not (stat.S_ISFIFO(mode) and _is_nameless(entry)):
                raise Unusable(path, "is a device, named pipe or socket, and not a file")
            return os.open(f"/proc/self/fd/{entry}", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
        finally:
            os.close(entry)
    except OSError as error:
        raise Unusable(path, f"cannot be read: {error.strerror}", code=error.errno or errno.EIO) from None
    except ValueError as error:
        raise Unusable(path, f"cannot be read: {error}") from None


def read_file(path: Path, trust: Trust = Trust.NAMED, limit: int = READ_LIMIT) -> bytes:
    """Return the content of a file of at most `limit` bytes; raises Unusable."""
    with os.fdopen(open_file(path), "rb") as file:
        _check_access(path, os.fstat(file.fileno()), trust)
        try:
            content = file.read(limit + 1)
        except OSError as error:
            raise Unusable(path, f"cannot be read: {error.strerror}", code=error.errno or errno.EIO) from None
    if len(content) > limit:
        raise Unusable(path, f"has more than {limit >> 10} KiB")
    return content


def _check_access(path: Path, status: os.stat_result, trust: Trust) -> None:
    """Raise Unusable for a file that others than root and we can change, or read if it is a secret."""
    if trust is Trust.NAMED:
        return
    mode, is_ours = stat.S_IMODE(status.st_mode), status.st_uid == os.geteuid()
    if not is_ours and status.st_uid != 0:
        raise Unusable(path, f"belongs to another user (UID {status.st_uid})", "make a copy of your own")
    if trust is Trust.SECRET:
        # root may have given it to one group, as PostgreSQL has it: postgresql.org/docs/current/ssl-tcp.html
        if mode & (0o077 if is_ours else 0o037):
            raise Unusable(path, f"others can read it (mode {mode:04o})", f"run: chmod 600 {shell_word(str(path))}")
    elif mode & 0o002 or (mode & 0o020 and not _is_private_group(status)):
        raise Unusable(path, f"others can change it (mode {mode:04o})", f"run: chmod go-w {shell_word(str(path))}")


def _is_private_group(status: os.stat_result) -> bool:
    """Return True if a file's group is its owner's alone: with one per user, a umask of 002 is common.

    OpenSSH of Debian has the same rule: user-group-modes.patch in sources.debian.org/src/openssh.
    """
    import grp
    import pwd

    try:
        group, owner = grp.getgrgid(status.st_gid), pwd.getpwuid(status.st_uid)
    except KeyError:
        return False
    return (group.gr_name, group.gr_gid) == (owner.pw_name, owner.pw_gid) and set(group.gr_mem) <= {owner.pw_name}


def _is_nameless(entry: int) -> bool:
    """Return True for a pipe in no folder, which can only be reached by a descriptor."""
    return os.readlink(f"/proc/self/fd/{entry}").startswith("pipe:[")  # noqa: PTH115 - not a path


def write_atomic(path: Path, content: bytes, mode: int = 0o600, *, follow: bool = False) -> None:
    """Write a file atomically, through a symbolic link only with `follow`; raises McpError.

    No link of another user is followed on the way: see `locate`.
    """
    try:
        place = locate(path, follow=follow)
        try:
            with Replacement(place.folder) as new:
                new.write(content)
                new.commit(place.folder, place.name, mode)
        finally:
            os.close(place.folder)
    except OSError as error:
        raise McpError(f"{path}: cannot be written: {error.strerror}") from None


def mode_of(path: Path, otherwise: int = 0o600) -> int:
    """Return the permission bits of a file of ours that is to be replaced; `otherwise` for any other."""
    try:
        status = path.stat()
    except OSError:
        return otherwise
    return stat.S_IMODE(status.st_mode) & 0o777 if status.st_uid == os.geteuid() else otherwise


def private_folder(path: Path) -> None:
    """Create `path`, with its parents, with mode 0700; raises McpError, also if it is another user's."""
    make_folder(path, 0o700)
    try:
        owner = path.stat().st_uid
        if owner == os.geteuid():
            path.chmod(0o700)
        elif owner != 0:
            raise McpError(f"{path}: belongs to another user (UID {owner})", "name a folder of your own")
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
    """Return the stripped text of a secret file; raises Unusable."""
    try:
        return read_file(path, Trust.SECRET, SECRET_LIMIT).decode("ascii").strip()
    except UnicodeDecodeError:
        raise Unusable(path, "not a token file: contains non-ASCII bytes") from None


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
