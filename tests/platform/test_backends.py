"""What every token backend must do: one suite, which the local one and MCIAS's pass alike."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.auth.backends import Identity, authorize
from mcp.shared.errors import Forbidden, Unauthenticated
from mcp.shared.states import AccountType
from tests.platform.backends import Realm, identify, local_realm, mcias_realm
from tests.platform.conftest import Authority

HOUR = timedelta(hours=1)


@pytest.fixture(params=[local_realm, mcias_realm], ids=["local", "mcias"])
def realm(request: pytest.FixtureRequest, tmp_path: Path, authority: Authority) -> Iterator[Realm]:
    """Each backend in turn."""
    with request.param(tmp_path, authority) as made:
        yield made


def refusal(realm: Realm, token: str) -> str:
    """What is said of a token that is refused; the token is not in it."""
    with pytest.raises(Unauthenticated) as caught:
        identify(realm, token)
    assert len(token) < 3 or token not in str(caught.value)
    return str(caught.value)


def test_a_token_is_its_accounts(realm: Realm) -> None:
    end = realm.clock.now() + HOUR
    ann = realm.token("ann", "human", ("admin", "ops"), end)
    agent = realm.token("mcp-agent", "system", (), end)
    assert identify(realm, ann) == Identity("ann", AccountType.HUMAN, ("admin", "ops"), end)
    assert identify(realm, agent) == Identity("mcp-agent", AccountType.SYSTEM, (), end)
    assert identify(realm, ann).user == "ann"


def test_what_is_no_token_is_nobodys(realm: Realm) -> None:
    token = realm.token("ann", "human", (), realm.clock.now() + HOUR)
    for wrong in (token[:-1], token + "x", token.swapcase(), token[::-1], "x", "a" * 8192):
        assert "invalid token" in refusal(realm, wrong)
    assert identify(realm, token).user == "ann"


def test_a_token_that_has_expired(realm: Realm) -> None:
    refusal(realm, realm.token("ann", "human", (), realm.clock.now() - timedelta(seconds=1)))


def test_a_token_in_use_ends_on_time(realm: Realm) -> None:
    """However recently it was found valid."""
    end = realm.clock.now() + timedelta(seconds=10)
    token = realm.token("ann", "human", (), end)
    assert identify(realm, token).expires_at == end
    realm.clock.forward(9.5)
    assert identify(realm, token).user == "ann"
    realm.clock.forward(0.5)
    assert refusal(realm, token) == f"the token of ann expired at {end:%Y-%m-%d %H:%M} UTC"


def test_a_revoked_token(realm: Realm) -> None:
    token = realm.token("ann", "human", (), realm.clock.now() + HOUR)
    assert identify(realm, token).user == "ann"
    realm.revoke("ann")
    realm.clock.forward(realm.revocation)
    assert "invalid token" in refusal(realm, token)


def test_guests_are_known_and_may_nothing(realm: Realm) -> None:
    identity = identify(realm, realm.token("eve", "human", ("admin", "guest"), realm.clock.now() + HOUR))
    with pytest.raises(Forbidden, match="eve has the role guest"):
        authorize(identity)


def test_many_at_once(realm: Realm) -> None:
    end = realm.clock.now() + HOUR
    tokens = {f"user-{number}": realm.token(f"user-{number}", "human", (), end) for number in range(20)}

    async def ask_all() -> list[Identity | BaseException]:
        asked = [realm.backend.identify(token) for token in [*tokens.values(), "nobody's"] * 3]
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(ask_all())
    users = [answer.user if isinstance(answer, Identity) else type(answer).__name__ for answer in answers]
    assert users == [*tokens, "Unauthenticated"] * 3


def test_any_text_is_nobodys(realm: Realm) -> None:
    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
    def check(token: str) -> None:
        refusal(realm, token)

    check()
