"""A stand-in for MCIAS: real TLS 1.3, strict about what it is sent, and misbehaving on demand.

It is written from the contract, not from mcp/shared/mcias.py: what the contract does not allow is answered with an
error and noted in `refused`, which tests expect to be empty.
"""

import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from agent.admin.pki import KeyPair, make_server_certificate

Misbehaviour = Callable[["Handler"], None]


@dataclass
class Account:
    """An account of the stand-in; `policy` False is a login policy that says no."""

    password: str = "correct horse"
    account_type: str = "human"
    roles: tuple[str, ...] = ()
    totp: str = ""
    policy: bool = True


@dataclass
class MciasStandIn:
    """What the stand-in knows, and what it was asked."""

    address: str = ""
    lifetime: timedelta = timedelta(hours=1)
    accounts: dict[str, Account] = field(default_factory=dict)
    tokens: dict[str, tuple[str, datetime]] = field(default_factory=dict)  # token -> user, end
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    misbehaviour: Misbehaviour | None = None

    @property
    def url(self) -> str:
        """Its address, as configurations have it."""
        return f"https://{self.address}"

    def token(self, user: str, *, lifetime: timedelta | None = None, end: datetime | None = None) -> str:
        """A new token for an account; `end` or `lifetime` from now."""
        token = "eyJ" + secrets.token_urlsafe(24)
        self.tokens[token] = user, end or datetime.now(UTC) + (self.lifetime if lifetime is None else lifetime)
        return token

    def revoke(self, user: str) -> None:
        """End all tokens of an account."""
        self.tokens = {token: owner for token, owner in self.tokens.items() if owner[0] != user}

    def validations(self) -> list[str]:
        """The tokens that it was asked about."""
        return [body["token"] for path, body in self.requests if path == "/v1/token/validate"]

    def login(self, body: dict[str, Any]) -> tuple[int, object]:
        """The answer to a login."""
        account = self.accounts.get(body["username"])
        if account is None or account.password != body["password"] or account.totp != body.get("totp_code", ""):
            return 401, {"error": "invalid credentials"}
        if not account.policy:
            return 403, {"error": "policy denies login"}
        token = self.token(body["username"])
        return 200, {"token": token, "expires_at": written(self.tokens[token][1])}

    def validate(self, body: dict[str, Any]) -> tuple[int, object]:
        """The answer to the question whose a token is."""
        user, end = self.tokens.get(body["token"], ("", datetime.min.replace(tzinfo=UTC)))
        if not user or end <= datetime.now(UTC):
            return 200, {"valid": False}
        account = self.accounts[user]
        roles = list(account.roles) or None  # as Go writes an empty list
        return 200, {
            "valid": True,
            "username": user,
            "account_type": account.account_type,
            "roles": roles,
            "expires_at": written(end),
            "jti": "what nobody asked for",
        }


