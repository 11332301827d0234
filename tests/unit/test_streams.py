"""Streams that end early: with the agent, and with their token."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest

from agent.auth.backends import Identity
from agent.rpc.streams import CHECKS_AT_ONCE, Followers, OpenStream, TokenWatch
from mcp.shared.errors import Forbidden, McpError, Unauthenticated, Unavailable
from mcp.shared.roles import Role
from mcp.shared.states import AccountType


async def endless(first: int = 2) -> AsyncGenerator[int]:
    """Yield a few items, then wait."""
    for number in range(first):
        yield number
    await asyncio.Event().wait()


async def read(stream: AsyncGenerator[int], seen: list[int]) -> None:
    async with aclosing(stream):
        async for item in stream:
            seen.append(item)


class Tokens:
    """A backend: the tokens that are no longer valid, and how often it was asked."""

    def __init__(self) -> None:
        self.revoked: set[str] = set()
        self.asked: list[str] = []
        self.roles: tuple[str, ...] = ()
        self.is_down = False

    async def verify(self, token: str) -> Identity:
        self.asked.append(token)
        if self.is_down:
            raise Unavailable("MCIAS does not answer")
        if token in self.revoked:
            raise Unauthenticated("invalid token")
        return Identity("ann", AccountType.HUMAN, self.roles)


def test_a_revoked_token_ends_its_own_streams_only() -> None:
    async def main() -> None:
        tokens = Tokens()
        watch, seen = TokenWatch(tokens.verify, 0.01), list[int]()
        streams = [OpenStream("mine"), OpenStream("mine"), OpenStream("yours")]
        for stream in streams:
            watch.add(stream)
        tasks = [asyncio.create_task(read(stream.items(endless()), seen)) for stream in streams]
        while tokens.asked.count("yours") < 3:
            await asyncio.sleep(0.01)
        assert not any(task.done() for task in tasks)
        assert tokens.asked.count("mine") <= tokens.asked.count("yours")  # once for both streams
        tokens.revoked.add("mine")
        for task in tasks[:2]:
            with pytest.raises(Unauthenticated, match="invalid token"):
                await task
        assert not tasks[2].done()
        tasks[2].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[2]
        for stream in streams:
            watch.remove(stream)

    asyncio.run(main())


def test_a_backend_that_does_not_answer_ends_no_stream() -> None:
    async def main() -> None:
        tokens, stream, seen = Tokens(), OpenStream("mine"), list[int]()
        tokens.is_down = True
        watch = TokenWatch(tokens.verify, 0.01)
        watch.add(stream)
        task = asyncio.create_task(read(stream.items(endless()), seen))
        while len(tokens.asked) < 3:
            await asyncio.sleep(0.01)
        assert not task.done()
        tokens.is_down, tokens.revoked = False, {"mine"}
        with pytest.raises(Unauthenticated):
            await task
        watch.remove(stream)
        asked = len(tokens.asked)
        await asyncio.sleep(0.05)
        assert len(tokens.asked) == asked  # nobody is left to ask for

    asyncio.run(main())


def test_a_token_ends_its_streams_when_it_expires_also_if_nobody_can_verify_it() -> None:
    async def main() -> None:
        tokens, end, seen = Tokens(), datetime.now(UTC), list[int]()
        tokens.is_down = True
        expired, valid = OpenStream("mine", end), OpenStream("yours", end + timedelta(seconds=1))
        watch = TokenWatch(tokens.verify, 0.01, lambda: end)
        for stream in (expired, valid):
            watch.add(stream)
        kept = asyncio.create_task(read(valid.items(endless()), seen))
        with pytest.raises(Unauthenticated, match="the token has expired"):
            await read(expired.items(endless()), seen)
        assert not kept.done()
        kept.cancel()
        with pytest.raises(asyncio.CancelledError):
            await kept
        for stream in (expired, valid):
            watch.remove(stream)

    asyncio.run(main())


def test_a_stream_ends_when_its_account_may_not_have_it_any_more() -> None:
    async def main() -> None:
        tokens, seen = Tokens(), list[int]()

        def permit(identity: Identity) -> None:
            if identity.permission.role is Role.READER:
                raise Forbidden("ann may only read")

        stream, other = OpenStream("mine", permit=permit), OpenStream("mine")
        watch = TokenWatch(tokens.verify, 0.01)
        for each in (stream, other):
            watch.add(each)
        tasks = [asyncio.create_task(read(each.items(endless()), seen)) for each in (stream, other)]
        while len(tokens.asked) < 3:
            await asyncio.sleep(0.01)
        assert not any(task.done() for task in tasks)
        tokens.roles = ("reader",)
        with pytest.raises(Forbidden, match="ann may only read"):
            await tasks[0]
        assert not tasks[1].done()  # it only reads
        tasks[1].cancel()
        for each in (stream, other):
            watch.remove(each)

    asyncio.run(main())


def test_tokens_are_verified_a_few_at_a_time() -> None:
    """A backend has a limit of its own; a token that it refused for that would never be verified."""

    async def main() -> None:
        running, most, seen = 0, 0, set[str]()

        async def verify(token: str) -> Identity:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            seen.add(token)
            return Identity("ann", AccountType.HUMAN, ())

        watch, streams = TokenWatch(verify, 0.01), [OpenStream(str(number)) for number in range(200)]
        for stream in streams:
            watch.add(stream)
        while len(seen) < 200:
            await asyncio.sleep(0.01)
        assert most <= CHECKS_AT_ONCE
        for stream in streams:
            watch.remove(stream)

    asyncio.run(main())


def test_a_stream_that_is_not_waiting_ends_after_its_item() -> None:
    async def main() -> None:
        stream = OpenStream("mine")
        items = stream.items(endless())
        assert await anext(items) == 0
        stream.end(Unauthenticated("invalid token"))
        with pytest.raises(Unauthenticated):
            await anext(items)

    asyncio.run(main())


@pytest.mark.parametrize("before", [True, False])
def test_followers_end_with_the_agent(before: bool) -> None:
    async def main() -> None:
        stopping, seen = asyncio.Event(), list[int]()
        if before:
            stopping.set()
        task = asyncio.create_task(read(Followers(stopping).until_stopping(endless()), seen))
        while not (seen or before):
            await asyncio.sleep(0.01)
        stopping.set()
        with pytest.raises(McpError, match="the agent is stopping; run the command again"):
            await task

    asyncio.run(main())
