"""How long MCIAS's verdicts count, that it is asked once, and that its silence lets nobody in."""

import asyncio
import gc
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from agent.auth import mcias as backends
from agent.auth.backends import Identity, token_hash
from agent.auth.mcias import MciasBackend
from mcp.shared.errors import Unauthenticated, Unavailable
from mcp.shared.mcias import Account
from mcp.shared.states import AccountType
from tests.platform.backends import Clock


@dataclass
class Answering:
    """MCIAS, whose answers the test decides on; counts what it is asked, and how much of it at once."""

    clock: Clock
    answer: Callable[[str], Account | None] | None = None
    asked: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    where: str = "MCIAS at test:1"

    def __post_init__(self) -> None:
        """It answers at once unless the test says otherwise."""
        self.gate.set()
        self._lock = threading.Lock()

    def validate(self, token: str) -> Account | None:
        """Note the question, wait for the test to let it pass, answer."""
        with self._lock:
            self.asked.append(token)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        self.gate.wait(60)
        with self._lock:
            self.at_once -= 1
        return self.answer(token) if self.answer else self.account(token)

    def account(self, token: str) -> Account:
        """A token's owner bears its name."""
        return Account(token, AccountType.HUMAN, (), self.clock.now() + timedelta(hours=1))


@pytest.fixture
def mcias() -> Answering:
    """MCIAS, knowing everybody."""
    return Answering(Clock())


@pytest.fixture
def backend(mcias: Answering) -> MciasBackend:
    """The backend in front of it."""
    return MciasBackend(mcias, monotonic=mcias.clock.monotonic, now=mcias.clock.now)


def identify(backend: MciasBackend, token: str = "ann") -> Identity:
    """One call."""
    return asyncio.run(backend.identify(token))


def test_a_good_verdict_counts_for_30_seconds(mcias: Answering, backend: MciasBackend) -> None:
    identify(backend)
    mcias.clock.forward(29.9)
    assert identify(backend).user == "ann"
    assert mcias.asked == ["ann"]
    mcias.clock.forward(0.1)
    assert identify(backend).user == "ann"
    assert mcias.asked == ["ann", "ann"]


def test_a_bad_verdict_counts_for_30_seconds(mcias: Answering, backend: MciasBackend) -> None:
    mcias.answer = lambda _token: None
    for seconds, asked in ((0, 1), (29.9, 1), (0.1, 2)):
        mcias.clock.forward(seconds)
        with pytest.raises(Unauthenticated, match=r"^invalid token: rejected by MCIAS$"):
            identify(backend)
        assert len(mcias.asked) == asked


def test_the_time_counts_from_the_question(mcias: Answering, backend: MciasBackend) -> None:
    """An answer that took long is not newer for it."""

    def slowly(token: str) -> Account:
        mcias.clock.forward(20)
        return mcias.account(token)

    mcias.answer = slowly
    identify(backend)
    mcias.clock.forward(9.9)
    identify(backend)
    assert len(mcias.asked) == 1
    mcias.clock.forward(0.1)
    identify(backend)
    assert len(mcias.asked) == 2


def test_never_past_the_tokens_end(mcias: Answering, backend: MciasBackend) -> None:
    end = mcias.clock.now() + timedelta(seconds=5)
    mcias.answer = lambda token: Account(token, AccountType.HUMAN, (), end)
    identify(backend)
    mcias.clock.forward(5)
    with pytest.raises(Unauthenticated, match="the token of ann expired at"):
        identify(backend)


def test_an_end_that_mcias_overlooked(mcias: Answering, backend: MciasBackend) -> None:
    mcias.answer = lambda token: Account(token, AccountType.HUMAN, (), mcias.clock.now())
    with pytest.raises(Unauthenticated, match="the token of ann expired at"):
        identify(backend)


def test_a_failure_is_no_verdict(mcias: Answering, backend: MciasBackend) -> None:
    def fail(_token: str) -> None:
        raise Unavailable("MCIAS at test:1 refuses the connection")

    mcias.answer = fail
    for asked in (1, 2):
        with pytest.raises(Unavailable, match=r"^cannot verify the token: MCIAS at test:1 refuses the connection$"):
            identify(backend)
        assert len(mcias.asked) == asked
    mcias.answer = None
    assert identify(backend).user == "ann"
    mcias.answer = fail
    assert identify(backend).user == "ann"  # who was let in a moment ago
    mcias.clock.forward(30)
    with pytest.raises(Unavailable):
        identify(backend)


def test_no_more_than_so_many_verdicts_the_oldest_go(
    mcias: Answering, backend: MciasBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "CACHE_LIMIT", 3)
    for user in ("a", "b", "c", "a", "d"):
        identify(backend, user)
    assert mcias.asked == ["a", "b", "c", "d"]
    for user in ("b", "c", "d"):
        identify(backend, user)
    assert mcias.asked == ["a", "b", "c", "d"]
    identify(backend, "a")
    assert mcias.asked == ["a", "b", "c", "d", "a"]


