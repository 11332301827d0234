"""Volumes of components, above all the anonymous ones, which only podman knows by name. Pure."""

import posixpath
import re
from collections.abc import Collection, Mapping, Set

from mcp.shared.names import container_name
from mcp.shared.spec import ComponentSpec


def clean(target: str) -> str:
    """Return a target as podman compares it."""
    return posixpath.normpath(f"/{target.lstrip('/')}")


def named_targets(spec: ComponentSpec) -> dict[str, str]:
    """Return the sources of the volumes in a definition, by target."""
    pairs = (volume.split(":")[:2] for volume in spec.volumes)
    return {clean(target): source for source, target in pairs}


def names(spec: ComponentSpec) -> set[str]:
    """Return the named volumes in a definition, without the folders of the node."""
    return {source for source in named_targets(spec).values() if not source.startswith("/")}


def paths(spec: ComponentSpec) -> tuple[str, ...]:
    """Return the folders and files of the node that a definition mounts, in its order."""
    return tuple(source for volume in spec.volumes if (source := volume.partition(":")[0]).startswith("/"))


def lost(wanted: Set[str], existing: Set[str]) -> tuple[str, ...]:
    """Return a note for each named volume that is gone with its container: podman creates it again, empty."""
    return tuple(
        f"volume {name} does not exist and comes back empty: restore its data" for name in sorted(wanted - existing)
    )


def carried(spec: ComponentSpec, volumes: Mapping[str, str]) -> dict[str, str]:
    """Return those anonymous volumes, by target, that a container of a definition without them gets."""
    named = named_targets(spec)
    return {
        target: volume
        for target, volume in sorted(volumes.items())
        if target not in named and volume not in named.values()
    }


def notes(
    service: str, spec: ComponentSpec, volumes: Mapping[str, str], declared: Collection[str] = ()
) -> tuple[str, ...]:
    """Return what the user has to know about the anonymous volumes of a component.

    Args:
        service: The service of the component.
        spec: Its specification.
        volumes: Existing volumes by target.
        declared: Targets at which its image asks for a volume.
    """
    mounted, named = carried(spec, volumes), named_targets(spec)
    new = sorted({clean(target) for target in declared} - {*mounted, *named})
    left = {
        target: volume for target, volume in sorted(volumes.items()) if target in named and volume not in named.values()
    }
    return (
        *(_unnamed(target, "is", volume) for target, volume in mounted.items()),
        *(_unnamed(target, "will be", _name(service, spec, target)) for target in new),
        *(f"the earlier content of {target} is in the anonymous volume {volume}" for target, volume in left.items()),
    )


def kept(spec: ComponentSpec | None, volumes: Mapping[str, str]) -> list[str]:
    """Return what the user has to know about anonymous volumes that stay when their component is removed."""
    named = named_targets(spec).values() if spec is not None else ()
    return [
        f"{target} is kept in the anonymous volume {volume}"
        for target, volume in sorted(volumes.items())
        if volume not in named
    ]


def _unnamed(target: str, verb: str, name: str) -> str:
    return f'{target} {verb} in an anonymous volume; to name it, add "{name}:{target}" to volumes'


def _name(service: str, spec: ComponentSpec, target: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", container_name(service, spec.name) + target).rstrip("-")
