"""The log of refused calls: of each address the first at once, then their number once a minute."""

import asyncio
from dataclasses import dataclass

from agent.auth.peers import OTHERS, address_and_port, network_of
from agent.log import fields, logger

SECONDS = 60.0  # between two lines about an address
ADDRESSES = 1000  # counted one by one; the others together


@dataclass
class _Refused:
    """Refused calls of an address since the last line about it, and what the latest one was."""

    count: int
    values: dict[str, object]


class Refusals:
    """Counts refused calls, so that a flood of them does not fill the journal."""

    def __init__(self, seconds: float = SECONDS) -> None:
        """Log what is counted every `seconds`, as long as there is something."""
        self._seconds = seconds
        self._refused: dict[str, _Refused] = {}
        self._timer: asyncio.TimerHandle | None = None

    def note(self, peer: str, values: dict[str, object]) -> None:
        """Note a refused call of a peer, in gRPC's form; `values` are the fields of its line."""
        address = network_of(address_and_port(peer)[0])
        if address not in self._refused and len(self._refused) >= ADDRESSES:
            address = OTHERS
        refused = self._refused.get(address)
        if refused is None:
            self._refused[address] = _Refused(0, values)
            logger.warning("refused", extra=fields(**values))
        else:
            refused.count, refused.values = refused.count + 1, values
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._report)

    def _report(self) -> None:
        self._timer = None
        again = {address: refused for address, refused in self._refused.items() if refused.count}
        self._refused.clear()
        for address, refused in again.items():
            logger.warning("refused again", extra=fields(address=address, count=refused.count, last=refused.values))
            self._refused[address] = _Refused(0, {})
        if again:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._report)
