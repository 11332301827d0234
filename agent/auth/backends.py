"""Who may call: token backends behind one interface, and the local one, whose accounts are in the registry."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from agent.store.registry import AsyncRegistry, TokenRow
from mcp.shared.errors import Forbidden, Unauthenticated
from mcp.shared.states import AccountType

TOKEN_PREFIX = "mcp_"  # noqa: S105 - not a secret: it lets scanners recognise leaked tokens
REFUSED_ROLE = "guest"


@dataclass(frozen=True)
class Identity:
    """An authenticated account; `expires_at` is None where its token never ends."""

    user: str
    account_type: AccountType
    roles: tuple[str, ...]
    expires_at: datetime | None = None


class TokenBackend(Protocol):
    """Turns a token into an identity."""

    async def identify(self, token: str) -> Identity:
        """Raises Unauthenticated for a token that is not valid, Unavailable where that cannot be found out."""

    def close(self) -> None:
        """Let go of what the backend holds; nothing is asked of it afterwards."""


class LocalBackend:
    """Accounts in the agent's own registry: random tokens, of which only the SHA-256 is stored."""

    def __init__(self, registry: AsyncRegistry, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Looks tokens up in `registry` at every call, so revoking one takes effect at once."""
        self._registry = registry
        self._now = now

    async def identify(self, token: str) -> Identity:
        """The account of a token; raises Unauthenticated."""
        digest = token_hash(token)
        for row in await self._registry.call(self._registry.tokens.select, digest):
            if hmac.compare_digest(row.sha256, digest):
                if row.expires_at is not None and row.expires_at <= self._now():
                    raise Unauthenticated(f"the token of {row.name} expired at {row.expires_at:%Y-%m-%d %H:%M} UTC")
                return Identity(row.name, row.account_type, row.roles, row.expires_at)
        raise Unauthenticated("the token is not valid")

    def close(self) -> None:
        """Nothing: the registry is closed by whoever opened it."""


def authorize(identity: Identity) -> None:
    """Raise Forbidden where an account may not use the agent at all."""
    if REFUSED_ROLE in identity.roles:
        raise Forbidden(f"{identity.user} has the role {REFUSED_ROLE}, which may not use MCP")


def bearer_token(header: str | None) -> str:
    """The token in an authorization header (RFC 6750); raises Unauthenticated."""
    if not header:
        raise Unauthenticated("no token was sent")
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token or not token.isascii() or len(token) > 8192 or " " in token:
        raise Unauthenticated("the authorization header is not Bearer TOKEN")
    return token


def new_token() -> str:
    """A token with 256 bits of randomness."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def is_token(text: str) -> bool:
    """Whether `text` has the form of what `new_token` makes."""
    return re.fullmatch(rf"{TOKEN_PREFIX}[A-Za-z0-9_-]{{43}}", text) is not None


def token_hash(token: str) -> str:
    """What is stored of a token: its SHA-256 in hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def token_row(
    name: str, token: str, account_type: AccountType, roles: tuple[str, ...], expires_at: datetime | None
) -> TokenRow:
    """The registry's row for a new token."""
    return TokenRow(name, token_hash(token), account_type, roles, datetime.now(UTC), expires_at)
