"""Remove extracted trees that no running process has locked: `_clean` in the archive."""

import contextlib
import fcntl
import os
import re
import shutil

ENTRY = re.compile(r"\.?([0-9a-f]{16}-[^.]+?)(?:\.lock|\.setup|\.tmp|_lock)?")  # a tree and the files beside it
TRASH = ".trash-"


def clean(folder: str, build: str) -> None:
    """Remove unused trees of other builds; leave failures to the next start."""
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
    """Remove one tree and its locks; raises BlockingIOError if it is in use."""
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
    """Rename and remove a tree, so that no start sees it partially removed."""
    folder, key = os.path.split(tree)
    trash = f"{folder}/{TRASH}{os.getpid()}-{key}"
    with contextlib.suppress(FileNotFoundError):
        os.rename(tree, trash)
        shutil.rmtree(trash, ignore_errors=True)
