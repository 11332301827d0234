"""The interface of token backends, and the local backend with accounts in the registry."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from agent.auth.permissions import Permission, permission_of
from agent.store.registry import AsyncRegistry, TokenRow
from mcp.shared.errors import Forbidden, McpError, Unauthenticated
from mcp.shared.roles import GUEST
from mcp.shared.states import AccountType

TOKEN_PREFIX = "mcp_"  # noqa: S105 - not a secret: lets scanners recognise leaked tokens


@dataclass(frozen=True)
class Identity:
    """An authenticated account; `expires_at` is None for a permanent token."""

    user: str
    account_type: AccountType
    roles: tuple[str, ...]
    expires_at: datetime | None = None

    @property
    def permission(self) -> Permission:
        """The permission that its roles amount to."""
        return permission_of(self.roles)


class TokenBackend(Protocol):
    """Maps a token to an identity."""

    async def identify(self, token: str) -> Identity:
        """Return the account of a token; raises Unauthenticated, or Unavailable if it cannot be verified."""

    async def verify(self, token: str) -> Identity:
        """Return the account of a token like `identify`, never from a cache."""

    async def knows(self, token: str) -> bool:
        """Tell without asking another machine if a token is, or lately was, valid; never raises."""

    def close(self) -> None:
        """Release the backend's resources."""


class LocalBackend:
    """Accounts in the agent's registry, with random tokens stored as SHA-256."""

    def __init__(self, registry: AsyncRegistry, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Look tokens up in `registry` at every call, so that revocation is immediate."""
        self._registry = registry
        self._now = now

    async def identify(self, token: str) -> Identity:
        """Return the account of a token; raises Unauthenticated."""
        digest = token_hash(token)
        for row in await self._registry.call(self._registry.tokens.select, digest):
            if hmac.compare_digest(row.sha256, digest):
                if row.expires_at is not None and row.expires_at <= self._now():
                    raise Unauthenticated(f"the token of {row.name} expired at {row.expires_at:%Y-%m-%d %H:%M} UTC")
                return Identity(row.name, row.account_type, row.roles, row.expires_at)
        raise Unauthenticated("invalid token")

    async def verify(self, token: str) -> Identity:
        """Return the account of a token; raises Unauthenticated."""
        return await self.identify(token)

    async def knows(self, token: str) -> bool:
        """Return True for a valid token."""
        try:
            await self.identify(token)
        except McpError:
            return False
        return True

    def close(self) -> None:
        """Do nothing: the registry belongs to the caller."""


def authorize(identity: Identity) -> None:
    """Raise Forbidden for an account that may not use the agent."""
    if GUEST in identity.roles:
        raise Forbidden(f"{identity.user} has the role {GUEST}, which may not use MCP")


def bearer_token(header: str | None) -> str:
    """Return the token of an authorization header (RFC 6750); raises Unauthenticated."""
    if not header:
        raise Unauthenticated("missing token")
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token or not token.isascii() or len(token) > 8192 or " " in token:
        raise Unauthenticated("invalid authorization header: expected Bearer TOKEN")
    return token


def new_token() -> str:
    """Return a new token with 256 bits of randomness."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def is_token(text: str) -> bool:
    """Return True if `text` has the form of a token from `new_token`."""
    return re.fullmatch(rf"{TOKEN_PREFIX}[A-Za-z0-9_-]{{43}}", text) is not None


def token_hash(token: str) -> str:
    """Return the stored form of a token: its SHA-256 in hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def token_row(
    name: str, token: str, account_type: AccountType, roles: tuple[str, ...], expires_at: datetime | None
) -> TokenRow:
    """Return the registry row for a new token."""
    return TokenRow(name, token_hash(token), account_type, roles, datetime.now(UTC), expires_at)
