"""Just enough HTTP/2 (RFC 9113, HPACK literals of RFC 7541) to send a gRPC call that no gRPC client would send."""

import socket
import ssl
from contextlib import suppress

from tests.agents import Agent

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, END_HEADERS = 1, 4
FRAME = 16384  # bytes of a frame at most, unless the other side allows more
EMPTY_MESSAGE = b"\0\0\0\0\0"  # gRPC's prefix: not compressed, no bytes


def call(agent: Agent, path: str, authorization: bytes) -> bytes:
    """Make a call with an empty request and this header, and return what came back, undecoded, until it fell silent."""
    return _exchange(agent, opening(path, authorization) + _frame(DATA, END_STREAM, 1, EMPTY_MESSAGE))


def opening(path: str, authorization: bytes) -> bytes:
    """The beginning of a connection with one call, up to its headers."""
    return PREFACE + _frame(SETTINGS, 0, 0, b"") + headers(path, authorization)


def headers(path: str, authorization: bytes, stream: int = 1) -> bytes:
    """The headers of a call, whose message follows."""
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":path", path.encode()),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        (b"authorization", authorization),
    ]
    block = b"".join(b"\0" + _text(key) + _text(value) for key, value in fields)
    return _frame(HEADERS, END_HEADERS, stream, block)


def unfinished(size: int, sent: int, stream: int = 1) -> bytes:
    """The first `sent` bytes of a call's message that says that it has `size`."""
    data = b"\0" + size.to_bytes(4) + bytes(sent)
    return b"".join(_frame(DATA, 0, stream, data[place : place + FRAME]) for place in range(0, len(data), FRAME))


def _text(value: bytes) -> bytes:
    """A string literal without Huffman coding, of at most 126 bytes."""
    assert len(value) < 127
    return bytes((len(value),)) + value


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _exchange(agent: Agent, data: bytes) -> bytes:
    context = ssl.create_default_context(cadata=agent.ca.decode())
    context.set_alpn_protocols(["h2"])
    received = b""
    with (
        socket.create_connection(("127.0.0.1", agent.port), 5) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as connection,
    ):
        connection.sendall(data)
        connection.settimeout(0.3)
        with suppress(TimeoutError, ConnectionError):
            while block := connection.recv(65536):
                received += block
    return received
