"""The limits of definitions that a deployer deploys: nothing of the node, and nothing of other services.

A deployer's service gets the folders of the services that it may change, volumes of its own name, and whatever mounts
its components already have: somebody with more rights has deployed those.
"""

import asyncio
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.auth.backends import Identity
from agent.auth.permissions import forbidden
from agent.files.files import ServiceFiles
from agent.files.mounts import resolve
from agent.store.registry import AsyncRegistry, ComponentRow
from mcp.shared.roles import Role
from mcp.shared.spec import ComponentSpec, ServiceSpec


@dataclass(frozen=True)
class Mount:
    """An entry of `volumes`, without the place in the container."""

    source: str
    options: frozenset[str]

    @property
    def is_path(self) -> bool:
        """True for a bind mount, False for a named volume."""
        return self.source.startswith("/")


def mounts_of(spec: ComponentSpec) -> list[Mount]:
    """Return the mounts of a component."""
    split = (volume.split(":") for volume in spec.volumes)
    return [Mount(parts[0], frozenset(parts[2].split(",") if parts[2:] else ())) for parts in split]


@dataclass(frozen=True)
class Limits:
    """Limits of the mounts of a deployer's services on this node."""

    own: frozenset[str]  # services
    files: ServiceFiles
    rows: Sequence[ComponentRow]
    anonymous: Mapping[str, str]  # services by anonymous volume

    def problems(self, service: ServiceSpec) -> Iterator[str]:
        """Yield what a definition mounts beyond the limits; blocks."""
        registered = {mount for row in self.rows if row.service == service.name for mount in mounts_of(row.spec)}
        wanted = [mount for spec in service.components for mount in mounts_of(spec) if mount not in registered]
        theirs = [row.spec for row in self.rows if row.service in self.own]
        every = [mount for spec in (*service.components, *theirs) for mount in mounts_of(spec)]
        for mount in wanted:
            if not mount.is_path and not self._is_own_volume(mount.source, service.name):
                yield f"mounting the volume {mount.source}"
            elif mount.is_path and not self._is_own_folder(mount.source):
                yield f"mounting {mount.source}"
            for other in every if mount.is_path else ():
                for above, below in ((mount, other), (other, mount)):
                    if _can_replace(above, below):
                        yield f"mounting {below.source} beside a writable mount of {above.source}"

    def _is_own_folder(self, source: str) -> bool:
        resolved, root = resolve(source), os.path.realpath(self.files.root)
        return resolved is not None and any(resolved.real.is_relative_to(Path(root, name)) for name in self.own)

    def _is_own_volume(self, name: str, service: str) -> bool:
        others = (row for row in self.rows if row.service not in self.own)
        taken = {mount.source for row in others for mount in mounts_of(row.spec)}
        is_named = any(name == own or name.startswith((f"{own}-", f"{own}_", f"{own}.")) for own in self.own)
        is_known = self.anonymous.get(name) == service
        return (is_named or is_known) and name not in taken


def _can_replace(above: Mount, below: Mount) -> bool:
    """Return True if a container with the mount `above` can put a link where the source of `below` is.

    podman follows it when the container with that mount starts again, wherever it leads.
    """
    folder, source = Path(above.source), Path(below.source)
    writable = not above.options & {"ro", "O"}
    return above.is_path and below.is_path and writable and folder != source and source.is_relative_to(folder)


def _has_volumes(service: ServiceSpec) -> bool:
    return any(not mount.is_path for spec in service.components for mount in mounts_of(spec))


async def check_limits(
    identity: Identity, services: Collection[ServiceSpec], registry: AsyncRegistry, files: ServiceFiles
) -> None:
    """Raise Forbidden if definitions have mounts that the account may not deploy."""
    permission = identity.permission
    if permission.role is Role.ADMIN:
        return
    registered = await registry.call(registry.components.read)
    limits = Limits(permission.services, files, registered.rows, await registry.call(registry.volumes.owners))
    for row in registered.unreadable:  # whose volumes nobody knows
        if row.service not in permission.services and any(map(_has_volumes, services)):
            raise row.refusal

    def first() -> str | None:
        return next((problem for service in services for problem in limits.problems(service)), None)

    if problem := await asyncio.to_thread(first):
        raise forbidden(identity.user, permission, problem)
