"""Diagnosis of failed connections to agents, since gRPC's own messages do not name the cause."""

import socket
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mcp.client import dial
from mcp.client.patience import DEFAULT
from mcp.config.addresses import Address
from mcp.shared.errors import Unreachable

if TYPE_CHECKING:
    import ssl

# X509_V_ERR_… of OpenSSL's x509_vfy.h
_NOT_YET_VALID, _EXPIRED = 9, 10
_MISMATCHES = (62, 64)  # of a host name, of an IP
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")  # SSL_R_… of its sslerr.h, in Python's spelling


def why_unreachable(
    address: Address, ca: bytes | None, seconds: float, cancelled: threading.Event
) -> tuple[str, str] | None:
    """Connect once more and return the cause and a hint; None if the connection now succeeds."""
    import ssl  # slow to import

    where = f"{address.host}:{address.port}"
    try:
        endpoint, connection = _connected(address, seconds, cancelled)
        where = dial.located(address, endpoint)
        with connection, _secured(connection, address, ca):
            return None
    except Unreachable as error:
        return error.what, error.hint
    except ssl.SSLCertVerificationError as error:
        return f"{where} presented an untrusted certificate: {error.verify_message.rstrip('.')}", _advice(error)
    except ssl.SSLError as error:
        if error.reason in _NOT_TLS:
            return f"{where} does not speak TLS, so it is not an mcp-agent", dial.CHECK_ADDRESS
        return f"{where}: the TLS 1.3 handshake failed: {error.reason or error}", ""
    except (ConnectionResetError, BrokenPipeError):
        return f"{where} closed the connection during the TLS handshake", "check that mcp-agent listens there"
    except OSError as error:
        return dial.explained(where, error)


def certificate_end(address: Address, ca: bytes | None) -> datetime | None:
    """Return the expiry of the certificate at an address; None if it is not trusted or there is no response."""
    import ssl

    try:
        with _connected(address, DEFAULT.connect)[1] as connection, _secured(connection, address, ca) as secured:
            shown = secured.getpeercert() or {}
            return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(shown["notAfter"])), UTC)
    except (Unreachable, OSError):  # includes ssl.SSLError
        return None


def _connected(
    address: Address, seconds: float, cancelled: threading.Event = dial.NEVER
) -> tuple[dial.Endpoint, socket.socket]:
    """Return the endpoint that answers, and the connection to it, whose operations then have the same timeout."""
    endpoint, connection = dial.connect(address, dial.resolve(address, seconds, cancelled), seconds, cancelled)
    connection.settimeout(seconds)
    return endpoint, connection


def _secured(connection: socket.socket, address: Address, ca: bytes | None) -> "ssl.SSLSocket":
    """Return the connection after the TLS handshake."""
    import ssl

    context = ssl.create_default_context(cadata=ca.decode("ascii", "replace") if ca else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(connection, server_hostname=address.host)


def _advice(error: "ssl.SSLCertVerificationError") -> str:
    if error.verify_code == _EXPIRED:
        return "renew it, unless a clock is wrong: compare `date` there and here"
    if error.verify_code == _NOT_YET_VALID:
        return "a clock is wrong: compare `date` there and here"
    if error.verify_code in _MISMATCHES:
        return "the address in mcp.toml must be one of the certificate's names"
    return "check ca_cert in mcp.toml"
