"""When what a failed change has left is tried again."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.services import interrupted
from agent.store.registry import RegistryError
from mcp.shared.errors import NotReady
from tests.unit.test_transaction import BEFORE, Life, Node, world

Start = Callable[[str], None]


class Trouble:
    """What fails, how often: each count goes down with the failures; and the waits between attempts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, node: Node) -> None:
        self.starts = self.reads = 0
        self.waits: list[float] = []
        self.others: list[int] = []  # numbers of the waits in which another operation ends
        start, unfinished = node.executor.podman.start, node.registry.operations.unfinished

        async def fail_start(name: str) -> None:
            self.starts -= 1
            if self.starts >= 0:
                raise NotReady("podman is told to fail")
            await start(name)

        def fail_read() -> object:
            self.reads -= 1
            if self.reads >= 0:
                raise RegistryError("the registry is told to fail")
            return unfinished()

        async def wait(_event: asyncio.Event, seconds: float) -> bool:
            await asyncio.sleep(0)
            self.waits.append(seconds)
            return len(self.waits) in self.others

        monkeypatch.setattr(node.executor.podman, "start", fail_start)
        monkeypatch.setattr(node.registry.operations, "unfinished", fail_read)
        monkeypatch.setattr(interrupted, "_is_set_within", wait)


async def restart_until_it_is_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, starts: int, reads: int = 0, others: tuple[int, ...] = ()
) -> list[float]:
    """Let so many starts and reads of the registry fail after a restart; return the waits until all runs again."""
    node = Node.start(world(), folder, Life())
    try:
        await node.deploy(BEFORE)
        trouble = Trouble(monkeypatch, node)
        trouble.starts, trouble.others = starts, list(others)
        await node.lifecycle("restart", "web", "api")
        trouble.reads = reads
        watch = asyncio.ensure_future(node.interrupted.watch(60.0))
        async with asyncio.timeout(60):
            while await node.interrupted.pending() or node.operations.is_held("web"):
                await asyncio.sleep(0.01)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        assert node.world.containers["web-api"].running
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return trouble.waits
    finally:
        node.registry.close()


def test_attempts_are_made_at_growing_intervals_up_to_the_monitors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = asyncio.run(restart_until_it_is_done(tmp_path, monkeypatch, starts=8))
    assert waits == [1, 2, 5, 10, 30, 60, 60, 60]


def test_they_begin_anew_after_another_operation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = asyncio.run(restart_until_it_is_done(tmp_path, monkeypatch, starts=5, others=(3,)))
    assert waits == [1, 2, 5, 1, 2, 5]


def test_they_go_on_after_a_failed_read_of_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = asyncio.run(restart_until_it_is_done(tmp_path, monkeypatch, starts=1, reads=1))
    assert waits == [1, 2]
