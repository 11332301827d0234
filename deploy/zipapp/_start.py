"""Start a zipapp: `_start` beside `__main__` in the archive.

Read and compiled at every start, hence short and without pathlib, whose import takes longer than all of this.

An extracted tree lies at FOLDER/BUILD-TAG (TAG names the Python's ABI, BUILD the archive's content), and
beside it TREE.lock, on which every process that runs from the tree holds a shared flock until it ends.
A complete tree is run directly; otherwise `_first` extracts it.
"""

from __future__ import annotations

import fcntl
import importlib
import importlib.machinery
import os
import sys

TYPE_CHECKING = False  # typing takes 4 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

MARKER = "complete"  # written last: a tree without it is incomplete
END = "end\n"  # of the marker


def refuse(program: str, why: str) -> NoReturn:
    """End the process with exit code 1 and one line on stderr."""
    sys.stderr.write(f"{program}: {why}\n")
    sys.exit(1)


def start(program: str, build: str, entry: str, extract: Callable[[str, str, str], None]) -> NoReturn:
    """Run the archive's program; main() of the module `entry` returns the exit code.

    Without a complete tree, calls `extract` with program, build and tree. It also runs the program, and returns only if
    another process has just extracted the tree.
    """
    for name in [name for name in os.environ if name.startswith("SHIV_") and name != "SHIV_ROOT"]:
        del os.environ[name]  # they select another entry point or other modules
    folder = cache_folder(program)
    tree = tree_of(program, build)
    try:
        if not (trusted(folder) and hold(tree) and intact(tree)):
            extract(program, build, tree)
        sys.exit(load(build, entry, folder, tree)())
    except KeyboardInterrupt:
        sys.exit(130)


def load(build: str, entry: str, folder: str, tree: str) -> Callable[[], int]:
    """Import the program's main from its tree, and remove the trees of other builds."""
    if any(build not in name for name in os.listdir(folder)):
        import _clean

        _clean.clean(folder, build)
    use_path(f"{tree}/site-packages")
    main: Callable[[], int] = importlib.import_module(entry).main
    return main


def tree_of(program: str, build: str) -> str:
    """Return the tree of a build for this Python."""
    tag = importlib.machinery.EXTENSION_SUFFIXES[0].strip(".").removesuffix(".so")
    return f"{cache_folder(program)}/{build}-{tag}"


def cache_folder(program: str) -> str:
    """Return the folder of this program's trees: $SHIV_ROOT/PROGRAM, else below the XDG cache folder.

    Without a home folder, which is never created, it is below /tmp.
    """
    root = os.environ.get("SHIV_ROOT")
    if root:
        return f"{os.path.abspath(os.path.expanduser(root))}/{program}"
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(cache):  # as the XDG specification requires
        return f"{cache}/mcp/{program}"
    folder = home()
    if folder is not None and os.path.isdir(f"{folder}/"):
        return f"{folder}/.cache/mcp/{program}"
    return f"/tmp/mcp-{os.geteuid()}/{program}"  # noqa: S108 - used only if it is ours: see `details`


def home() -> str | None:
    """Return the user's home folder; from the user database if HOME is not set, None if it is not there either."""
    found = os.environ.get("HOME", "")
    if os.path.isabs(found):
        return found.rstrip("/")
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir.rstrip("/")
    except KeyError:
        return None


def details(path: str) -> os.stat_result:
    """Return the stat result of a folder; of a link itself where others can replace it, as in /tmp."""
    shared = os.stat(os.path.dirname(path)).st_mode & 0o022
    return os.lstat(path) if shared else os.stat(path)


def trusted(folder: str) -> bool:
    """Return True if nobody else can write to the folder or replace it."""
    try:
        return not any(
            info.st_uid not in (0, os.geteuid()) or info.st_mode & 0o022
            for info in (details(os.path.dirname(folder)), details(folder))
        )
    except OSError:
        return False


def hold(tree: str) -> bool:
    """Hold the tree's shared lock for the process's lifetime; False if the lock file is missing or being removed."""
    try:
        lock = os.open(f"{tree}.lock", os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(lock), os.stat(f"{tree}.lock"))
    except OSError:
        return False


def intact(tree: str) -> bool:
    """Return True if every file and folder of the tree is as its marker has it; see `fingerprint`."""
    try:
        if os.statvfs(tree).f_flag & os.ST_NOEXEC:
            return False
        with open(f"{tree}/{MARKER}", encoding="utf-8") as marker:
            for line in marker:
                if line == END:
                    return True
                if line != fingerprint(tree, line[:-1].split(" ", 3)[3]):
                    return False
    except (OSError, ValueError, IndexError):
        pass
    return False


def fingerprint(tree: str, path: str) -> str:
    """Return the line of a file or folder in the marker: size, mtime and ctime (ns), and its path in the tree.

    A change of the content or of a folder's entries sets ctime, which nobody but root can set back.
    """
    info = os.lstat(f"{tree}/{path}")
    return f"{info.st_size} {info.st_mtime_ns} {info.st_ctime_ns} {path}\n"


def use_path(site_packages: str) -> None:
    """Import only from the standard library and the tree.

    Excludes the system's packages, and the archive, which an upgrade may replace while the program runs.
    """
    foreign = ("site-packages", "dist-packages")
    sys.path[:] = [path for path in sys.path[1:] if not path.endswith(foreign)] + [site_packages]
