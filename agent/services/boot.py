"""Bring the node up when the agent starts: finish what the last agent was killed in, then start what should run."""

import asyncio

from agent.services.interrupted import InterruptedOperations
from agent.services.recover import Recovery

FINISH_RETRIES = (1.0, 10.0, 60.0, 300.0)  # seconds


async def boot(interrupted: InterruptedOperations, recovery: Recovery) -> None:
    """Bring the node up; what cannot be finished at first is tried again after what should run was started."""
    left = await interrupted.finish_all(await interrupted.unfinished())
    await recovery.boot()
    for delay in FINISH_RETRIES:  # podman may have come late, or have been in the way only for a moment
        if not left:
            return
        await asyncio.sleep(delay)
        left = await interrupted.finish_all(left)
