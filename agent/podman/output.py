"""Parse the output of podman's lists: containers, images, networks, version. All pure."""

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.podman.states import ContainerState, Health
from mcp.shared.errors import Unavailable
from mcp.shared.names import LABEL_DEPLOY, LABEL_SERVICE

# raised for JSON that is not of podman's form (OSError: a time that the C library cannot represent)
FORM_ERRORS = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, OSError, RecursionError)


@dataclass(frozen=True)
class Container:
    """A container as `podman ps` lists it."""

    identifier: str
    name: str
    image: str
    state: str
    exit_code: int
    started: datetime | None  # None: never
    labels: dict[str, str] = field(default_factory=dict)
    image_id: str = ""
    restarts: int = 0  # by its restart policy; podman 4.3 lists none
    health: str = ""  # healthy, unhealthy or starting; empty without a health check
    exited: bool = False  # podman has seen its last run end, and knows the exit code
    pid: int = field(default=0, compare=False)  # of its main process; 0: not running, or not known
    orphaned: bool = False  # podman calls it running, but its process or its conmon is gone
    published: frozenset[tuple[int, str]] = frozenset()  # host ports with their protocols, also while it is stopped

    @property
    def deploy(self) -> int:
        """Number of the deploy that created it; 0: none of this agent's."""
        return deploy_number(self.labels)

    @property
    def running(self) -> bool:
        """Tell if its main process is running."""
        return self.state == ContainerState.RUNNING

    @property
    def has_begun(self) -> bool:
        """Tell if its main process was started, even if it has ended."""
        return self.running or self.exited

    def is_of(self, service: str, deploy: int) -> bool:
        """Tell if this deploy of a service created it; one of number 0 creates what was taken over without a number."""
        return self.labels.get(LABEL_SERVICE) == service and self.deploy == deploy


@dataclass(frozen=True)
class Image:
    """An image on the node."""

    identifier: str
    digest: str  # of its manifest
    architecture: str  # as in GOARCH
    volumes: tuple[str, ...] = ()  # paths that podman mounts an anonymous volume at


@dataclass(frozen=True)
class LocalImage:
    """An image as `podman images` lists it; `size` in bytes, with layers that it shares.

    `keys` are its names and digests (see `image_key`).
    """

    identifier: str
    names: tuple[str, ...]
    size: int
    keys: frozenset[str] = frozenset()


def deploy_number(labels: Mapping[str, object]) -> int:
    """Return the number of the deploy that created the container with these labels, or 0."""
    number = str(labels.get(LABEL_DEPLOY, ""))
    return int(number) if number.isascii() and number.isdigit() and len(number) < 19 else 0


def parse_containers(output: bytes) -> list[Container]:
    """Parse `podman ps --format json`. Raises Unavailable."""
    with expecting("podman ps", "a list of containers"):
        return [_container(row) for row in load_rows(output)]


def _container(row: dict[str, Any]) -> Container:
    names, labels, started = row["Names"], row.get("Labels") or {}, row.get("StartedAt")
    if not isinstance(names, list):
        raise TypeError("Names")
    return Container(
        identifier=str(row["Id"]),
        name=str(names[0]),
        image=str(row.get("Image", "")),
        state=str(row["State"]).lower(),
        exit_code=int(str(row.get("ExitCode", 0))),
        # for a container that never ran, podman prints the year 1 as negative seconds
        started=datetime.fromtimestamp(started, UTC) if isinstance(started, int) and started > 0 else None,
        labels={str(key): str(value) for key, value in labels.items()},
        image_id=str(row.get("ImageID", "")),
        restarts=int(str(row.get("Restarts") or 0)),
        health=_health(str(row.get("Status", ""))),
        exited=row.get("Exited") is True,
        pid=int(str(row.get("Pid") or 0)),
        published=frozenset(_published(row.get("Ports") or ())),
    )


def _published(ports: Iterable[dict[str, Any]]) -> Iterator[tuple[int, str]]:
    for port in ports:
        first = int(port["host_port"])
        numbers = range(first, first + int(port.get("range") or 1))
        yield from ((number, protocol) for number in numbers for protocol in str(port["protocol"]).split(","))


