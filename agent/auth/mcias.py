"""The token backend of MCIAS. It fails closed: if MCIAS is down, only cached identities are accepted."""

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

CACHE_SECONDS = 30.0  # lifetime of a cached result, from the start of its request
CACHE_LIMIT = 1000  # cached results
AT_ONCE = 4  # concurrent validations
WAITING_LIMIT = 64  # tokens in validation or queued for it; more are refused
WAIT_SECONDS = 8.0  # limit for a call, also if the name lookup of MCIAS hangs


class Validator(Protocol):
    """The part of the MCIAS client used here."""

    @property
    def where(self) -> str:
        """The name of the server in errors."""

    def validate(self, token: str) -> Account | None:
        """Return the account of a token, None if invalid; blocks; raises Unavailable."""


@dataclass(frozen=True)
class _CachedIdentity:
    """A cached result of MCIAS until `until` (monotonic); `identity` is None for an invalid token."""

    identity: Identity | None
    until: float


class MciasBackend:
    """Validates tokens with MCIAS; caches results by SHA-256 for CACHE_SECONDS, at most until the token expires."""

    def __init__(
        self,
        mcias: Validator,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Use `monotonic` for the age of cached results, and `now` for the expiry of tokens."""
        self._mcias = mcias
        self._monotonic = monotonic
        self._now = now
        self._cache: OrderedDict[str, _CachedIdentity] = OrderedDict()
        self._in_progress: dict[str, asyncio.Task[_CachedIdentity | Unavailable]] = {}
        self._threads = ThreadPoolExecutor(AT_ONCE, "mcias")

    async def identify(self, token: str) -> Identity:
        """Return the account of a token; raises Unauthenticated, or Unavailable if MCIAS fails."""
        cached = self._cached(token_hash(token))
        return self._identity(cached) if cached is not None else await self.verify(token)

    async def verify(self, token: str) -> Identity:
        """Ask MCIAS for the account of a token; raises Unauthenticated, or Unavailable if MCIAS fails."""
        return self._identity(await self._asked(token_hash(token), token))

    def _identity(self, cached: _CachedIdentity) -> Identity:
        if cached.identity is None:
            raise Unauthenticated("invalid token: rejected by MCIAS")
        end = cached.identity.expires_at
        if end is not None and end <= self._now():
            raise Unauthenticated(f"the token of {cached.identity.user} expired at {end:%Y-%m-%d %H:%M} UTC")
        return cached.identity

    def close(self) -> None:
        """Start no more validations; running ones end at their own timeout."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _cached(self, digest: str) -> _CachedIdentity | None:
        cached = self._cache.get(digest)
        return cached if cached is not None and self._monotonic() < cached.until else None

    async def _asked(self, digest: str, token: str) -> _CachedIdentity:
        """Ask MCIAS, once for all concurrent calls with the same token."""
        task = self._in_progress.get(digest)
        if task is None:
            if len(self._in_progress) >= WAITING_LIMIT:
                raise Unavailable("too many tokens are being validated at once", "try again")
            task = create_guarded_task(self._ask(digest, token), "token validation")
            self._in_progress[digest] = task
            task.add_done_callback(lambda _task: self._in_progress.pop(digest))
        # wait() does not cancel the task with the call: others may wait for it, too
        await asyncio.wait({task}, timeout=WAIT_SECONDS)
        outcome = task.result() if task.done() else Unavailable(f"{self._mcias.where} did not answer", "try again")
        if isinstance(outcome, Unavailable):
            raise outcome
        return outcome

    async def _ask(self, digest: str, token: str) -> _CachedIdentity | Unavailable:
        """Validate a token; return failures instead of raising (the callers may be gone), uncached."""
        until = self._monotonic() + CACHE_SECONDS
        loop = asyncio.get_running_loop()
        try:
            account = await loop.run_in_executor(self._threads, self._mcias.validate, token)
        except Unavailable as error:
            return Unavailable(f"cannot verify the token: {error.what}", error.hint)
        identity = None
        if account is not None:
            identity = Identity(account.username, account.account_type, account.roles, account.expires_at)
        return self._keep(digest, _CachedIdentity(identity, until))

    def _keep(self, digest: str, cached: _CachedIdentity) -> _CachedIdentity:
        self._cache[digest] = cached
        self._cache.move_to_end(digest)
        while len(self._cache) > CACHE_LIMIT:
            self._cache.popitem(last=False)
        return cached
