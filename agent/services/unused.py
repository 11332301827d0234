"""List images and anonymous volumes that nothing refers to, and that therefore can be removed."""

from collections.abc import Collection, Sequence

from agent.podman.client import Podman
from agent.podman.inspect import ANONYMOUS
from agent.podman.output import LocalImage
from agent.services.volumes import named_targets
from agent.store.deploys import KEPT_DEFINITIONS
from agent.store.registry import AsyncRegistry
from mcp.shared.image import image_key
from mcp.shared.spec import ComponentSpec


async def unused_images(podman: Podman, registry: AsyncRegistry) -> list[LocalImage]:
    """Return the images that no container, no deployed component and no recent deploy refers to. Raises McpError."""
    images, containers = await podman.local_images(), await podman.containers()
    names = {spec.image for spec in await _specs(registry)}
    return select_unused(images, {container.image_id for container in containers}, names)


async def unused_volumes(podman: Podman, registry: AsyncRegistry) -> list[str]:
    """Return the anonymous volumes that no container has and no deploy would mount again. Raises McpError."""
    found = {name for name in await podman.unused_volumes() if ANONYMOUS.fullmatch(name)}
    named = {source for spec in await _specs(registry) for source in named_targets(spec).values()}
    return sorted(found - named - await registry.call(registry.volumes.names))


async def _specs(registry: AsyncRegistry) -> list[ComponentSpec]:
    """Return the specifications of all deployed components and recent deploys."""
    rows = await registry.call(registry.components.select)
    definitions = await registry.call(registry.deploys.recent_definitions, KEPT_DEFINITIONS)
    return [*(row.spec for row in rows), *(spec for definition in definitions for spec in definition.components)]


def select_unused(images: Sequence[LocalImage], used: Collection[str], wanted: Collection[str]) -> list[LocalImage]:
    """Select the images that are not among the ids `used`, and which no `wanted` name means, the largest first."""
    keys = {image_key(name) for name in wanted}
    unused = [image for image in images if image.identifier not in used and not _is_wanted(image.keys, keys)]
    return sorted(unused, key=lambda image: -image.size)


def _is_wanted(keys: Collection[str], wanted: Collection[str]) -> bool:
    """Tell if a key is wanted, or may be what a wanted short name stands for."""
    return any(key == each or key.endswith(f"/{each}") for key in keys for each in wanted)