def _health(status: str) -> str:
    """Return the health in a status like `Up 5 seconds (unhealthy)`: `podman ps` has no field for it."""
    word = status.rpartition("(")[2].removesuffix(")")
    return word if word in [*Health] else ""


def parse_image(output: bytes) -> Image:
    """Parse `podman image inspect` of one image. Raises Unavailable."""
    with expecting("podman image inspect", "an image"):
        row = load_rows(output)[0]
        volumes = tuple(sorted((row.get("Config") or {}).get("Volumes") or ()))
        return Image(str(row["Id"]), str(row.get("Digest", "")), str(row.get("Architecture", "")), volumes)


def parse_image_ids(output: bytes) -> dict[str, str]:
    """Parse `podman images --format json` to image ids by name and by digest (see `image_key`). Raises Unavailable.

    An image that was pulled by the digest of a list for several processors has that digest beside its own.
    """
    with expecting("podman images", "a list of images"):
        return {key: str(row["Id"]) for row in load_rows(output) for key in _image_keys(row)}


def _image_keys(row: dict[str, Any]) -> Iterator[str]:
    yield from (str(name) for name in row.get("Names") or ())
    yield from (str(name).rpartition("@")[2] for name in row.get("RepoDigests") or ())
    yield from [str(row["Digest"])] if row.get("Digest") else ()


def parse_local_images(output: bytes) -> list[LocalImage]:
    """Parse `podman images --format json`. Raises Unavailable."""
    with expecting("podman images", "a list of images"):
        return [_local_image(row) for row in load_rows(output)]


def _local_image(row: dict[str, Any]) -> LocalImage:
    names = tuple(str(name) for name in row.get("Names") or ())
    return LocalImage(str(row["Id"]), names, int(row.get("Size") or 0), frozenset(_image_keys(row)))


def parse_archived_file(output: bytes) -> bytes | None:
    """Return the file in the archive that `podman cp CONTAINER:FILE -` prints, or None. Raises Unavailable."""
    import tarfile  # rarely needed, and with its own imports slow to import

    try:
        with tarfile.open(fileobj=io.BytesIO(output)) as archive:
            member = archive.next()
            file = archive.extractfile(member) if member is not None else None
            return file.read() if file is not None else None
    except KeyError:  # a link, whose target is not in the archive
        return None
    except tarfile.TarError:
        raise Unavailable("unexpected output of podman cp: not an archive") from None


def parse_network_name(output: bytes) -> str:
    """Parse `podman network inspect` of one network. Raises Unavailable."""
    with expecting("podman network inspect", "a network"):
        return str(load_rows(output)[0]["name"])


def parse_version(output: bytes) -> str:
    """Parse `podman version --format json`. Raises Unavailable."""
    with expecting("podman version", "a version"):
        return str(json.loads(output)["Client"]["Version"])


def parse_places(output: bytes) -> tuple[Path, ...]:
    """Parse the folders of podman's own files from `podman info --format json`. Raises Unavailable."""
    with expecting("podman info", "information about podman"):
        store = json.loads(output)["store"]
        return tuple(Path(str(store[key])) for key in ("graphRoot", "runRoot", "volumePath") if store[key])


@contextmanager
def expecting(command: str, form: str) -> Iterator[None]:
    """Raise Unavailable if a command's output is not JSON of the expected form."""
    try:
        yield
    except FORM_ERRORS:
        raise Unavailable(f"unexpected output of {command}: not {form}") from None


def parse_count(output: bytes) -> int:
    """Parse the number of containers from `podman info --format json`. Raises Unavailable."""
    with expecting("podman info", "information about podman"):
        return int(json.loads(output)["store"]["containerStore"]["number"])


def load_rows(output: bytes) -> list[Any]:
    """Return the list in podman's output; null is an empty one. Raises one of FORM_ERRORS."""
    rows = json.loads(output)
    if not isinstance(rows, list | None):
        raise TypeError("no list")
    return rows or []
