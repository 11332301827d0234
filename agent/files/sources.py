"""Provide the folder of a service, and the sources of its bind mounts."""

import grp
import os
import posixpath
import pwd
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from agent.files.errors import translated
from agent.files.files import ServiceFiles
from agent.files.mounts import planted_link
from mcp.shared.errors import McpError, NotReady, shell_word

_FILE = re.compile(r"(?!.*\.d$).+\.[A-Za-z][A-Za-z0-9]{0,9}")  # a name with an extension


def provide_sources(files: ServiceFiles, service: str, sources: Sequence[str]) -> None:
    """Create a service's folder, and the missing folders below it among the sources of its bind mounts.

    Blocks. Raises NotReady for a missing source that is a file or lies elsewhere, and for one in a service's folder
    that has become a link to a place which no container gets.
    """
    for source in sources:
        if problem := planted_link(files, source):
            raise NotReady(problem)
    with suppress(McpError, OSError):  # needed only by what is to be created in it
        files.create_folder([service.encode()])
    missing = [source for source in dict.fromkeys(map(posixpath.normpath, sources)) if not _exists(source)]
    folder = f"{files.root}/{service}/"
    elsewhere = [source for source in missing if not source.startswith(folder)]
    if first := [source for source in elsewhere if not _is_file(source)] or elsewhere:
        raise NotReady(f"{_named(first)} on this node", _advice(first, "as root"))
    for source in missing:
        if _is_file(source):
            raise NotReady(f"{_named([source])} on this node", _advice([source], "with `mcp push`"))
        _create(files, [service, *source.removeprefix(folder).split("/")], source)


def _is_file(source: str) -> bool:
    """Tell if a path that does not exist looks like that of a file."""
    return _FILE.fullmatch(posixpath.basename(source)) is not None


def _advice(missing: Sequence[str], way: str) -> str:
    """Say how to create missing sources, all of them files, which are copied in some `way`, or all folders."""
    if _is_file(missing[0]):
        return f"copy a file there {way}, or create a folder as root: {_install(missing)}"
    return f"create {'them' if len(missing) > 1 else 'it'} there as root: {_install(missing)}"


def _create(files: ServiceFiles, names: Sequence[str], source: str) -> None:
    try:
        with translated("/".join(names), writing=True):
            files.create_folder([name.encode() for name in names])
    except NotReady as error:
        raise NotReady(
            f"{_named([source])}: {error.what}", f"create it on the node as root: {_install([source])}"
        ) from None


def _exists(source: str) -> bool:
    try:
        Path(source).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # not ours to see, but perhaps podman's: it has the subordinate UIDs as well
    return True


def _named(sources: Sequence[str]) -> str:
    return f"{' and '.join(sources)} {'do' if len(sources) > 1 else 'does'} not exist"


def _install(sources: Sequence[str]) -> str:
    user, group = str(os.geteuid()), str(os.getegid())
    with suppress(KeyError):  # without an entry in passwd(5) or group(5)
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    return " ".join(["install -d -o", *map(shell_word, (user, "-g", group, *sources))])
