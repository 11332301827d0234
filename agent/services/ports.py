"""Host ports for routes: free on this host, unique in the registry (which reserves them), bound on 127.0.0.1 only."""

import random
import socket
from collections.abc import Iterator
from contextlib import closing

FIRST, LAST = 10000, 60000
ATTEMPTS = 2000


def candidates() -> Iterator[int]:
    """Ports that are free on the host just now, in random order, so that a port given back is not soon reused."""
    for port in random.sample(range(FIRST, LAST + 1), ATTEMPTS):
        if is_free(port):
            yield port


def is_free(port: int) -> bool:
    """Whether nobody listens on `port`, on loopback or on all addresses."""
    for address in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 - bound for a moment, to see whether it is free
        with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True
