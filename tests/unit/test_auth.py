"""Tokens and accounts."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.auth import backends
from agent.auth.backends import Identity, LocalBackend
from agent.store.registry import AsyncRegistry, Registry
from mcp.shared.errors import Forbidden, Unauthenticated
from mcp.shared.states import AccountType


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """A fresh registry."""
    opened = Registry(tmp_path / "mcp.db")
    yield opened
    opened.close()


@pytest.mark.parametrize("header", ["Bearer mcp_abc", "bearer mcp_abc", "BEARER mcp_abc"])
def test_a_bearer_token(header: str) -> None:
    assert backends.bearer_token(header) == "mcp_abc"


@pytest.mark.parametrize("header", [None, ""])
def test_no_token(header: str | None) -> None:
    with pytest.raises(Unauthenticated, match="missing token"):
        backends.bearer_token(header)


@pytest.mark.parametrize(
    "header",
    [
        "mcp_abc",
        "Bearer",
        "Bearer ",
        "Bearer  mcp_abc",
        "Bearer a b",
        "Basic mcp_abc",
        "Bearer ä",
        " Bearer a",
        "Bearer " + "a" * 8193,
    ],
)
def test_what_is_no_bearer_token(header: str) -> None:
    with pytest.raises(Unauthenticated, match=r"^invalid authorization header: expected Bearer TOKEN$"):
        backends.bearer_token(header)


@given(st.text())
def test_any_header_is_a_token_or_refused(header: str) -> None:
    try:
        token = backends.bearer_token(header)
    except Unauthenticated:
        token = None
    assert token is None or header.lower() == f"bearer {token.lower()}"


def test_tokens_are_random_and_only_their_hash_is_stored(registry: Registry) -> None:
    tokens = {backends.new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(token.startswith("mcp_") and len(token) == 47 for token in tokens)
    token = tokens.pop()
    registry.tokens.add(backends.token_row("ann", token, AccountType.HUMAN, ("admin",), None))
    assert backends.token_hash(token) == registry.tokens.select()[0].sha256
    beside = [path.read_bytes() for path in registry.path.parent.iterdir()]
    assert len(beside) > 1
    assert not any(token.encode() in content for content in beside)


def test_who_a_token_belongs_to(registry: Registry) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    past = datetime.now(UTC) - timedelta(seconds=1)
    registry.tokens.add(backends.token_row("ann", "good", AccountType.HUMAN, ("admin", "ops"), soon))
    registry.tokens.add(backends.token_row("bob", "late", AccountType.SYSTEM, (), past))
    backend = LocalBackend(AsyncRegistry(registry))

    def identify(token: str) -> Identity:
        return asyncio.run(backend.identify(token))

    assert identify("good") == Identity("ann", AccountType.HUMAN, ("admin", "ops"), soon)
    with pytest.raises(Unauthenticated, match=f"the token of bob expired at {past:%Y-%m-%d %H:%M} UTC"):
        identify("late")
    for wrong in ("goo", "good ", "", backends.token_hash("good")):
        with pytest.raises(Unauthenticated, match=r"^invalid token$"):
            identify(wrong)
    registry.tokens.revoke("ann")
    with pytest.raises(Unauthenticated, match=r"^invalid token$"):
        identify("good")


def test_guests_are_refused_and_nobody_else() -> None:
    for kind in AccountType:
        backends.authorize(Identity("ann", kind, ()))
        backends.authorize(Identity("ann", kind, ("admin", "guests")))
        with pytest.raises(Forbidden, match="ann has the role guest, which may not use MCP"):
            backends.authorize(Identity("ann", kind, ("admin", "guest")))
