"""Stand-ins for agents that send logs: they speak the wire, and send what a test tells them to, call by call."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from mcp.shared.tls import prepare_grpc
from mcp.shared.version import VERSION, VERSION_HEADER
from proto.mcp.v1 import mcp_pb2 as pb
from tests.agents import Cli, Home, write_cli_config

prepare_grpc()

import grpc  # noqa: E402 - its environment must be set before

from proto.mcp.v1 import mcp_pb2_grpc as pb_grpc  # noqa: E402

OUT, ERR = pb.LOG_STREAM_STDOUT, pb.LOG_STREAM_STDERR
STOP = "the agent is stopping; run the command again when it is back"

Call = Callable[[pb.LogsRequest, Any], Iterator[pb.LogsResponse]]


def stamp(second: float, day: str = "2026-11-22") -> str:
    """A time as the wire has it in front of lines, `second` seconds after 10:00."""
    whole = int(second)
    return f"{day}T10:{whole // 60:02}:{whole % 60:02}.{round((second - whole) * 1e9):09}Z"


def timed(*lines: tuple[float, str]) -> bytes:
    """Lines with their times."""
    return "".join(f"{stamp(second)} {text}\n" for second, text in lines).encode()


def block(
    data: bytes, component: str = "api", *, service: str = "web", stream: Any = OUT, place: str = "", **more: Any
) -> pb.LogsResponse:
    """A block of one source; with `place`, it has a cursor."""
    cursors = [pb.LogCursor(service=service, component=component, place=place)] if place else []
    return pb.LogsResponse(data=data, service=service, component=component, stream=stream, cursors=cursors, **more)


def runs(*parts: tuple[str, Any, bytes], service: str = "web") -> pb.LogsResponse:
    """A block of several sources: (component, stream, data)."""
    sources = list(dict.fromkeys(part[:2] for part in parts))
    return pb.LogsResponse(
        data=b"".join(part[2] for part in parts),
        service=service,
        component=parts[0][0],
        stream=parts[0][1],
        sources=[pb.LogSource(service=service, component=name, stream=stream) for name, stream in sources],
        run_source=[sources.index(part[:2]) for part in parts],
        run_length=[len(part[2]) for part in parts],
    )


def caught_up() -> pb.LogsResponse:
    """All that had been logged has been sent."""
    return pb.LogsResponse(caught_up=True)


def sends(*what: pb.LogsResponse | float | tuple[Any, str]) -> Call:
    """A call that sends blocks; a number is a pause in seconds, (status code, details) ends it with an error."""

    def call(_: pb.LogsRequest, context: Any) -> Iterator[pb.LogsResponse]:
        for each in what:
            if isinstance(each, pb.LogsResponse):
                yield each
            elif isinstance(each, tuple):
                context.set_trailing_metadata(((VERSION_HEADER, VERSION),))
                context.abort(*each)
            else:
                time.sleep(each)

    return call


def together(*nodes: Sequence[pb.LogsResponse | float]) -> list[list[Call]]:
    """A call for each node that sends nothing before all have been asked.

    A client that is slow to connect on a busy machine is not a node that is quiet.
    """
    asked = threading.Barrier(len(nodes))

    def call(
        what: Sequence[pb.LogsResponse | float], request: pb.LogsRequest, context: Any
    ) -> Iterator[pb.LogsResponse]:
        asked.wait(60)
        yield from sends(*what)(request, context)

    return [[partial(call, what)] for what in nodes]


def stays(*what: pb.LogsResponse | float) -> Call:
    """As `sends`, and then nothing happens until the client goes."""

    def call(request: pb.LogsRequest, context: Any) -> Iterator[pb.LogsResponse]:
        yield from sends(*what)(request, context)
        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait(30)

    return call


class LogAgent(pb_grpc.McpAgentServiceServicer):
    """Answers the n-th call of Logs with the n-th of `calls`, the last one for ever."""

    def __init__(self, *calls: Call) -> None:
        """Every other RPC but LiveCheck is unimplemented."""
        self.calls = list(calls)
        self.requests: list[pb.LogsRequest] = []

    def Logs(self, request: pb.LogsRequest, context: Any) -> Iterator[pb.LogsResponse]:
        """Do as told."""
        self.requests.append(request)
        yield from self.calls[min(len(self.requests), len(self.calls)) - 1](request, context)

    def LiveCheck(self, _: pb.LiveCheckRequest, __: Any) -> pb.LiveCheckResponse:
        """The containers of web."""
        components = [pb.ComponentInfo(name="api"), pb.ComponentInfo(name="worker")]
        return pb.LiveCheckResponse(services=[pb.ServiceInfo(name="web", components=components)])


class Served:
    """A LogAgent on a port of its own, which can go and come back."""

    def __init__(self, home: Home, agent: LogAgent, port: int = 0) -> None:
        """Serves with the certificate of `home`."""
        self.agent = agent
        self._pair = ((home.folder / "key.pem").read_bytes(), (home.folder / "cert.pem").read_bytes())
        self.port = port
        self.start()

    def start(self) -> None:
        """Serve (again, on the same port)."""
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        pb_grpc.add_McpAgentServiceServicer_to_server(self.agent, self._server)  # type: ignore[no-untyped-call]
        self.port = self._server.add_secure_port(f"127.0.0.1:{self.port}", grpc.ssl_server_credentials([self._pair]))
        self._server.start()

    def stop(self) -> None:
        """Go, and break off every call."""
        self._server.stop(None).wait()


@contextmanager
def serving(home: Home, agents: Sequence[LogAgent]) -> Iterator[tuple[Cli, list[Served]]]:
    """Agents that serve as rift, rift2, rift3 …, and the CLI configured for them."""
    with ExitStack() as stack:
        served = [Served(home, agent) for agent in agents]
        for each in served:
            stack.callback(each.stop)
        config = write_cli_config(home, *(f"127.0.0.1:{each.port}" for each in served))
        (config.parent / "services").mkdir(exist_ok=True)
        yield Cli(config), served


def define(cli: Cli, name: str, text: str) -> Path:
    """Write a definition."""
    path = cli.config.parent / "services" / f"{name}.toml"
    path.write_text(text)
    return path
