"""The token backend that asks MCIAS. Closed: where MCIAS does not answer, nobody comes in but who just did."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from agent.auth.backends import Identity, token_hash
from agent.tasks import create_guarded_task
from mcp.shared.errors import Unauthenticated, Unavailable
from mcp.shared.mcias import Account

CACHE_SECONDS = 30.0  # how long a verdict counts, from when it was asked for
CACHE_LIMIT = 1000  # verdicts
AT_ONCE = 4  # validations at MCIAS
WAITING_LIMIT = 64  # tokens being validated or waiting for it: more are refused, so that a flood does not queue up
WAIT_SECONDS = 8.0  # the longest that a call waits, also where looking up MCIAS's name hangs


class Validator(Protocol):
    """What the backend needs of MCIAS."""

    @property
    def where(self) -> str:
        """What errors call it."""

    def validate(self, token: str) -> Account | None:
        """Whom a token belongs to, None where it is not valid; blocks, raises Unavailable."""


@dataclass(frozen=True)
class _CachedIdentity:
    """What MCIAS said of a token, `identity` None for one that is not valid; counts until `until` (monotonic)."""

    identity: Identity | None
    until: float


class MciasBackend:
    """Verdicts of MCIAS, each kept for CACHE_SECONDS under the token's SHA-256 and never past the token's own end."""

    def __init__(
        self,
        mcias: Validator,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """The clocks: `monotonic` for the age of verdicts, since it is never set; `now` for the end of tokens."""
        self._mcias = mcias
        self._monotonic = monotonic
        self._now = now
        self._verdicts: OrderedDict[str, _CachedIdentity] = OrderedDict()
        self._under_way: dict[str, asyncio.Task[_CachedIdentity | Unavailable]] = {}
        self._threads = ThreadPoolExecutor(AT_ONCE, "mcias")

    async def identify(self, token: str) -> Identity:
        """The account of a token; raises Unauthenticated, or Unavailable where MCIAS does not say."""
        digest = token_hash(token)
        verdict = self._cached(digest) or await self._asked(digest, token)
        if verdict.identity is None:
            raise Unauthenticated("MCIAS says that the token is not valid")
        end = verdict.identity.expires_at
        if end is not None and end <= self._now():
            raise Unauthenticated(f"the token of {verdict.identity.user} expired at {end:%Y-%m-%d %H:%M} UTC")
        return verdict.identity

    def close(self) -> None:
        """Begin no more validations; those under way end by their own deadline."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _cached(self, digest: str) -> _CachedIdentity | None:
        verdict = self._verdicts.get(digest)
        return verdict if verdict is not None and self._monotonic() < verdict.until else None

    async def _asked(self, digest: str, token: str) -> _CachedIdentity:
        """MCIAS's verdict; however many calls wait for it, MCIAS is asked once."""
        task = self._under_way.get(digest)
        if task is None:
            if len(self._under_way) >= WAITING_LIMIT:
                raise Unavailable("too many tokens are being validated at once", "try again")
            task = create_guarded_task(self._ask(digest, token), "token validation")
            self._under_way[digest] = task
            task.add_done_callback(lambda _task: self._under_way.pop(digest))
        # wait() leaves the task alone when the call that waits is cancelled: others wait for it, too
        await asyncio.wait({task}, timeout=WAIT_SECONDS)
        outcome = task.result() if task.done() else Unavailable(f"{self._mcias.where} did not answer", "try again")
        if isinstance(outcome, Unavailable):
            raise outcome
        return outcome

    async def _ask(self, digest: str, token: str) -> _CachedIdentity | Unavailable:
        """A failure is returned, not raised (all who waited may be gone), and never kept as a verdict."""
        until = self._monotonic() + CACHE_SECONDS
        loop = asyncio.get_running_loop()
        try:
            account = await loop.run_in_executor(self._threads, self._mcias.validate, token)
        except Unavailable as error:
            return Unavailable(f"who calls cannot be verified: {error.what}", error.hint)
        identity = None
        if account is not None:
            identity = Identity(account.username, account.account_type, account.roles, account.expires_at)
        return self._keep(digest, _CachedIdentity(identity, until))

    def _keep(self, digest: str, verdict: _CachedIdentity) -> _CachedIdentity:
        self._verdicts[digest] = verdict
        self._verdicts.move_to_end(digest)
        while len(self._verdicts) > CACHE_LIMIT:
            self._verdicts.popitem(last=False)
        return verdict
