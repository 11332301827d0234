"""Watch for pauses of the event loop, in which the agent answers nobody."""

import asyncio
import time

from agent.log import fields, logger

INTERVAL = 0.1  # seconds between two looks
LOGGED = 1.0  # seconds; a longer pause is logged


class PauseWatch:
    """Measures how late the event loop runs what is due."""

    def __init__(self) -> None:
        """Begin without a pause."""
        self.longest = 0.0  # seconds, since the start of the agent

    async def run(self) -> None:
        """Watch until cancelled."""
        due = time.monotonic() + INTERVAL
        while True:
            await asyncio.sleep(due - time.monotonic())
            late = time.monotonic() - due
            self.longest = max(self.longest, late)
            if late > LOGGED:
                logger.warning("the event loop paused", extra=fields(seconds=round(late, 1)))
            due = time.monotonic() + INTERVAL
