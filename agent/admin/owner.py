"""Commands of root on files of another user: run as that user, who could otherwise make root follow links.

A user who may write a file, or a folder on the way to it, decides what root opens there. Modules are imported before:
root's extraction of the zipapp is root's alone.
"""

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from agent.files.mounts import resolve
from mcp.shared.errors import NotReady, shell_word


def give_up_root(*paths: Path) -> None:
    """Become the user who may write these paths, for good, if this is root and they are not root's alone.

    Raises NotReady if several users may.
    """
    if (owner := _foreign_owner(paths)) is not None:
        _become(*owner)


def refuse_root(*paths: Path) -> None:
    """Raise NotReady if this is root, and others than root may write these paths."""
    if (owner := _foreign_owner(paths)) is not None:
        raise NotReady(f"{paths[0]}: is of {_name(owner[0])}, and this is root", f"run it as {_name(owner[0])}")


def _foreign_owner(paths: tuple[Path, ...]) -> tuple[int, int] | None:
    """Return user and group of the one who may write to paths, None for root or if this is not root."""
    if os.geteuid() != 0:
        return None
    owners = dict(owner for path in paths for owner in _owners(path))
    if len(owners) > 1:
        names = " and ".join(sorted(map(_name, owners)))
        raise NotReady(f"{' and '.join(map(str, paths))}: may be written by {names}", "run it as one of them")
    return next(iter(owners.items()), None)


def _owners(path: Path) -> Iterator[tuple[int, int]]:
    """Yield the user and group, but for root's, of all that exists on the way to a file."""
    resolved = resolve(os.path.abspath(path))  # noqa: PTH100 - resolve() would not tell of links
    for passed in resolved.passed if resolved is not None else ():
        try:
            status = passed.lstat()
        except OSError:
            continue
        if status.st_uid != 0:
            yield status.st_uid, status.st_gid
        elif _is_open(status):
            raise NotReady(f"{passed}: others than root may write to it", f"chmod go-w {shell_word(str(passed))}")


def _is_open(status: os.stat_result) -> bool:
    """Return True for what others than root may replace or change; a sticky folder keeps what is in it."""
    if stat.S_ISLNK(status.st_mode) or status.st_mode & stat.S_ISVTX:
        return False
    by_group = status.st_mode & stat.S_IWGRP and status.st_gid != 0
    return bool(by_group or status.st_mode & stat.S_IWOTH)


def _become(uid: int, gid: int) -> None:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        os.setgroups([])
    else:
        gid = entry.pw_gid
        os.initgroups(entry.pw_name, gid)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
