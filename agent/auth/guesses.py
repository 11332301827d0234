"""Slow down clients that send wrong tokens, and let right ones through meanwhile."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.auth.backends import Identity, TokenBackend
from agent.auth.peers import address_and_port, network_of
from mcp.shared.errors import Unauthenticated

FREE = 10  # wrong tokens of an address before it is slowed down
FORGET_SECONDS = 60.0  # after its last wrong token an address starts anew
DELAY = 0.1  # seconds between two further tokens of an address
WAITING = 4  # tokens of an address that wait; more are refused at once, unseen
ADDRESSES = 10_000  # remembered


@dataclass(eq=False)
class _Address:
    """The record of an address: its wrong tokens, the time of the last one (monotonic), and how many wait."""

    wrong: int = 0
    last: float = 0.0
    waiting: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Guesses:
    """Identifies callers, and counts the wrong tokens of each address."""

    def __init__(
        self,
        backend: TokenBackend,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask `backend` about tokens."""
        self._backend = backend
        self._monotonic = monotonic
        self._addresses: OrderedDict[str, _Address] = OrderedDict()

    async def identify(self, token: str, peer: str) -> Identity:
        """Return the account of a token that came from a peer, in gRPC's form; raises as TokenBackend.identify.

        From an address that has sent more than FREE wrong tokens, one that the backend does not know at once waits
        for its turn.
        """
        key = network_of(address_and_port(peer)[0])
        address = self._known(key)
        if address is None or address.wrong < FREE or await self._backend.knows(token):
            return await self._asked(token, key)
        if address.waiting >= WAITING:
            raise Unauthenticated("too many wrong tokens came from your address", "try again in a minute")
        address.waiting += 1
        try:
            async with address.turn:
                await asyncio.sleep(DELAY)
                return await self._asked(token, key)
        finally:
            address.waiting -= 1

    def _known(self, key: str) -> _Address | None:
        address = self._addresses.get(key)
        if address is not None and not address.waiting and self._monotonic() - address.last > FORGET_SECONDS:
            del self._addresses[key]
            return None
        return address

    async def _asked(self, token: str, key: str) -> Identity:
        try:
            return await self._backend.identify(token)
        except Unauthenticated:
            address = self._addresses.setdefault(key, _Address())
            self._addresses.move_to_end(key)
            address.wrong, address.last = address.wrong + 1, self._monotonic()
            while len(self._addresses) > ADDRESSES:
                self._addresses.popitem(last=False)
            raise
