"""The contract with MCIAS, over real TLS: what is sent, which answers count, and that all others do not."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.admin.pki import make_ca
from mcp.shared.errors import Forbidden, InvalidInput, Unauthenticated, Unavailable
from mcp.shared.https import OutOfReach
from mcp.shared.mcias import Account, Mcias
from mcp.shared.states import AccountType
from mcp.shared.url import Endpoint, parse_https_url
from tests.platform import mcias as stand_ins
from tests.platform.conftest import Authority
from tests.platform.mcias import MciasStandIn

GOOD = {
    "valid": True,
    "username": "ann",
    "account_type": "human",
    "roles": ["ops"],
    "expires_at": "2099-01-01T00:00:00Z",
}
TOKEN = "eyJsecret"


def client(address: str, ca: Path | None, timeout: float = 5.0) -> Mcias:
    """MCIAS at an address."""
    return Mcias(parse_https_url(f"https://{address}"), ca, timeout)


def why_unavailable(mcias: Mcias, kind: type[Unavailable] = Unavailable) -> str:
    """What a validation that fails says; the token is in none of it."""
    with pytest.raises(Unavailable) as caught:
        mcias.validate(TOKEN)
    assert type(caught.value) is kind
    assert TOKEN not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what it is for ---


def test_login(stand_in: MciasStandIn, authority: Authority) -> None:
    stand_in.accounts["ann"] = stand_ins.Account("pässword \U0001f40e", totp="123456")
    mcias = client(stand_in.address, authority.file)
    login = mcias.login("ann", "pässword \U0001f40e", "123456", "mcp")
    assert stand_in.tokens[login.token] == ("ann", login.expires_at)
    assert stand_in.requests == [
        (
            "/v1/auth/login",
            {
                "username": "ann",
                "password": "pässword \U0001f40e",
                "totp_code": "123456",
                "service_name": "mcp",
                "tags": [],
            },
        )
    ]


def test_a_wrong_password_and_a_policy_are_two_things(stand_in: MciasStandIn, authority: Authority) -> None:
    stand_in.accounts["ann"] = stand_ins.Account("right", policy=False)
    stand_in.accounts["bob"] = stand_ins.Account("right", totp="123456")
    mcias = client(stand_in.address, authority.file)
    for user, password, totp, hint in (
        ("ann", "wrong-pw", "", "--totp CODE"),
        ("nobody", "right", "", "--totp CODE"),
        ("bob", "right", "", "--totp CODE"),
        ("bob", "right", "654321", "with a new code"),
    ):
        with pytest.raises(Unauthenticated, match="rejected the user name and password") as caught:
            mcias.login(user, password, totp, "mcp")
        assert hint in str(caught.value)
        assert password not in str(caught.value)
    with pytest.raises(Forbidden, match="a login policy that does not allow ann to log in to mcp"):
        mcias.login("ann", "right", "", "mcp")


def test_validation(stand_in: MciasStandIn, authority: Authority) -> None:
    end = datetime.now(UTC) + timedelta(hours=1)
    stand_in.accounts["ann"] = stand_ins.Account(roles=("admin", "guest"))
    stand_in.accounts["mcp-agent"] = stand_ins.Account(account_type="system")
    mcias = client(stand_in.address, authority.file)
    assert mcias.validate(stand_in.token("ann", end=end)) == Account("ann", AccountType.HUMAN, ("admin", "guest"), end)
    assert mcias.validate(stand_in.token("mcp-agent", end=end)) == Account("mcp-agent", AccountType.SYSTEM, (), end)
    assert mcias.validate("eyJnobody") is None
    assert mcias.validate(stand_in.token("ann", lifetime=-timedelta(seconds=1))) is None
    revoked = stand_in.token("ann")
    stand_in.revoke("ann")
    assert mcias.validate(revoked) is None


def test_roles_may_be_missing_where_there_are_none(stand_in: MciasStandIn, authority: Authority) -> None:
    stand_in.misbehaviour = stand_ins.replies(200, {key: value for key, value in GOOD.items() if key != "roles"})
    account = client(stand_in.address, authority.file).validate(TOKEN)
    assert account is not None
    assert account.roles == ()


# --- answers that are not in the contract ---

ODD_BODIES: dict[str, tuple[object, str]] = {
    "nothing": (b"", "invalid JSON"),
    "no JSON": (b"<html>", "invalid JSON"),
    "no UTF-8": (b'{"valid": "\xff"}', "invalid JSON"),
    "a constant": (b'{"valid": true, "x": NaN}', "invalid JSON"),
    "nested deep": (b"[" * 30000, "invalid JSON"),
    "a key twice": (b'{"valid": true, "valid": false}', "invalid JSON"),
    "more after it": (b'{"valid": false} {}', "invalid JSON"),
    "a list": ([GOOD], "JSON that is not an object"),
    "a string": ("valid", "JSON that is not an object"),
    "null": (None, "JSON that is not an object"),
    "no verdict": ({}, "valid is missing"),
    "a verdict that is a number": ({**GOOD, "valid": 1}, "valid is of the wrong type"),
    "a verdict that is a string": ({**GOOD, "valid": "true"}, "valid is of the wrong type"),
    "a verdict that is null": ({**GOOD, "valid": None}, "valid is of the wrong type"),
    "nobody": ({**GOOD, "username": ""}, "invalid username"),
    "a user with a line break": ({**GOOD, "username": "a\nb"}, "invalid username"),
    "half a character": (b'{"valid": true, "username": "\\ud800", "account_type": "human"}', "invalid username"),
    "a user that is a number": ({**GOOD, "username": 7}, "username is of the wrong type"),
    "a long user": ({**GOOD, "username": "a" * 256}, "invalid username"),
    "no user": ({key: value for key, value in GOOD.items() if key != "username"}, "username is missing"),
    "no type": ({key: value for key, value in GOOD.items() if key != "account_type"}, "account_type is missing"),
    "another type": ({**GOOD, "account_type": "robot"}, "account_type is neither human nor system"),
    "roles that are a string": ({**GOOD, "roles": "guest"}, "roles is of the wrong type"),
    "roles that are numbers": ({**GOOD, "roles": [1]}, "roles is not a list of names"),
    "an empty role": ({**GOOD, "roles": [""]}, "roles is not a list of names"),
    "too many roles": ({**GOOD, "roles": ["r"] * 101}, "roles is not a list of names"),
    "no end": ({key: value for key, value in GOOD.items() if key != "expires_at"}, "expires_at is missing"),
    "an end that is a number": ({**GOOD, "expires_at": 4070908800}, "expires_at is of the wrong type"),
    "an end that is no time": ({**GOOD, "expires_at": "tomorrow"}, "expires_at is not an RFC 3339 time"),
    "an end without a zone": ({**GOOD, "expires_at": "2099-01-01T00:00:00"}, "expires_at is not an RFC 3339 time"),
}


@pytest.mark.parametrize("what", ODD_BODIES)
def test_an_odd_answer_is_nobodys_permission(stand_in: MciasStandIn, authority: Authority, what: str) -> None:
    body, words = ODD_BODIES[what]
    stand_in.misbehaviour = stand_ins.replies(200, body)
    said = why_unavailable(client(stand_in.address, authority.file))
    assert f"sent an invalid response: {words}" in said


@pytest.mark.parametrize("status", [201, 204, 400, 401, 403, 404, 429, 500, 503])
def test_no_other_status_counts(stand_in: MciasStandIn, authority: Authority, status: int) -> None:
    stand_in.misbehaviour = stand_ins.replies(status, b"" if status == 204 else GOOD)
    assert f"HTTP status {status}" in why_unavailable(client(stand_in.address, authority.file))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(stand_in: MciasStandIn, authority: Authority, status: int) -> None:
    stand_in.misbehaviour = stand_ins.replies(status, GOOD, more={"Location": f"{stand_in.url}/v1/elsewhere"})
    said = why_unavailable(client(stand_in.address, authority.file))
    assert f"a redirect ({status}), which is never followed" in said
    assert len(stand_in.requests) == 1


def test_json_says_that_it_is_json(stand_in: MciasStandIn, authority: Authority) -> None:
    stand_in.misbehaviour = stand_ins.replies(200, GOOD, "text/html; charset=utf-8")
    assert "something other than JSON" in why_unavailable(client(stand_in.address, authority.file))
    stand_in.misbehaviour = stand_ins.replies(200, GOOD, "Application/JSON; charset=utf-8")
    assert client(stand_in.address, authority.file).validate(TOKEN) is not None


@pytest.mark.parametrize(
    "body",
    [{}, {"token": "a"}, {"token": "a b", "expires_at": "2099-01-01T00:00:00Z"}, {"token": "", "expires_at": "x"}],
)
def test_an_odd_answer_to_a_login(stand_in: MciasStandIn, authority: Authority, body: object) -> None:
    stand_in.misbehaviour = stand_ins.replies(200, body)
    with pytest.raises(Unavailable, match="sent an invalid response"):
        client(stand_in.address, authority.file).login("ann", "pw", "", "mcp")


def test_any_bytes_are_an_account_or_refused(stand_in: MciasStandIn, authority: Authority) -> None:
    """Whatever comes back, nothing but an account, a no, or Unavailable comes out."""
    mcias = client(stand_in.address, authority.file)
    values = st.none() | st.booleans() | st.text(max_size=5) | st.integers() | st.lists(st.text(max_size=3), max_size=3)
    answers = st.binary(max_size=50) | st.dictionaries(st.sampled_from(sorted(GOOD)), values)

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(answers)
    def check(body: object) -> None:
        stand_in.misbehaviour = stand_ins.replies(200, body)
        try:
            account = mcias.validate(TOKEN)
        except Unavailable:
            return
        assert account is None or account.account_type in ("human", "system")

    check()


# --- transport ---

BREAKS: dict[str, tuple[stand_ins.Misbehaviour, str]] = {
    "half an answer": (stand_ins.half_an_answer, "closed the connection before the response"),
    "an answer without a length": (stand_ins.without_length, "sent a response without a length"),
    "half the chunks": (stand_ins.half_the_chunks, "closed the connection before the response"),
    "no answer": (stand_ins.hangs_up, "closed the connection without a response"),
    "no HTTP": (stand_ins.no_http, "sent an invalid HTTP response (BadStatusLine)"),
    "endless": (stand_ins.endless, "sent a response of more than 65536 bytes"),
    "huge": (stand_ins.replies(200, b" " * 65537), "sent a response of more than 65536 bytes"),
    "endless headers": (stand_ins.endless_headers, "sent an invalid HTTP response"),
    "slow": (stand_ins.hangs(2), "did not respond within 0.5 s"),
    "drips": (stand_ins.drips, "did not respond within 0.5 s"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_transfer_that_goes_wrong(stand_in: MciasStandIn, authority: Authority, what: str) -> None:
    stand_in.misbehaviour, words = BREAKS[what]
    began = time.monotonic()
    patience = 0.5 if "within 0.5 s" in words else 20  # one that answers is not to be slow only since we are
    said = why_unavailable(client(stand_in.address, authority.file, patience), OutOfReach)
    assert words in said
    assert time.monotonic() - began < 20


def test_an_answer_in_chunks(stand_in: MciasStandIn, authority: Authority) -> None:
    stand_in.misbehaviour = stand_ins.chunked
    assert client(stand_in.address, authority.file).validate(TOKEN) is None


def test_a_certificate_of_another_authority(stand_in: MciasStandIn, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(make_ca("somebody else's").certificate)
    for ca in (other, None):
        said = why_unavailable(client(stand_in.address, ca), OutOfReach)
        assert "presented an untrusted certificate: " in said
        assert said.endswith("; check ca_cert")
    assert stand_in.requests == []


def test_a_certificate_for_another_name(authority: Authority, tmp_path: Path) -> None:
    with stand_ins.mcias(authority.pair, tmp_path, names=("mcias.example.net",)) as elsewhere:
        said = why_unavailable(client(elsewhere.address, authority.file), OutOfReach)
        assert "certificate is not valid for '127.0.0.1'" in said
        assert elsewhere.requests == []


def test_tls_1_2_is_refused(authority: Authority, tmp_path: Path) -> None:
    with stand_ins.mcias(authority.pair, tmp_path, newest=ssl.TLSVersion.TLSv1_2) as old:
        assert "TLS 1.3 failed: " in why_unavailable(client(old.address, authority.file), OutOfReach)
        assert old.requests == []
        context = ssl.create_default_context(cafile=authority.file)
        with (
            socket.create_connection(("127.0.0.1", int(old.address.rpartition(":")[2]))) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
        ):
            assert secure.version() == "TLSv1.2"  # so the server works, for whoever takes that


@contextmanager
def server_that(greeting: bytes | None) -> Iterator[str]:
    """A server without TLS that says `greeting` and hangs up, or, where it is None, accepts and says nothing."""
    kept: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            if greeting is None:
                kept.append(connection)
                continue
            connection.recv(4096)
            connection.sendall(greeting)
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    for connection in kept:
        connection.close()


def test_a_server_without_tls(authority: Authority) -> None:
    with server_that(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
        assert "TLS 1.3 failed: " in why_unavailable(client(address, authority.file), OutOfReach)


def test_a_handshake_that_hangs(authority: Authority) -> None:
    with server_that(None) as address:
        began = time.monotonic()
        assert "did not respond within 0.3 s" in why_unavailable(client(address, authority.file, 0.3), OutOfReach)
        assert time.monotonic() - began < 20


def test_nobody_listens(authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    said = why_unavailable(client(f"127.0.0.1:{port}", authority.file), OutOfReach)
    assert said == (f"MCIAS at 127.0.0.1:{port} refuses the connection; check server_url, and that it runs there")


def test_a_name_that_is_not_known(authority: Authority) -> None:
    said = why_unavailable(client("mcias.invalid:8443", authority.file), OutOfReach)
    assert said.startswith("MCIAS at mcias.invalid:8443: unknown host name (")


@pytest.mark.parametrize("name", ["a" * 70 + ".example", "mcias..example"])
def test_a_name_that_no_host_can_have(authority: Authority, name: str) -> None:
    with pytest.raises(Unavailable, match=r"invalid host name; check server_url$"):
        Mcias(parse_https_url(f"https://{name}:8443"), authority.file).validate("mcp_token")


def test_a_ca_that_cannot_be_used(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    with pytest.raises(InvalidInput, match=rf"^ca_cert: {empty} contains no PEM certificate$"):
        client("localhost", empty)
    with pytest.raises(InvalidInput, match=rf"^ca_cert: {tmp_path}/gone: cannot be read: No such file or directory$"):
        client("localhost", tmp_path / "gone")


# --- addresses ---


@pytest.mark.parametrize(
    ("url", "endpoint", "shown"),
    [
        ("https://mcias.example.net:8443", Endpoint("mcias.example.net", 8443), "mcias.example.net:8443"),
        ("https://mcias", Endpoint("mcias", 443), "mcias:443"),
        ("https://10.0.0.1:1/", Endpoint("10.0.0.1", 1), "10.0.0.1:1"),
        ("https://[fd00::1]:8443", Endpoint("fd00::1", 8443), "[fd00::1]:8443"),
    ],
)
def test_a_url(url: str, endpoint: Endpoint, shown: str) -> None:
    assert parse_https_url(url) == endpoint
    assert str(endpoint) == shown


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://mcias:8443",
        "HTTPS://mcias",
        "mcias:8443",
        "https://",
        "https://:8443",
        "https://mcias:0",
        "https://mcias:65536",
        "https://mcias:x",
        "https://user:password@mcias",
        "https://mcias/v1",
        "https://mcias?x",
        "https://mcias#x",
        "https://mcias\n",
        "https://mc ias",
        "https://-mcias",
    ],
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ValueError, match=r"^expected https://HOST or https://HOST:PORT without a path"):
        parse_https_url(url)
