"""The time that a node gets."""

from typing import NamedTuple


class Patience(NamedTuple):
    """Seconds to wait for a connection to a node, and for its response to a query."""

    connect: float = 10.0  # until the TLS handshake is done
    query: float = 20.0  # the agent's timeout for podman is 15


DEFAULT = Patience()
