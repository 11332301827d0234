"""Wrong tokens are slowed down, right ones are not."""

import asyncio

import pytest

from agent.auth import guesses
from agent.auth.backends import Identity
from agent.auth.guesses import Guesses
from mcp.shared.errors import Unauthenticated
from mcp.shared.states import AccountType

HERE, ELSEWHERE = "ipv4:192.0.2.7:{}", "ipv4:192.0.2.8:{}"


class Backend:
    """A backend that knows one token, and hands out another one."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def identify(self, token: str) -> Identity:
        self.asked.append(token)
        if token in ("right", "new"):
            return Identity("ann", AccountType.HUMAN, ())
        raise Unauthenticated("invalid token")

    async def verify(self, token: str) -> Identity:
        return await self.identify(token)

    async def knows(self, token: str) -> bool:
        return token == "right"

    def close(self) -> None:
        pass


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def guess(gate: Guesses, peer: str, count: int) -> list[str]:
    """Send wrong tokens at once; return the distinct answers."""
    answers = await asyncio.gather(
        *(gate.identify(f"wrong-{number}", peer.format(number)) for number in range(count)), return_exceptions=True
    )
    return list(dict.fromkeys(map(str, answers)))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend() -> Backend:
    return Backend()


TOO_MANY = "too many wrong tokens came from your address; try again in a minute"


def test_after_ten_wrong_tokens_an_address_waits(backend: Backend, clock: Clock) -> None:
    async def flood() -> None:
        gate = Guesses(backend, clock)
        assert await guess(gate, HERE, guesses.FREE) == ["invalid token"]
        assert await guess(gate, HERE, 500) == ["invalid token", TOO_MANY]
        assert len(backend.asked) == guesses.FREE + guesses.WAITING

    asyncio.run(flood())


def test_right_tokens_of_the_same_address_pass_meanwhile(backend: Backend, clock: Clock) -> None:
    async def both() -> None:
        gate = Guesses(backend, clock)
        await guess(gate, HERE, guesses.FREE)
        flood = asyncio.gather(*(gate.identify("wrong", HERE) for _ in range(100)), return_exceptions=True)
        await asyncio.sleep(0)
        assert (await gate.identify("right", HERE)).user == "ann"
        assert (await gate.identify("new", ELSEWHERE)).user == "ann"
        assert not flood.done()
        await flood
        assert (await gate.identify("new", HERE)).user == "ann"  # after its wait

    asyncio.run(both())


def test_after_a_minute_it_starts_anew(backend: Backend, clock: Clock) -> None:
    async def later() -> None:
        gate = Guesses(backend, clock)
        await guess(gate, HERE, guesses.FREE)
        clock.now = guesses.FORGET_SECONDS + 1
        assert await guess(gate, HERE, guesses.FREE) == ["invalid token"]

    asyncio.run(later())


def test_addresses_are_forgotten_before_they_fill_the_memory(
    backend: Backend, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guesses, "ADDRESSES", 5)

    async def crowd() -> None:
        gate = Guesses(backend, clock)
        for number in range(50):
            await guess(gate, f"ipv4:192.0.2.{number}:{{}}", 1)
        assert len(gate._addresses) == 5

    asyncio.run(crowd())
