"""A connection that has come of age: later calls get another one, and nothing is lost."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agent.daemon import server
from mcp.shared.tls import prepare_grpc
from tests.waiting import wait_for

prepare_grpc()

import grpc  # noqa: E402 - its environment must be set before


def test_calls_in_progress_go_on_and_none_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTION_AGE", 100)
    last = threading.Event()
    peers: set[str] = set()

    def follow(_request: bytes, _context: Any) -> Iterator[bytes]:
        yield b"first"
        assert last.wait(60)
        yield b"last"

    def status(_request: bytes, context: Any) -> bytes:
        peers.add(context.peer())
        return b""

    handlers: dict[str, Any] = {
        "follow": grpc.unary_stream_rpc_method_handler(follow),
        "status": grpc.unary_unary_rpc_method_handler(status),
    }
    serving = grpc.server(ThreadPoolExecutor(4), options=server._options(64))
    serving.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = serving.add_insecure_port("127.0.0.1:0")
    serving.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            following: Any = channel.unary_stream("/test/follow")(b"")  # type: ignore[arg-type, unused-ignore]
            assert next(following) == b"first"
            ask: Any = channel.unary_unary("/test/status")

            def has_come_of_age() -> bool:
                ask(b"", timeout=60)
                return len(peers) > 3

            wait_for(has_come_of_age)
            last.set()
            assert list(following) == [b"last"]
    finally:
        serving.stop(None)
