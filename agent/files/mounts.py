"""The paths of the node that no container gets: those that lead to the agent's own files, or to podman's.

A source of a bind mount is judged by its spelling and by what it leads to. All of this blocks.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from posixpath import normpath

from agent.files.files import ServiceFiles
from agent.files.folders import identities

PROC = Path("/proc")  # /proc/PID/root and the like lead everywhere
LINKS_LIMIT = 40  # as of Linux
ALLOW = "to allow it, add it to allow_mounts in [agent] of the node's mcp-agent.toml"


@dataclass(frozen=True)
class Resolved:
    """The end of a path, all links followed, and every path on the way there."""

    real: Path
    passed: tuple[Path, ...]


def resolve(path: str) -> Resolved | None:
    """Follow the links of an absolute path, which need not exist; return None if there are too many."""
    pending, current, passed, links = path.split("/"), Path("/"), list[Path](), 0
    while pending:
        name = pending.pop(0)
        if name in ("", "."):
            continue
        current = current.parent if name == ".." else current / name
        passed.append(current)
        try:
            target = str(current.readlink())
        except OSError:
            continue  # not a link, missing, or not ours to see
        links += 1
        if links > LINKS_LIMIT:
            return None
        pending = [*target.split("/"), *pending]
        current = Path("/") if target.startswith("/") else current.parent
    return Resolved(current, tuple(passed))


def mount_problem(files: ServiceFiles, source: str, more: Iterable[Path] = ()) -> str:
    """Return why a container may not get the path `source` of the node, or an empty string.

    Args:
        files: The services' files, with the agent's own places and the mounts that its configuration allows.
        source: The path.
        more: Further places that no container gets, such as podman's storage.
    """
    spelled, resolved = Path(_normal(source)), resolve(source)
    if resolved is None:
        return f"the mount {source} is a link to itself"
    if _is_allowed(files, spelled, resolved.real):
        return ""
    if any(path.is_relative_to(PROC) for path in (spelled, *resolved.passed)):
        return f"the mount {source} leads through {PROC}; {ALLOW}"
    for place in (*files.private, *more):
        if relation := _relation(files, place, spelled, resolved.real):
            where = "is" if spelled == place else f"{relation} {place}, which is"
            return f"the mount {source} {where} the agent's or podman's own; {ALLOW}"
    return ""


def planted_link(files: ServiceFiles, source: str) -> str:
    """Return the problem of a source in a service's folder that leads to a place of the agent, or an empty string.

    Containers can write there, and put a link where a folder was when they were deployed.
    """
    spelled = Path(_normal(source))
    beside = [place for place in files.private if place.is_relative_to(files.root)]
    if not spelled.is_relative_to(files.root) or any(spelled.is_relative_to(place) for place in beside):
        return ""
    return mount_problem(files, source)


def _is_allowed(files: ServiceFiles, spelled: Path, real: Path) -> bool:
    return any(
        spelled.is_relative_to(allowed) and real.is_relative_to(os.path.realpath(allowed))
        for allowed in files.allow_mounts
    )


def _is_service(files: ServiceFiles, path: Path) -> bool:
    """Return True for the folder of a service, and for what is in it."""
    root = Path(os.path.realpath(files.root))
    return path != root and path.is_relative_to(root)


def _relation(files: ServiceFiles, place: Path, spelled: Path, real: Path) -> str:
    """Return how a source relates to a place that no container gets, or an empty string if it does not."""
    private = Path(os.path.realpath(place))
    if place.is_relative_to(spelled) or private.is_relative_to(real) or _is_above(real, private):
        return "is" if identities([private]) == identities([real]) else "holds"
    below = spelled.is_relative_to(place) or real.is_relative_to(private) or _is_below(real, private)
    if not below or (_is_service(files, real) and _is_service_root_in(files, private)):
        return ""
    return "is in" if spelled.is_relative_to(place) else "leads into"


def _is_service_root_in(files: ServiceFiles, private: Path) -> bool:
    """Return True if the services' folders are in a private one, as with `mcp-agent dev`."""
    return Path(os.path.realpath(files.root)).is_relative_to(private)


def _is_above(real: Path, private: Path) -> bool:
    """Compare by device and inode, which also finds what is mounted at two places."""
    return bool(identities([real]) & identities([private, *private.parents]))


def _is_below(real: Path, private: Path) -> bool:
    return bool(identities([private]) & identities([real, *real.parents]))


def _normal(path: str) -> str:
    return "/" + normpath(path).lstrip("/")
