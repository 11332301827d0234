"""Bring the node up at agent start: finish interrupted operations, complete the registry, start stopped services."""

import asyncio

from agent.services.interrupted import InterruptedOperations
from agent.services.recover import Recovery
from agent.services.restored import RestoredRegistry

FINISH_RETRIES = (1.0, 10.0, 60.0, 300.0)  # seconds


async def boot(interrupted: InterruptedOperations, restored: RestoredRegistry, recovery: Recovery) -> None:
    """Bring the node up; retry operations that cannot be finished at first after starting services."""
    left = await interrupted.finish_all(await interrupted.unfinished())
    await restored.complete()
    await recovery.boot()
    await recovery.record_volumes()
    for delay in FINISH_RETRIES:  # podman may start late or fail temporarily
        if not left:
            return
        await asyncio.sleep(delay)
        left = await interrupted.finish_all(left)
