"""Runs on a node, for test_journald: print a container's log from the journal, each stream to its own.

Arguments: its id, how many seconds to follow it, and after how many lines from its end to begin (all without it).
"""

import asyncio
import sys

from agent.logs.journald.reader import JournaldReader
from agent.logs.model import LogSource, Reading, Window
from mcp.shared.errors import McpError


async def main(identifier: str, follow: float, tail: int | None) -> None:
    """Print the log."""
    end = asyncio.Event()
    asyncio.get_running_loop().call_later(follow, end.set)
    reading = Reading(Window(tail=tail), follow=end if follow else None)
    async for batch in JournaldReader().read(LogSource("a", "b", "c", identifier, "journald"), reading):
        place = 0
        for length, is_stderr in batch.runs:
            stream = (sys.stderr if is_stderr else sys.stdout).buffer
            stream.write(batch.data[place : place + length])
            stream.flush()
            place += length


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None))
    except McpError as error:
        sys.exit(f"mcp: {error}")
