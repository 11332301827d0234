"""Waiting in tests: until what they look for is there, and never for time to pass."""

import time
from collections.abc import Callable
from typing import TypeVar

SHORTEST, LONGEST = 0.01, 0.1  # seconds between two looks; they grow, as many a look starts a process

T = TypeVar("T")


def wait_for(condition: Callable[[], T], seconds: float = 60.0, what: str | Callable[[], str] = "the condition") -> T:
    """Poll until the condition holds, and return what it gave; fails after that many seconds, and says `what`."""
    end, pause = time.monotonic() + seconds, SHORTEST
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{what if isinstance(what, str) else what()} did not hold within {seconds:g} s")
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST)
    return found
