"""Bring the node up at agent start: finish interrupted operations, complete the registry, start stopped services."""

from agent.services.interrupted import InterruptedOperations
from agent.services.recover import Recovery
from agent.services.restored import RestoredRegistry


async def boot(interrupted: InterruptedOperations, restored: RestoredRegistry, recovery: Recovery) -> None:
    """Bring the node up; operations that cannot be finished now are tried again later (InterruptedOperations.watch)."""
    await interrupted.finish_all(await interrupted.unfinished())
    await restored.complete()
    await recovery.boot()
    await recovery.record_volumes()
