"""A registry that can no longer be written, from any moment of an operation on."""

import asyncio
import shutil
from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest

from agent.store.registry import ComponentRow
from mcp.shared.errors import McpError
from mcp.shared.spec import ServiceSpec
from mcp.shared.states import DesiredState
from tests.unit.memory_podman import World
from tests.unit.test_transaction import API, BROKEN, VERBS, WORK, Life, Node, Work, prepared

WRONG = ServiceSpec("web", components=(replace(API, image=BROKEN), replace(WORK, image=BROKEN)))


async def restart_lost(node: Node) -> None:
    """Restart containers of which podman has lost the processes, which are replaced."""
    found = node.world.containers
    node.world.containers = {name: replace(each, orphaned=True) for name, each in found.items()}
    await node.lifecycle("restart", "web")


OPERATIONS: dict[str, Work] = {
    **VERBS,
    "deploy what fails": lambda node: node.deploy(WRONG),
    "restart what is lost": restart_lost,
}
GOES_DOWN = ("stop", "undeploy", "undeploy a component", "prune")  # also the one that prune keeps is replaced


class Filling(Life):
    """A life in which the disk is full from one of the registry's write transactions on, until `clear`."""

    def __init__(self, end: int | None = None) -> None:
        super().__init__()
        self.writes = 0
        self._full_from = end

    def clear(self) -> None:
        """Make room."""
        self._full_from = None

    def lost(self) -> str:
        """Why the registry cannot be written, which each of its write transactions asks."""
        self.writes += 1
        return "the disk is full" if self._full_from is not None and self.writes > self._full_from else ""


def start(world: World, folder: Path, life: Filling) -> Node:
    """An agent whose registry is on that disk."""
    node = Node.start(world, folder, life)
    node.registry._registry._database.lost = life.lost  # type: ignore[method-assign]
    return node


async def try_again(node: Node) -> None:
    """Do what the agent does after a while with what an operation has left."""
    await node.interrupted.finish_all(await node.interrupted.unfinished())


@pytest.mark.parametrize("verb", OPERATIONS)
def test_a_disk_that_fills_at_any_moment(verb: str, tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    before = prepared(tmp_path / "before")
    whole = Filling()
    shutil.copytree(tmp_path / "before", tmp_path / "whole")
    asyncio.run(check(deepcopy(before), tmp_path / "whole", whole, verb))
    assert whole.writes > 5
    for number in range(whole.writes):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "before", folder)
        asyncio.run(check(deepcopy(before), folder, Filling(number), verb))


async def check(world: World, folder: Path, life: Filling, verb: str) -> None:
    """Carry out an operation: nothing is down that ran, it stays so, and registry and podman agree in the end."""
    node = start(world, folder, life)
    try:
        with suppress(McpError):  # it could not begin
            await OPERATIONS[verb](node)
        if verb not in GOES_DOWN:
            assert running(world) == {"web-api", "web-work"}
            await agree(node)
            begun = await node.interrupted.pending()
            assert [name for name in map(container_of, begun) if world.containers[name].orphaned] == []
        ended = {name: replace(each, state="exited") for name, each in world.containers.items()}
        was, world.containers = world.containers, dict(ended)
        for _ in range(2):
            await try_again(node)
        assert world.containers == ended, "what has ended by itself since is started again"
        world.containers = was
        life.clear()
        await try_again(node)
        assert await node.interrupted.unfinished() == []
        assert await node.registry.call(node.registry.operations.transactions) == []
        rows = await agree(node)
        assert running(world) == {row.container for row in rows if row.desired_state == DesiredState.RUNNING}
    finally:
        node.registry.close()


async def agree(node: Node) -> Sequence[ComponentRow]:
    """Check that the registry has the containers that there are, and return its rows."""
    rows = await node.registry.call(node.registry.components.select)
    images = {name: each.image for name, each in node.world.containers.items()}
    assert {row.container: row.spec.image for row in rows} == images
    return rows


def container_of(key: tuple[str, str]) -> str:
    """The name of a component's container."""
    return "-".join(key)


def running(world: World) -> set[str]:
    """The names of the containers that run."""
    return {name for name, each in world.containers.items() if each.running}
