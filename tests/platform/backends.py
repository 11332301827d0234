"""The token backends behind one face, for the suite that all of them pass."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from agent.auth.backends import Identity, LocalBackend, TokenBackend, new_token, token_row
from agent.auth.mcias import CACHE_SECONDS, MciasBackend
from agent.store.registry import AsyncRegistry, Registry
from mcp.shared.mcias import Mcias
from mcp.shared.states import AccountType
from mcp.shared.url import parse_https_url
from tests.platform import mcias as stand_ins
from tests.platform.conftest import Authority


class Clock:
    """The time, as far as a backend can tell."""

    def __init__(self) -> None:
        """It goes on only by `forward`."""
        self._passed = timedelta()
        self._started = datetime.now(UTC)

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self._passed += timedelta(seconds=seconds)

    def now(self) -> datetime:
        """The wall clock."""
        return self._started + self._passed

    def monotonic(self) -> float:
        """The clock that is never set."""
        return 1000.0 + self._passed.total_seconds()


class Realm(Protocol):
    """A backend with its accounts; `revocation` is how long a revoked token may still be accepted, in seconds."""

    backend: TokenBackend
    clock: Clock
    revocation: float

    def token(self, user: str, kind: str, roles: tuple[str, ...], end: datetime) -> str:
        """Make an account with one token."""

    def revoke(self, user: str) -> None:
        """End its token."""


def identify(realm: Realm, token: str) -> Identity:
    """Whom the backend takes the owner of a token for."""
    return asyncio.run(_identify(realm, token))


async def _identify(realm: Realm, token: str) -> Identity:
    return await realm.backend.identify(token)


class LocalRealm:
    """The local backend."""

    revocation = 0.0

    def __init__(self, registry: Registry) -> None:
        """Accounts are rows of `registry`."""
        self.clock = Clock()
        self._registry = registry
        self.backend: TokenBackend = LocalBackend(AsyncRegistry(registry), self.clock.now)

    def token(self, user: str, kind: str, roles: tuple[str, ...], end: datetime) -> str:
        """Make an account with one token."""
        token = new_token()
        self._registry.tokens.add(token_row(user, token, AccountType(kind), roles, end))
        return token

    def revoke(self, user: str) -> None:
        """End its token."""
        self._registry.tokens.revoke(user)


class MciasRealm:
    """MCIAS's backend, asking the stand-in."""

    revocation = CACHE_SECONDS

    def __init__(self, stand_in: stand_ins.MciasStandIn, ca_cert: Path) -> None:
        """Accounts are the stand-in's."""
        self.clock = Clock()
        self._stand_in = stand_in
        mcias = Mcias(parse_https_url(stand_in.url), ca_cert)
        self.backend: TokenBackend = MciasBackend(mcias, monotonic=self.clock.monotonic, now=self.clock.now)

    def token(self, user: str, kind: str, roles: tuple[str, ...], end: datetime) -> str:
        """Make an account with one token."""
        self._stand_in.accounts[user] = stand_ins.Account(account_type=kind, roles=roles)
        return self._stand_in.token(user, end=end)

    def revoke(self, user: str) -> None:
        """End its token."""
        self._stand_in.revoke(user)


@contextmanager
def local_realm(folder: Path, _authority: Authority) -> Iterator[Realm]:
    """The local backend on a registry of its own."""
    registry = Registry(folder / "mcp.db")
    yield LocalRealm(registry)
    registry.close()


@contextmanager
def mcias_realm(folder: Path, authority: Authority) -> Iterator[Realm]:
    """MCIAS's backend with a stand-in of its own."""
    with stand_ins.mcias(authority.pair, folder) as stand_in:
        realm = MciasRealm(stand_in, authority.file)
        yield realm
        realm.backend.close()
        assert stand_in.refused == []
