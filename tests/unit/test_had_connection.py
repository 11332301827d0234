"""A connection that was lost and one that was never made, told apart with the grpc that is installed."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import pytest

from mcp.client.agent import had_connection
from mcp.shared.tls import prepare_grpc

prepare_grpc()

import grpc  # noqa: E402 - its environment must be set before


class HoldingServer:
    """A server whose only call is held; `called` is set once it is there."""

    def __init__(self) -> None:
        """Serve on a free port of loopback."""
        self.called, self._over = threading.Event(), threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(1))
        handler: Any = grpc.unary_unary_rpc_method_handler(self._hold)
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("held", {"Call": handler})])
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _hold(self, _request: bytes, _context: Any) -> bytes:
        self.called.set()
        self._over.wait(60)
        return b""

    def stop(self) -> None:
        """Break off the call, as an agent does whose time to stop is over."""
        self._server.stop(None)
        self._over.set()

    def close(self) -> None:
        """End it."""
        self.stop()


@contextmanager
def channel_to(port: int) -> Iterator[grpc.Channel]:
    options = [("grpc.min_reconnect_backoff_ms", 1000), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        yield channel


def failed(channel: grpc.Channel) -> grpc.StatusCode:
    call: Any = channel.unary_unary("/held/Call")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"", timeout=60)
    code: grpc.StatusCode = caught.value.code()
    return code


def test_a_server_that_goes_had_a_connection() -> None:
    with closing(HoldingServer()) as server, channel_to(server.port) as channel, ThreadPoolExecutor(1) as pool:
        call = pool.submit(failed, channel)
        assert server.called.wait(60)
        server.stop()
        assert call.result() is grpc.StatusCode.UNAVAILABLE
        assert had_connection(channel)


def test_a_connection_that_breaks_was_one() -> None:
    with (
        closing(HoldingServer()) as server,
        socket.create_server(("127.0.0.1", 0)) as between,
        channel_to(between.getsockname()[1]) as channel,
        ThreadPoolExecutor(1) as pool,
    ):
        call = pool.submit(failed, channel)
        client, _ = between.accept()
        with client, socket.create_connection(("127.0.0.1", server.port)) as there:
            for source, target in ((client, there), (there, client)):
                threading.Thread(target=_pump, args=(source, target), daemon=True).start()
            assert server.called.wait(60)
            for end in (client, there):
                end.shutdown(socket.SHUT_RDWR)
        assert call.result() is grpc.StatusCode.UNAVAILABLE
        assert had_connection(channel)


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        return


def test_where_nobody_listens_there_was_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with channel_to(port) as channel:
        assert failed(channel) is grpc.StatusCode.UNAVAILABLE
        assert not had_connection(channel)


def test_a_server_that_says_nothing_is_no_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, channel_to(server.getsockname()[1]) as channel:
        assert failed(channel) is grpc.StatusCode.UNAVAILABLE
        assert not had_connection(channel)


def test_a_server_that_hangs_up_is_no_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, channel_to(server.getsockname()[1]) as channel:
        threading.Thread(target=_hang_up, args=(server,), daemon=True).start()
        assert failed(channel) is grpc.StatusCode.UNAVAILABLE
        assert not had_connection(channel)
        server.shutdown(socket.SHUT_RDWR)


def _hang_up(server: socket.socket) -> None:
    while True:
        try:
            server.accept()[0].close()
        except OSError:
            return
