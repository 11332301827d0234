"""What the agent's endless tasks have in common."""

import asyncio


def wanted() -> bool:
    """Whether the task that asks has not been cancelled.

    A loop that outlives its errors has to ask: where a child of `asyncio.gather` fails in the very moment of the
    cancellation, the child's error is all that arrives (CPython 3.11 to 3.14), and the loop would go on for good.
    """
    task = asyncio.current_task()
    return task is None or not task.cancelling()
