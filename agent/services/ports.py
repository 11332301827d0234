"""Select host ports for routes. The registry reserves them; they are published on 127.0.0.1 only."""

import random
import socket
from collections.abc import Iterator
from contextlib import closing

FIRST, LAST = 10000, 60000
ATTEMPTS = 2000


def candidates() -> Iterator[int]:
    """Yield ports that are currently free, in random order to delay the reuse of released ports."""
    for port in random.sample(range(FIRST, LAST + 1), ATTEMPTS):
        if is_free(port):
            yield port


def is_free(port: int) -> bool:
    """Return True if nothing listens on `port` on loopback or on all addresses."""
    for address in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 - bound for a moment, to test that it is free
        with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True
