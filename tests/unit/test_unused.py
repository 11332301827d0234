"""Images and volumes that nothing refers to, and those that a rollback needs."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from agent.podman.output import Container, LocalImage, parse_local_images
from agent.services.unused import select_unused, unused_images, unused_volumes
from agent.store.deploys import KEPT_DEFINITIONS
from agent.store.registry import AsyncRegistry, Registry
from mcp.shared.spec import ComponentSpec, ServiceSpec
from mcp.shared.states import DeployResult, DesiredState
from tests.unit.memory_podman import MemoryPodman, World


def image(name: str, size: int = 1) -> LocalImage:
    return LocalImage(f"id-of-{name}", (name,) if name else (), size, frozenset({name} - {""}))


def test_what_is_used_and_what_is_wanted_stays() -> None:
    images = [image("a:1"), image("b:1", 5), image("x/c:1"), image(""), image("d:1", 9)]
    assert select_unused(images, {"id-of-a:1"}, {"c:1"}) == [image("d:1", 9), image("b:1", 5), image("")]


@pytest.mark.parametrize(("name", "kept"), [("reg.example.net/web:1", True), ("reg.example.net/newweb:1", False)])
def test_a_short_name_keeps_what_it_may_stand_for(name: str, kept: bool) -> None:
    assert (select_unused([image(name)], set(), {"web:1"}) == []) is kept


def test_a_digest_and_the_other_name_of_docker_hub_are_understood() -> None:
    digest = f"sha256:{'ab' * 32}"
    row = {"Id": "id", "Names": ["docker.io/library/web:2"], "RepoDigests": [f"docker.io/library/web@{digest}"]}
    images = parse_local_images(json.dumps([row]).encode())
    for wanted in (f"localhost/web@{digest}", f"localhost/web:9@{digest}", "docker.io/web:2", "index.docker.io/web:2"):
        assert select_unused(images, set(), {wanted}) == []
    assert select_unused(images, set(), {"docker.io/web:3", f"web@sha256:{'cd' * 32}"}) == images


class Images(MemoryPodman):
    async def local_images(self) -> list[LocalImage]:
        return [image(name) for name in sorted(self._world.local)]


def test_those_of_recent_deploys_stay(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "mcp.db")
    web = ServiceSpec("web", True, (ComponentSpec("web", "web:0"),))

    def deployed(image: str, result: DeployResult) -> None:
        changed = replace(web, components=(ComponentSpec("web", image),))
        registry.deploys.end(registry.deploys.begin(changed, "", "kyle"), result, "", {})

    for number in range(6):
        deployed(f"web:{number}", DeployResult.DONE)
    deployed("web:5", DeployResult.DONE)  # the same again is no other definition
    deployed("web:failed", DeployResult.FAILED)
    registry.components.put("db", 0, ComponentSpec("db", "db:1"), DesiredState.STOPPED)
    world = World(local={*(f"web:{number}" for number in range(6)), "web:failed", "db:1", "by-hand:1", "base:1"})
    world.containers["hand"] = Container("1", "hand", "by-hand:1", "exited", 0, None, image_id="id-of-by-hand:1")
    shared = AsyncRegistry(registry)
    found = asyncio.run(unused_images(Images(world), shared))
    assert KEPT_DEFINITIONS == 3
    assert [each.names[0] for each in found] == ["base:1", "web:0", "web:1", "web:2", "web:failed"]
    shared.close()


def test_volumes_that_a_deploy_would_mount_again_stay(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "mcp.db")
    used, recorded, deployed, recent, lost = (f"{number:064x}" for number in range(5))
    definition = ServiceSpec("web", True, (ComponentSpec("web", "web:1", volumes=(f"{recent}:/data",)),))
    registry.deploys.end(registry.deploys.begin(definition, "", "kyle"), DeployResult.DONE, "", {})
    registry.components.put("db", 0, ComponentSpec("db", "db:1", volumes=(f"{deployed}:/data",)), DesiredState.STOPPED)
    registry.volumes.put("gone", "gone", {"/data": recorded})
    world = World(volumes={used, recorded, deployed, recent, lost, "named"}, mounts={"1": {"/data": used}})
    shared = AsyncRegistry(registry)
    assert asyncio.run(unused_volumes(MemoryPodman(world), shared)) == [lost]
    shared.close()


def test_what_podman_lists() -> None:
    listed = b'[{"Id": "a", "Names": ["x:1", "y:1"], "Size": 7}, {"Id": "b", "Size": 3}]'
    assert parse_local_images(listed) == [
        LocalImage("a", ("x:1", "y:1"), 7, frozenset({"x:1", "y:1"})),
        LocalImage("b", (), 3),
    ]
