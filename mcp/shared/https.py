"""Requests to the platform's HTTPS services: TLS 1.3 only, host name verified, no redirects, size and time limits.

The timeout covers the whole exchange, so that a slow server cannot extend it. Calls block; the agent makes them in
threads.
"""

import http.client
import io
import json
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mcp.shared.errors import EXIT_UNREACHABLE, InvalidInput, Unavailable
from mcp.shared.files import Trust, Unusable, read_file
from mcp.shared.times import in_seconds
from mcp.shared.url import Endpoint
from mcp.shared.version import VERSION

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BODY_LIMIT = 64 * 1024  # bytes of a response body
TIMEOUT = 5.0  # seconds from connecting to the last byte of the response


class OutOfReach(Unavailable):
    """A service that refuses connections, or closes one before its response is complete."""

    exit_code = EXIT_UNREACHABLE


@dataclass(frozen=True)
class HttpAnswer:
    """A response; `media_type` is in lower case and without parameters."""

    status: int
    media_type: str
    body: bytes


class HttpsService:
    """A client of one HTTPS service; opens a connection per request."""

    def __init__(self, name: str, endpoint: Endpoint, ca_cert: Path | None, timeout: float = TIMEOUT) -> None:
        """Take `name` for errors and `ca_cert` in PEM (None: the system's authorities); raises InvalidInput."""
        self.where = f"{name} at {endpoint}"
        self._endpoint = endpoint
        self._timeout = timeout
        self._context = _context(ca_cert)

    def post(self, path: str, content: object) -> HttpAnswer:
        """Send `content` as JSON; raises OutOfReach, whose message never contains `content`."""
        deadline = time.monotonic() + self._timeout
        try:
            return self._exchange(path, json.dumps(content).encode(), deadline)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise OutOfReach(*self._explain(error)) from None

    def _exchange(self, path: str, body: bytes, deadline: float) -> HttpAnswer:
        address = (self._endpoint.host, self._endpoint.port)
        with (
            socket.create_connection(address, _left(deadline)) as plain,
            self._context.wrap_socket(plain, server_hostname=address[0]) as secure,
        ):
            connection = http.client.HTTPConnection(*address)
            connection.auto_open = 0
            connection.sock = _Wire(secure, deadline)
            headers = {
                "Content-Type": "application/json",
                "Accept": "application/json",
                "User-Agent": f"mcp/{VERSION}",
                "Connection": "close",
            }
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            if response.length is None and not response.chunked:
                raise _NoLengthError  # the end of the connection would be the end of the response: it can be forged
            content = response.read(BODY_LIMIT + 1)
            if len(content) > BODY_LIMIT:
                raise _TooLargeError
            if response.length:  # bytes announced but not received
                raise http.client.IncompleteRead(b"")
            return HttpAnswer(response.status, response.headers.get_content_type(), content)

    def _explain(self, error: Exception) -> tuple[str, str]:  # noqa: C901, PLR0911 - a flat list of answers
        """Return the cause and the hint for an error."""
        match error:
            case socket.gaierror():
                return f"{self.where}: unknown host name ({error.strerror})", "check server_url"
            case UnicodeError():  # a name with a part that is empty or longer than 63 characters
                return f"{self.where}: invalid host name", "check server_url"
            case TimeoutError():
                return f"{self.where} did not respond within {in_seconds(self._timeout)} s", "try again"
            case ConnectionRefusedError():
                return f"{self.where} refuses the connection", "check server_url, and that it runs there"
            case ssl.SSLCertVerificationError():
                return f"{self.where} presented an untrusted certificate: {error.verify_message}", "check ca_cert"
            case http.client.RemoteDisconnected():
                return f"{self.where} closed the connection without a response", "try again"
            case ssl.SSLEOFError() | ConnectionResetError() | BrokenPipeError() | http.client.IncompleteRead():
                return f"{self.where} closed the connection before the response was complete", "try again"
            case ssl.SSLError():
                return f"{self.where}: TLS 1.3 failed: {error.reason or 'unknown reason'}", "check server_url"
            case _TooLargeError():
                return f"{self.where} sent a response of more than {BODY_LIMIT} bytes", "check server_url"
            case _NoLengthError():
                return f"{self.where} sent a response without a length", "check server_url"
            case http.client.HTTPException():
                return f"{self.where} sent an invalid HTTP response ({type(error).__name__})", "check server_url"
        return f"{self.where}: {getattr(error, 'strerror', None) or type(error).__name__}", "check server_url"


class _TooLargeError(http.client.HTTPException):
    pass


class _NoLengthError(http.client.HTTPException):
    pass


class _Wire:
    """The part of a socket that http.client needs; the opener of the socket closes it."""

    def __init__(self, connection: ssl.SSLSocket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._connection.settimeout(_left(self._deadline))
        self._connection.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_BoundedReader(self._connection, self._deadline))

    def close(self) -> None:
        """Do nothing: http.client closes the socket before it reads."""


class _BoundedReader(io.RawIOBase):
    """A reader of a connection that ends at the deadline of the whole exchange."""

    def __init__(self, connection: ssl.SSLSocket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        self._connection.settimeout(_left(self._deadline))
        return self._connection.recv_into(buffer)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _context(ca_cert: Path | None) -> ssl.SSLContext:
    try:
        pem = read_file(ca_cert, Trust.OWN) if ca_cert else None
        context = ssl.create_default_context(cadata=pem.decode("ascii", "replace") if pem is not None else None)
    except (ssl.SSLError, ValueError):
        raise InvalidInput(f"ca_cert: {ca_cert} contains no PEM certificate") from None
    except Unusable as error:
        raise InvalidInput(f"ca_cert: {error.what}", error.hint) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
