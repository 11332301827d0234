"""Removing extracted trees: `_clean` in the archive. Never one that a running process holds the lock of."""

import contextlib
import fcntl
import os
import re
import shutil

ENTRY = re.compile(r"\.?([0-9a-f]{16}-[^.]+?)(?:\.lock|\.setup|\.tmp|_lock)?")  # a tree's name, and what lies beside it
TRASH = ".trash-"


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
                remove(f"{folder}/{key}")


def remove(tree: str) -> None:
    """Remove one tree and its locks; BlockingIOError where it is in use."""
    path = f"{tree}.lock"
    folder, key = os.path.split(tree)
    held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(held), os.stat(path)):
            return
        discard(tree)
        shutil.rmtree(f"{tree}.tmp", ignore_errors=True)
        for lock_file in (f"{tree}.setup", f"{folder}/.{key}_lock", path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(lock_file)
    finally:
        os.close(held)


def discard(tree: str) -> None:
    """Remove a tree so that no start ever sees half of it: rename first."""
    folder, key = os.path.split(tree)
    trash = f"{folder}/{TRASH}{os.getpid()}-{key}"
    with contextlib.suppress(FileNotFoundError):
        os.rename(tree, trash)
        shutil.rmtree(trash, ignore_errors=True)
