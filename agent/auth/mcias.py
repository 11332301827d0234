"""The token backend of MCIAS. It fails closed: if MCIAS is down, only cached identities are accepted.

Tokens that were valid before are asked about on a lane of their own, and remembered apart from the others: guesses push
no known user out, and MCIAS gets them at a bounded rate.
"""

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
CACHE_LIMIT = 1000  # cached results, of valid tokens and of others each
AT_ONCE = 4  # concurrent validations on each lane
WAITING_LIMIT = 64  # tokens of a lane in validation or queued for it; more are refused
UNKNOWN_RATE = 10.0  # validations of unknown tokens a second, once WAITING_LIMIT of them were asked at once
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


class _Lane:
    """Validations in progress, with threads of their own."""

    def __init__(self, name: str) -> None:
        self.in_progress: dict[str, asyncio.Task[_CachedIdentity | Unavailable]] = {}
        self.threads = ThreadPoolExecutor(AT_ONCE, name)


class _Budget:
    """Permits at a bounded rate, of which WAITING_LIMIT can be saved up."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._left, self._since = float(WAITING_LIMIT), monotonic()

    def take(self) -> bool:
        """Take a permit; False if there is none."""
        now = self._monotonic()
        self._left = min(WAITING_LIMIT, self._left + UNKNOWN_RATE * (now - self._since))
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


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
        self._valid: OrderedDict[str, _CachedIdentity] = OrderedDict()  # by hash, also those whose time is over
        self._rejected: OrderedDict[str, _CachedIdentity] = OrderedDict()
        self._known_lane, self._unknown_lane = _Lane("mcias"), _Lane("mcias-unknown")
        self._budget = _Budget(monotonic)

    async def identify(self, token: str) -> Identity:
        """Return the account of a token; raises Unauthenticated, or Unavailable if MCIAS fails."""
        cached = self._cached(token_hash(token))
        return self._identity(cached) if cached is not None else await self.verify(token)

    async def verify(self, token: str) -> Identity:
        """Ask MCIAS for the account of a token; raises Unauthenticated, or Unavailable if MCIAS fails."""
        return self._identity(await self._asked(token_hash(token), token))

    async def knows(self, token: str) -> bool:
        """Tell if MCIAS called the token valid the last time it was asked."""
        return token_hash(token) in self._valid

    def _identity(self, cached: _CachedIdentity) -> Identity:
        if cached.identity is None:
            raise Unauthenticated("invalid token: rejected by MCIAS")
        end = cached.identity.expires_at
        if end is not None and end <= self._now():
            raise Unauthenticated(f"the token of {cached.identity.user} expired at {end:%Y-%m-%d %H:%M} UTC")
        return cached.identity

    def close(self) -> None:
        """Start no more validations; running ones end at their own timeout."""
        for lane in (self._known_lane, self._unknown_lane):
            lane.threads.shutdown(wait=False, cancel_futures=True)

    def _cached(self, digest: str) -> _CachedIdentity | None:
        cached = self._valid.get(digest) or self._rejected.get(digest)
        return cached if cached is not None and self._monotonic() < cached.until else None

    async def _asked(self, digest: str, token: str) -> _CachedIdentity:
        """Ask MCIAS, once for all concurrent calls with the same token."""
        is_known = digest in self._valid
        lane = self._known_lane if is_known else self._unknown_lane
        task = lane.in_progress.get(digest)
        if task is None:
            if len(lane.in_progress) >= WAITING_LIMIT or not (is_known or self._budget.take()):
                raise Unavailable("too many tokens are being validated at once", "try again")
            task = create_guarded_task(self._ask(digest, token, lane), "token validation")
            lane.in_progress[digest] = task
            task.add_done_callback(lambda _task: lane.in_progress.pop(digest))
        # wait() does not cancel the task with the call: others may wait for it, too
        await asyncio.wait({task}, timeout=WAIT_SECONDS)
        outcome = task.result() if task.done() else Unavailable(f"{self._mcias.where} did not answer", "try again")
        if isinstance(outcome, Unavailable):
            raise outcome
        return outcome

    async def _ask(self, digest: str, token: str, lane: _Lane) -> _CachedIdentity | Unavailable:
        """Validate a token; return failures instead of raising (the callers may be gone), uncached."""
        until = self._monotonic() + CACHE_SECONDS
        loop = asyncio.get_running_loop()
        try:
            account = await loop.run_in_executor(lane.threads, self._mcias.validate, token)
        except Unavailable as error:
            return Unavailable(f"cannot verify the token: {error.what}", error.hint)
        identity = None
        if account is not None:
            identity = Identity(account.username, account.account_type, account.roles, account.expires_at)
        return self._keep(digest, _CachedIdentity(identity, until))

    def _keep(self, digest: str, cached: _CachedIdentity) -> _CachedIdentity:
        kept, other = (self._rejected, self._valid) if cached.identity is None else (self._valid, self._rejected)
        other.pop(digest, None)
        kept[digest] = cached
        kept.move_to_end(digest)
        while len(kept) > CACHE_LIMIT:
            kept.popitem(last=False)
        return cached
