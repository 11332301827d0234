"""The first start of a build: `_first` in the archive. Has shiv extract it, and removes older builds' trees.

Locks: TREE.lock as in `_start`; TREE.setup, exclusive, for whoever extracts. All errors end in one line.
"""

import contextlib
import errno
import fcntl
import importlib.machinery
import os
import re
import shutil
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import _bootstrap  # type: ignore[import-not-found]  # shiv's, in the archive
import _start  # type: ignore[import-not-found]

SUFFIXES = "@SUFFIXES@".split()  # of the native modules in this archive, one per Python
ENTRY = re.compile(r"\.?([0-9a-f]{16}-[^.]+?)(?:\.lock|\.setup|\.tmp|_lock)?")
TRASH = ".trash-"

_setup_lock = -1
_umask = 0


def start(program: str, build: str, tree: str) -> None:
    """Extract to `tree` and run the program from it; returns only where another process has just done so."""
    check_machine(program)
    folder = os.path.dirname(tree)
    try:
        prepare(program, folder)
        if not lock(tree):
            return
    except OSError as error:
        refuse(program, folder, error)
    except KeyboardInterrupt:
        sys.exit(130)
    through_shiv(program, build, tree)


def check_machine(program: str) -> None:
    """Refuse a machine or a Python for which the archive has no native modules."""
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    if suffix in SUFFIXES:
        return
    names = {"x86_64": "amd64", "aarch64": "arm64"}
    ours = next(machine for machine in names if machine in SUFFIXES[0])
    here = os.uname().machine
    if here != ours:
        _start.refuse(
            program,
            f"this file is for {names[ours]}, this machine is {names.get(here, here)}: "
            f"use the file whose name ends in linux-{names.get(here, here)}.pyz",
        )
    pythons = ", ".join(re.sub(r"\.cpython-3(\d+).*", r"3.\1", known) for known in SUFFIXES)
    found = f"{sys.implementation.name} {sys.version.split()[0]} with {suffix.strip('.')}"
    _start.refuse(program, f"needs CPython {pythons} for glibc, this is {found} ({sys.executable})")


def prepare(program: str, folder: str) -> None:
    """Make the cache folder, 0700, and refuse one where others could change what we run."""
    global _umask
    _umask = os.umask(0o077)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for path in (os.path.dirname(folder), folder):
        info = os.stat(path)
        if info.st_uid != os.geteuid():
            _start.refuse(
                program,
                f"{path} belongs to user {info.st_uid}, not to user {os.geteuid()}: "
                "set SHIV_ROOT to a folder of your own",
            )
        if info.st_mode & 0o022:
            _start.refuse(
                program, f"{path} is writable by others: chmod go-w it, or set SHIV_ROOT to a folder of your own"
            )
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        _start.refuse(program, f"{folder} is on a file system mounted noexec: set SHIV_ROOT to a folder on another")


def lock(tree: str) -> bool:
    """Take the tree's locks; False, and only the shared one, where it turns out whole after all."""
    global _setup_lock
    while True:  # a cleaner may remove the lock file between our opening and locking it
        held = os.open(f"{tree}.lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(held, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(held), os.stat(f"{tree}.lock")):
                break
        os.close(held)
    _setup_lock = os.open(f"{tree}.setup", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(_setup_lock, fcntl.LOCK_EX)
    if _start.intact(tree):
        release()
        return False
    discard(Path(tree))
    shutil.rmtree(f"{tree}.tmp", ignore_errors=True)
    return True


def release() -> None:
    """End the set-up: others may go on, and the umask is the user's again."""
    os.close(_setup_lock)
    os.umask(_umask)


def through_shiv(program: str, build: str, tree: str) -> None:
    """Run shiv's bootstrap; only where it extracts to is ours, and what its errors look like.

    shiv would name the tree after the file, which is renamed in an upgrade, and compile in a process pool.
    """
    extract = _bootstrap.extract_site_packages

    def cache_path(_archive: object, _root: object, found: str) -> Path:
        if found != build:
            _start.refuse(program, f"{sys.argv[0]} was replaced while it started: start it again")
        return Path(tree)

    def extract_site_packages(archive: Any, target: Path, *_options: object) -> None:
        try:
            extract(archive, target, compile_pyc=True, compile_workers=1)
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            give_up(program, tree, error)
        except KeyboardInterrupt:
            sys.exit(130)

    _bootstrap.cache_path = cache_path
    _bootstrap.extract_site_packages = extract_site_packages
    _bootstrap.bootstrap()


def give_up(program: str, tree: str, error: Exception) -> None:
    """Leave no half of a tree (the disk may be full), and say what is wrong."""
    shutil.rmtree(f"{tree}.tmp", ignore_errors=True)
    shutil.rmtree(tree, ignore_errors=True)
    refuse(program, os.path.dirname(tree), error)


def refuse(program: str, folder: str, error: Exception) -> None:
    """One line for an extraction that failed: the reason, and what to do about it."""
    if not isinstance(error, OSError):
        _start.refuse(program, f"{sys.argv[0]} is damaged ({error}): copy it again")
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        _start.refuse(
            program,
            f"cannot unpack into {folder}: {reason}: it needs 80 MB: make room, "
            "or set SHIV_ROOT to a folder on another disk",
        )
    _start.refuse(
        program,
        f"cannot unpack into {folder}: {reason}: make it yours and writable, or set SHIV_ROOT to a folder that is",
    )


def clean(folder: str, build: str) -> None:
    """Remove other builds' trees, but none that a process still runs from; errors are for the next start."""
    with contextlib.suppress(OSError):
        names = os.listdir(folder)
        for trash in names:
            if trash.startswith(TRASH):
                shutil.rmtree(f"{folder}/{trash}", ignore_errors=True)
        matches = [match for match in map(ENTRY.fullmatch, names) if match]
        for key in {match[1] for match in matches if not match[1].startswith(build)}:
            with contextlib.suppress(OSError):
                remove(Path(folder, key))


def remove(tree: Path) -> None:
    """Remove one tree and its locks; BlockingIOError where it is in use."""
    path = f"{tree}.lock"
    held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(held), os.stat(path)):
            return
        discard(tree)
        shutil.rmtree(f"{tree}.tmp", ignore_errors=True)
        for lock_file in (f"{tree}.setup", f"{tree.parent}/.{tree.name}_lock", path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(lock_file)
    finally:
        os.close(held)


def discard(tree: Path) -> None:
    """Remove a tree so that no start ever sees half of it: rename first."""
    trash = tree.with_name(f"{TRASH}{os.getpid()}-{tree.name}")
    with contextlib.suppress(FileNotFoundError):
        tree.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)
