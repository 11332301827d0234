"""Ctrl-C while a program starts and ends, and while it works.

The launcher lets SIGINT end the process at once and silently: an exception in the middle of an import would be a
traceback, or be lost in a callback. A command needs the exception, to undo or explain what it was at.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130  # 128 + SIGINT, as in shells


@contextmanager
def raised() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGINT within the block."""
    with _handled(signal.default_int_handler):
        yield


@contextmanager
def fatal() -> Iterator[None]:
    """End the process at once on SIGINT within the block, which only imports modules."""
    with _handled(_end):
        yield


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(INTERRUPTED)


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Handle SIGINT so in the main thread, unless it is ignored, as for background jobs."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    previous = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