def written(moment: datetime) -> str:
    """A time as Go writes it, with nanoseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "789Z"


LOGIN_KEYS = {"username": str, "password": str, "service_name": str, "tags": list}


def breach(path: str, headers: Any, body: object) -> str:
    """What of a request breaks the contract; empty where nothing does."""
    if headers.get("Content-Type") != "application/json":
        return "content type"
    if not isinstance(body, dict):
        return "no JSON object"
    if "Authorization" in headers:
        return "a header with credentials"
    required = LOGIN_KEYS if path == "/v1/auth/login" else {"token": str}
    allowed = {**required, "totp_code": str} if path == "/v1/auth/login" else required
    if not set(required) <= set(body) <= set(allowed):
        return f"keys {sorted(body)}"
    wrong = [name for name, value in body.items() if not isinstance(value, allowed[name])]
    return f"type of {wrong}" if wrong else ""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    stand_in: MciasStandIn

    def do_POST(self) -> None:
        """Note the request; misbehave or answer it."""
        raw = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        known = {"/v1/auth/login": self.stand_in.login, "/v1/token/validate": self.stand_in.validate}
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        wrong = breach(self.path, self.headers, body) if self.path in known else "path"
        if wrong:
            self.stand_in.refused.append(f"{self.path}: {wrong}")
            self.answer(400 if self.path in known else 404, {"error": wrong})
            return
        self.stand_in.requests.append((self.path, body))
        if self.stand_in.misbehaviour is not None:
            self.stand_in.misbehaviour(self)
        else:
            self.answer(*known[self.path](body))

    def answer(
        self, status: int, body: object, *, media_type: str = "application/json", more: dict[str, str] | None = None
    ) -> None:
        """Send a whole answer; `body` is bytes, or made JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.head(status, {"Content-Type": media_type, "Content-Length": str(len(content)), **(more or {})})
        self.wfile.write(content)

    def head(self, status: int, headers: dict[str, str]) -> None:
        """Send the status line and the headers."""
        self.close_connection = True
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def do_GET(self) -> None:
        """Nothing of the contract is a GET."""
        self.stand_in.refused.append(f"GET {self.path}")
        self.answer(405, {"error": "method"})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up, and handshakes that fail, are what tests are about."""


# --- misbehaviours ---


def replies(
    status: int, body: object, media_type: str = "application/json", more: dict[str, str] | None = None
) -> Misbehaviour:
    """Answer anything with this."""
    return lambda handler: handler.answer(status, body, media_type=media_type, more=more)


def hangs(seconds: float = 30.0) -> Misbehaviour:
    """Take the request and say nothing."""
    return lambda _handler: time.sleep(seconds)


def late(seconds: float, body: object) -> Misbehaviour:
    """Answer correctly, but after a while."""

    def misbehave(handler: Handler) -> None:
        time.sleep(seconds)
        handler.answer(200, body)

    return misbehave


def drips(handler: Handler) -> None:
    """Send a byte now and then, so that no single read ever takes long."""
    handler.head(200, {"Content-Type": "application/json", "Content-Length": "1000"})
    for _ in range(300):
        handler.wfile.write(b" ")
        time.sleep(0.1)


def half_an_answer(handler: Handler) -> None:
    """Announce more than is sent; what is sent would be valid."""
    handler.head(200, {"Content-Type": "application/json", "Content-Length": "500"})
    handler.wfile.write(b'{"valid": false}')


def without_length(handler: Handler) -> None:
    """An answer whose end is only that of the connection."""
    handler.head(200, {"Content-Type": "application/json"})
    handler.wfile.write(b'{"valid": false}')


def chunked(handler: Handler) -> None:
    """A whole answer in two chunks."""
    handler.head(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"})
    handler.wfile.write(b'8\r\n{"valid"\r\n8\r\n: false}\r\n0\r\n\r\n')


def half_the_chunks(handler: Handler) -> None:
    """The same without its end."""
    handler.head(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"})
    handler.wfile.write(b'8\r\n{"valid"\r\n8\r\n: false}\r\n')


def endless(handler: Handler) -> None:
    """Send for ever."""
    handler.head(200, {"Content-Type": "application/json", "Content-Length": str(2**40)})
    while True:
        handler.wfile.write(b" " * 65536)


def endless_headers(handler: Handler) -> None:
    """Send headers for ever."""
    handler.close_connection = True
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(100_000):
        handler.wfile.write(b"X-%d: y\r\n" % number)


def no_http(handler: Handler) -> None:
    """Something that is no HTTP."""
    handler.close_connection = True
    handler.wfile.write(b"220 mail.example.net ESMTP\r\n")


def hangs_up(handler: Handler) -> None:
    """Close without an answer."""
    handler.close_connection = True


@contextmanager
def mcias(
    ca: KeyPair, folder: Path, *, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, names: tuple[str, ...] = ()
) -> Iterator[MciasStandIn]:
    """A stand-in on loopback with a certificate of `ca`; `newest` is the newest TLS that it speaks."""
    pair = make_server_certificate(ca, list(names) or ["localhost", "127.0.0.1"])
    file = folder / f"mcias-{secrets.token_hex(4)}.pem"
    file.write_bytes(pair.key + pair.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.minimum_version = min(newest, ssl.TLSVersion.TLSv1_3)
    context.maximum_version = newest
    stand_in = MciasStandIn()
    server = _Server(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"stand_in": stand_in}))
    # the handshake is the handler's: one that hangs must not keep others out
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    stand_in.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
