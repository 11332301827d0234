"""Containers made with each option of `podman run` on Debian's podman, as tools/record.py has recorded them."""

import copy
import functools
import json
import lzma
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.podman.inspect import ContainerObject, parse_objects

DATA = Path(__file__).parent / "unit/data"
VERSIONS = ("4.3.1", "5.4.2")


@dataclass(frozen=True)
class Made:
    """A container made with some options; the first is that of `option`."""

    version: str
    option: str
    words: tuple[str, ...]
    verb: str  # run or create; empty if podman refused it there
    changes: tuple[tuple[tuple[str, ...], Any], ...]  # against a plain container: path and value in the inspection

    def __str__(self) -> str:
        """Return its name in the output of pytest."""
        return f"{self.version} {' '.join(self.words)}"

    def inspected(self, *, with_command: bool = True) -> ContainerObject:
        """Return it as podman inspects it, or as if it had been made over the API."""
        data = recorded(self.version)
        row = copy.deepcopy(data["plain"])
        for path, value in self.changes:
            place = row
            for key in path[:-1]:
                place = place[key] if place.get(key) is not None else place.setdefault(key, {})
            place[path[-1]] = value
        command = ["podman", "run", "--detach", "--name=record", *self.words, data["image"]["RepoTags"][0]]
        row["Config"]["CreateCommand"] = command if with_command else None
        (found,) = parse_objects(json.dumps([row]).encode(), json.dumps([data["image"]]).encode())
        return found


@functools.cache
def recorded(version: str) -> dict[str, Any]:
    """Return all that was recorded of a podman."""
    data: dict[str, Any] = json.loads(lzma.decompress((DATA / f"podman-{version}-options.json.xz").read_bytes()))
    return data


def containers() -> list[Made]:
    """Return the containers of both podmans."""
    return [
        Made(
            version,
            made["option"],
            tuple(made["words"]),
            made["verb"],
            tuple((tuple(path), value) for path, value in made.get("changes", ())),
        )
        for version in VERSIONS
        for made in recorded(version)["made"]
    ]


def plain(version: str) -> Made:
    """Return the plain container."""
    return Made(version, "", (), "run", ())
