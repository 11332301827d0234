"""The first start of a build: `_first` in the archive. Extracts it with shiv.

Locks: TREE.lock as in `_start`; TREE.setup, exclusive, during extraction. All errors are one line.
"""

import contextlib
import errno
import fcntl
import importlib.machinery
import importlib.util
import os
import re
import shutil
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any, NoReturn

import _clean
import _start

SUFFIXES = "@SUFFIXES@"  # of the native modules in this archive, one per Python

ZIPAPP = sys.argv[0]  # during the preamble, argv names the preamble
_setup_lock = -1
_umask = 0


def start(program: str, build: str, tree: str) -> None:
    """Extract to `tree` and run the program; return only if another process has just extracted it."""
    check_machine(program)
    folder = os.path.dirname(tree)
    try:
        prepare(program, folder)
        if not lock(tree):
            return
    except OSError as error:
        refuse(program, folder, error)
    through_shiv(program, build, tree)


def check_machine(program: str) -> None:
    """Exit on a machine or Python that cannot unpack or load the archive's native modules."""
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    if suffix not in SUFFIXES.split():
        wrong_machine(program, suffix)
    if importlib.util.find_spec("_lzma") is None:
        _start.refuse(program, f"{sys.executable} was built without lzma: use the system's python3")
    with contextlib.suppress(ImportError):  # a Python built without libffi cannot tell
        from ctypes import CDLL

        for library in ("libstdc++.so.6", "libgcc_s.so.1"):
            try:
                CDLL(library)
            except OSError:
                _start.refuse(
                    program, f"{library} is missing: install it, or on NixOS name its folder in LD_LIBRARY_PATH"
                )


def wrong_machine(program: str, suffix: str) -> NoReturn:
    """Exit with the required machine or Python; `suffix` is the native module suffix of this Python."""
    names = {"x86_64": "amd64", "aarch64": "arm64"}
    wanted = next(machine for machine in names if machine in SUFFIXES)
    machine = os.uname().machine
    if machine != wanted:
        here = names.get(machine, machine)
        other = f"use the file for linux-{here}" if machine in names else "no file supports it"
        _start.refuse(program, f"this file is for {names[wanted]}, this machine is {here}: {other}")
    pythons = ", ".join(f"3.{minor}" for minor in re.findall(r"cpython-3(\d+)", SUFFIXES))
    found = f"{sys.implementation.name} {sys.version.split()[0]}{suffix.removesuffix('.so')} ({sys.executable})"
    _start.refuse(program, f"needs CPython {pythons} with glibc, this is {found}")


def prepare(program: str, folder: str) -> None:
    """Create the cache folder, mode 0700; exit if others could modify it."""
    global _umask
    _umask = os.umask(0o077)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for path in (os.path.dirname(folder), folder):
        info = _start.details(path)
        if info.st_uid not in (0, os.geteuid()):
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
    """Take the tree's locks; if it is already complete, keep only the shared one and return False."""
    global _setup_lock
    while True:  # a cleanup may remove the lock file between open and flock
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
    _clean.discard(tree)
    shutil.rmtree(f"{tree}.tmp", ignore_errors=True)
    return True


def release() -> None:
    """Release the setup lock, and restore the umask."""
    os.close(_setup_lock)
    os.umask(_umask)


def through_shiv(program: str, build: str, tree: str) -> None:
    """Run shiv's bootstrap with our tree location and error messages.

    shiv would name the tree after the file, which upgrades rename, and compile in a process pool.
    """
    import _bootstrap  # type: ignore[import-not-found]  # shiv's, in the archive

    extract = _bootstrap.extract_site_packages

    def cache_path(_archive: object, _root: object, found: str) -> Path:
        if found != build:
            _start.refuse(program, f"{ZIPAPP} was replaced while it started: start it again")
        return Path(tree)

    def extract_site_packages(archive: Any, target: Path, *_options: object) -> None:
        try:
            extract(archive, target, compile_pyc=True, compile_workers=1)
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            give_up(program, tree, error)

    _bootstrap.cache_path = cache_path
    _bootstrap.extract_site_packages = extract_site_packages
    _bootstrap.bootstrap()


def give_up(program: str, tree: str, error: Exception) -> NoReturn:
    """Remove the partial tree (the disk may be full), and exit with the error."""
    shutil.rmtree(f"{tree}.tmp", ignore_errors=True)
    shutil.rmtree(tree, ignore_errors=True)
    refuse(program, os.path.dirname(tree), error)


def refuse(program: str, folder: str, error: Exception) -> NoReturn:
    """Exit with one line for a failed extraction: reason and remedy."""
    if not isinstance(error, OSError):
        _start.refuse(program, f"{ZIPAPP} is damaged ({error}): copy it again")
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
