"""Diagnosis of failed connections to agents, since gRPC's own messages do not name the cause."""

import contextlib
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

CONNECT_TIMEOUT = 5.0  # seconds
# X509_V_ERR_… of OpenSSL's x509_vfy.h
_NOT_YET_VALID, _EXPIRED = 9, 10
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")  # SSL_R_… of its sslerr.h, in Python's spelling


def why_unreachable(address: str, ca: bytes | None) -> tuple[str, str] | None:
    """Connect once more and return the cause and a hint; None if the connection now succeeds."""
    import ssl  # slow to import

    host = _host(address)
    try:
        with _connected(address, ca):
            return None
    except socket.gaierror as error:
        return f"{host}: unknown host name ({error.strerror})", "check the node's address in mcp.toml"
    except TimeoutError:
        return f"{address} does not respond", "check that the node is up and its address in mcp.toml"
    except ConnectionRefusedError:
        return f"{address} refuses the connection", "check that mcp-agent runs there (systemctl status mcp-agent)"
    except ssl.SSLCertVerificationError as error:
        return f"{address} presented an untrusted certificate: {error.verify_message}", _advice(error)
    except ssl.SSLError as error:
        if error.reason in _NOT_TLS:
            return f"{address} does not speak TLS, so it is not an mcp-agent", "check the node's address in mcp.toml"
        return f"{address}: the TLS 1.3 handshake failed: {error.reason or error}", ""
    except (ConnectionResetError, BrokenPipeError):
        return f"{address} closed the connection during the TLS handshake", "check that mcp-agent listens there"
    except OSError as error:
        return f"{address}: {error.strerror or error}", ""


def certificate_end(address: str, ca: bytes | None) -> datetime | None:
    """Return the expiry of the certificate at an address; None if it is not trusted or there is no response."""
    import ssl

    try:
        with _connected(address, ca) as connection:
            shown = connection.getpeercert() or {}
            return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(shown["notAfter"])), UTC)
    except OSError:  # includes ssl.SSLError
        return None


@contextlib.contextmanager
def _connected(address: str, ca: bytes | None) -> "Iterator[ssl.SSLSocket]":
    import ssl

    host, port = _host(address), int(address.rpartition(":")[2])
    context = ssl.create_default_context(cadata=ca.decode("ascii", "replace") if ca else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, port), CONNECT_TIMEOUT) as connection,
        context.wrap_socket(connection, server_hostname=host) as secured,
    ):
        yield secured


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def _advice(error: "ssl.SSLCertVerificationError") -> str:
    if error.verify_code == _EXPIRED:
        return "renew it, unless a clock is wrong: compare `date` there and here"
    if error.verify_code == _NOT_YET_VALID:
        return "a clock is wrong: compare `date` there and here"
    return "check ca_cert in mcp.toml"
