"""List images that nothing refers to, and that therefore can be removed."""

from collections.abc import Collection, Sequence

from agent.podman.client import Podman
from agent.podman.output import LocalImage
from agent.store.registry import AsyncRegistry

KEPT_DEFINITIONS = 3  # of each service: the present one, and those that `mcp rollback` returns to


async def unused_images(podman: Podman, registry: AsyncRegistry) -> list[LocalImage]:
    """Return the images that no container, no deployed component and no recent deploy refers to. Raises McpError."""
    images, containers = await podman.local_images(), await podman.containers()
    rows = await registry.call(registry.components.select)
    definitions = await registry.call(registry.deploys.recent_definitions, KEPT_DEFINITIONS)
    names = {row.spec.image for row in rows}
    names |= {component.image for definition in definitions for component in definition.components}
    return select_unused(images, {container.image_id for container in containers}, names)


def select_unused(images: Sequence[LocalImage], used: Collection[str], wanted: Collection[str]) -> list[LocalImage]:
    """Select the images that are not among the ids `used`, and whose names are not `wanted`, the largest first."""
    unused = [image for image in images if image.identifier not in used and not _is_wanted(image.names, wanted)]
    return sorted(unused, key=lambda image: -image.size)


def _is_wanted(names: Sequence[str], wanted: Collection[str]) -> bool:
    """Tell if a name is wanted, or may be what a wanted short name stands for."""
    return any(name == each or name.endswith(f"/{each}") for name in names for each in wanted)
