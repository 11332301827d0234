"""One node's agent: channel, TLS, token, and a typed method for each RPC. The only file of the CLI that knows gRPC.

Every method raises McpError: Unreachable where the agent does not answer, Unauthenticated or Forbidden where it
refuses the token, and what the agent itself says otherwise.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from mcp.config import Node
from mcp.shared import errors
from mcp.shared.spec import ServiceSpec
from mcp.shared.tls import prepare_grpc
from mcp.shared.version import VERSION

prepare_grpc()

import grpc  # noqa: E402 - its environment must be set before

from mcp.probe import why_unreachable  # noqa: E402
from mcp.shared.wire import service_to_wire  # noqa: E402
from proto.mcp.v1 import mcp_pb2 as pb  # noqa: E402
from proto.mcp.v1 import mcp_pb2_grpc as pb_grpc  # noqa: E402

if TYPE_CHECKING:
    from mcp.logs import LogsQuery

T = TypeVar("T")

QUERY_DEADLINE = 20.0  # seconds for what only asks; the agent gives podman 15
CHANGE_DEADLINE = 1800.0  # seconds for what pulls images and restarts containers
CONNECT_DEADLINE_MS = 5000

_EXPECTED: dict[grpc.StatusCode, type[errors.McpError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidInput,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: errors.NotReady,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.Forbidden,
}


class Agent(AbstractContextManager["Agent"]):
    """A connection to the agent of one node."""

    def __init__(self, node: Node, ca: bytes | None, token: str) -> None:
        """`ca` verifies the agent's certificate (PEM; None: the system's authorities). Connects when first used."""
        self.node = node
        self._ca = ca
        self._metadata = (("authorization", f"Bearer {token}"),)
        options = [
            ("grpc.max_receive_message_length", -1),
            # the time for one attempt to connect, and the wait before the next one
            ("grpc.min_reconnect_backoff_ms", CONNECT_DEADLINE_MS),
            ("grpc.initial_reconnect_backoff_ms", CONNECT_DEADLINE_MS),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.enable_http_proxy", 0),
            ("grpc.primary_user_agent", f"mcp/{VERSION}"),
        ]
        self._channel = grpc.secure_channel(node.address, grpc.ssl_channel_credentials(ca), options)
        self._stub: Any = pb_grpc.McpAgentServiceStub(self._channel)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._channel.close()

    def deploy(self, service: ServiceSpec, component: str) -> pb.DeployResponse:
        """Deploy a service, or one component of it."""
        request = pb.DeployRequest(service=service_to_wire(service), component=component)
        return self._call(pb.DeployResponse, self._stub.Deploy, request, CHANGE_DEADLINE)

    def undeploy(self, service: str) -> pb.UndeployServiceResponse:
        """Stop and remove a service."""
        return self._call(
            pb.UndeployServiceResponse,
            self._stub.UndeployService,
            pb.UndeployServiceRequest(name=service),
            CHANGE_DEADLINE,
        )

    def stop(self, service: str, component: str) -> pb.StopServiceResponse:
        """Stop a service or one component."""
        request = pb.StopServiceRequest(name=service, component=component)
        return self._call(pb.StopServiceResponse, self._stub.StopService, request, CHANGE_DEADLINE)

    def start(self, service: str, component: str) -> pb.StartServiceResponse:
        """Start a service or one component."""
        request = pb.StartServiceRequest(name=service, component=component)
        return self._call(pb.StartServiceResponse, self._stub.StartService, request, CHANGE_DEADLINE)

    def live_check(self) -> pb.LiveCheckResponse:
        """Every component of the node, as podman sees it now."""
        return self._call(pb.LiveCheckResponse, self._stub.LiveCheck, pb.LiveCheckRequest(), QUERY_DEADLINE)

    def node_status(self) -> pb.NodeStatusResponse:
        """Facts about the node."""
        return self._call(pb.NodeStatusResponse, self._stub.NodeStatus, pb.NodeStatusRequest(), QUERY_DEADLINE)

    def logs(self, query: "LogsQuery") -> Iterator[pb.LogsResponse]:
        """The logs of a service, in blocks; leaving the iterator ends the agent's side."""
        request = pb.LogsRequest(
            service=query.service,
            component=query.component,
            tail=query.tail,
            follow=query.follow,
            timestamps=query.timestamps,
            since=query.since,
        )
        call = self._stub.Logs(request, metadata=self._metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            raise self._explain(error) from None
        finally:
            call.cancel()

    def push_file(self, request: pb.PushFileRequest) -> None:
        """Write a small file in one message, for agents that know nothing else."""
        self._call(pb.PushFileResponse, self._stub.PushFile, request, CHANGE_DEADLINE)

    def pull_file(self, request: pb.PullFileRequest) -> pb.PullFileResponse:
        """Read a small file in one message, from agents that know nothing else."""
        return self._call(pb.PullFileResponse, self._stub.PullFile, request, CHANGE_DEADLINE)

    def push_chunks(self, chunks: Iterator[pb.FileChunk]) -> pb.PushFileStreamResponse:
        """Write a file of any size; an exception of `chunks` ends the call and is raised here."""
        failed: list[Exception] = []

        def watched() -> Iterator[pb.FileChunk]:
            try:
                yield from chunks
            except Exception as error:  # noqa: BLE001 - gRPC, which runs this in a thread, would only log it
                failed.append(error)

        call = self._stub.PushFileStream.future(watched(), metadata=self._metadata)
        try:
            response: pb.PushFileStreamResponse = call.result()
        except grpc.RpcError as error:
            raise failed[0] if failed else self._explain(error) from None
        finally:
            call.cancel()
        return response

    def pull_chunks(self, request: pb.PullFileRequest) -> Iterator[pb.FileChunk]:
        """Read a file of any size; leaving the iterator ends the agent's side."""
        call = self._stub.PullFileStream(request, metadata=self._metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            raise self._explain(error) from None
        finally:
            call.cancel()

    def _call(self, kind: type[T], method: Any, request: Any, deadline: float) -> T:
        try:
            response: T = method(request, metadata=self._metadata, timeout=deadline)
        except grpc.RpcError as error:
            raise self._explain(error) from None
        assert isinstance(response, kind)
        return response

    def _explain(self, error: Any) -> errors.McpError:
        """What a failed call means to the user; a failed connection is looked into."""
        code, details = error.code(), error.details() or ""
        said_by_agent = bool(error.trailing_metadata())
        name = self.node.name
        if code is grpc.StatusCode.UNAUTHENTICATED:
            return errors.Unauthenticated(
                f"{name}: {details}", "get a valid token and put it into the token file or MCP_TOKEN"
            )
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return errors.TooOld(
                f"{name}: {details or 'the agent does not know this call'}", f"upgrade it; this is mcp {VERSION}"
            )
        if code in _EXPECTED:
            return _EXPECTED[code](f"{name}: {details}")
        if code is grpc.StatusCode.UNAVAILABLE and said_by_agent:
            return errors.Unavailable(f"{name}: {details}")
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.Unreachable(f"{name}: {self.node.address} did not answer in time")
        if code is grpc.StatusCode.UNAVAILABLE:
            return errors.Unreachable(f"{name}: {why_unreachable(self.node.address, self._ca) or details}")
        return errors.McpError(f"{name}: {details or code.name}")