def test_a_thousand_verdicts_and_no_token_in_memory(mcias: Answering, backend: MciasBackend) -> None:
    async def flood() -> None:
        for number in range(1200):
            mcias.clock.forward(1 / backends.UNKNOWN_RATE)
            await backend.identify(f"token-{number}")

    mcias.answer = lambda _token: Account("ann", AccountType.HUMAN, (), mcias.clock.now() + timedelta(hours=1))
    asyncio.run(flood())
    assert len(backend._valid) == 1000
    assert token_hash("token-1199") in backend._valid
    assert token_hash("token-0") not in backend._valid
    assert "token-" not in repr((backend._valid, backend._rejected, backend._unknown_lane.in_progress))


def test_mcias_is_asked_once_however_many_wait(mcias: Answering, backend: MciasBackend) -> None:
    async def crowd() -> list[Identity]:
        mcias.gate.clear()
        waiting = [asyncio.create_task(backend.identify("ann")) for _ in range(100)]
        await asyncio.sleep(0.05)
        mcias.gate.set()
        return await asyncio.gather(*waiting)

    assert {identity.user for identity in asyncio.run(crowd())} == {"ann"}
    assert mcias.asked == ["ann"]


def test_one_that_gives_up_does_not_disturb_the_others(mcias: Answering, backend: MciasBackend) -> None:
    async def crowd() -> Identity:
        mcias.gate.clear()
        first = asyncio.create_task(backend.identify("ann"))
        await asyncio.sleep(0.02)
        second = asyncio.create_task(backend.identify("ann"))
        await asyncio.sleep(0.02)
        first.cancel()
        await asyncio.wait({first})
        assert first.cancelled()
        mcias.gate.set()
        return await second

    assert asyncio.run(crowd()).user == "ann"
    assert mcias.asked == ["ann"]


def test_when_all_give_up_nothing_is_left(mcias: Answering, backend: MciasBackend) -> None:
    """And a failure that nobody hears of is no complaint of asyncio's."""
    complaints: list[object] = []

    def fail(_token: str) -> None:
        raise Unavailable("away")

    async def crowd() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        mcias.gate.clear()
        mcias.answer = fail
        waiting = [asyncio.create_task(backend.identify("ann")) for _ in range(3)]
        await asyncio.sleep(0.02)
        for task in waiting:
            task.cancel()
        mcias.gate.set()
        await asyncio.gather(*waiting, return_exceptions=True)
        while backend._unknown_lane.in_progress:
            await asyncio.sleep(0.01)
        gc.collect()

    asyncio.run(crowd())
    assert complaints == []


def test_a_flood_neither_queues_up_nor_hammers_mcias(mcias: Answering, backend: MciasBackend) -> None:
    async def flood() -> list[Identity | BaseException]:
        mcias.gate.clear()
        waiting = [asyncio.create_task(backend.identify(f"token-{number}")) for number in range(200)]
        await asyncio.sleep(0.05)
        mcias.gate.set()
        return await asyncio.gather(*waiting, return_exceptions=True)

    answers = asyncio.run(flood())
    refused = [str(answer) for answer in answers if isinstance(answer, Unavailable)]
    assert set(refused) == {"too many tokens are being validated at once; try again"}
    assert len(answers) - len(refused) == len(mcias.asked) == backends.WAITING_LIMIT
    assert mcias.most_at_once == backends.AT_ONCE


def test_no_call_waits_for_ever(mcias: Answering, backend: MciasBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "WAIT_SECONDS", 0.05)

    async def ask() -> None:
        mcias.gate.clear()
        with pytest.raises(Unavailable, match=r"^MCIAS at test:1 did not answer; try again$"):
            await backend.identify("ann")
        mcias.gate.set()
        assert (await backend.identify("ann")).user == "ann"

    asyncio.run(ask())
    assert mcias.asked == ["ann"]


def test_guesses_push_no_known_user_out(mcias: Answering, backend: MciasBackend) -> None:
    """Their verdicts have just run out; 16 of 23 were refused when all tokens had one queue."""
    users = [f"user-{number}" for number in range(23)]

    async def flood() -> list[Identity]:
        for user in users:
            await backend.identify(user)
        mcias.clock.forward(backends.CACHE_SECONDS)
        mcias.gate.clear()
        guesses = [asyncio.create_task(backend.identify(f"guess-{number}")) for number in range(2000)]
        await asyncio.sleep(0)
        known = [asyncio.create_task(backend.identify(user)) for user in users]
        await asyncio.sleep(0.05)
        mcias.gate.set()
        await asyncio.gather(*guesses, return_exceptions=True)
        return await asyncio.gather(*known)

    mcias.answer = lambda token: mcias.account(token) if token in users else None
    assert [identity.user for identity in asyncio.run(flood())] == users


def test_guesses_reach_mcias_at_a_bounded_rate(mcias: Answering, backend: MciasBackend) -> None:
    async def guess(count: int) -> None:
        for number in range(count):
            with suppress(Unauthenticated, Unavailable):
                await backend.identify(f"guess-{len(mcias.asked)}-{number}")

    mcias.answer = lambda _token: None
    asyncio.run(guess(500))
    assert len(mcias.asked) == backends.WAITING_LIMIT
    mcias.clock.forward(1)
    asyncio.run(guess(500))
    assert len(mcias.asked) == backends.WAITING_LIMIT + backends.UNKNOWN_RATE
