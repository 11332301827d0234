"""gRPC client of an agent: channel, TLS, token, and a typed method per RPC.

Every method raises McpError: Unreachable if the agent does not respond, Unauthenticated or Forbidden if it rejects the
token, Malformed for an answer that no agent gives, and the agent's own errors. What is returned has been checked: see
mcp/client/answers.py.
"""

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from mcp.client import dial
from mcp.client.patience import DEFAULT, Patience
from mcp.config.addresses import parse_address
from mcp.config.configuration import Node
from mcp.shared import errors
from mcp.shared.spec import ServiceSpec
from mcp.shared.tls import prepare_grpc
from mcp.shared.version import OLDEST_AGENT, OLDEST_AGENT_HEADER, VERSION, VERSION_HEADER, is_older

prepare_grpc()

import grpc  # noqa: E402 - its environment must be set before
from google.protobuf.message import Message  # noqa: E402

from mcp.client import answers  # noqa: E402
from mcp.client.probe import why_unreachable  # noqa: E402
from mcp.shared.wire import service_to_wire  # noqa: E402
from proto.mcp.v1 import mcp_pb2 as pb  # noqa: E402
from proto.mcp.v1 import mcp_pb2_grpc as pb_grpc  # noqa: E402

if TYPE_CHECKING:
    from mcp.client.logs_query import LogsQuery

T = TypeVar("T", bound=Message)

# It logs a traceback for bytes that are no message; the status of the call is what we report.
logging.getLogger("grpc").addHandler(logging.NullHandler())
logging.getLogger("grpc").propagate = False

# Seconds for calls that pull images and stop containers, up to an hour each. The agent limits every step, and a
# connection that is lost is noticed by keepalive: this is only for a bug.
CHANGE_DEADLINE = 86400.0
MAY_BE_APPLIED = "the change may have been applied: see mcp status"

_EXPECTED: dict[grpc.StatusCode, type[errors.McpError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidInput,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: errors.NotReady,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.PERMISSION_DENIED: errors.Forbidden,
}
# from gRPC itself: the answer is longer than the limit, or its bytes are no message
_MALFORMED = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL)
_NO_RESPONSE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)


class AgentClient(AbstractContextManager["AgentClient"]):
    """A connection to the agent of one node."""

    advice: Callable[[], str] | None = None  # returns the hint for an error about the token, instead of `login_hint`

    def __init__(
        self,
        node: Node,
        ca: bytes,
        token: str,
        login_hint: str = "get a valid token",
        patience: Patience = DEFAULT,
    ) -> None:
        """Prepare a connection, which the first call makes.

        Args:
            node: The node.
            ca: The authorities that verify the agent's certificate, in PEM.
            token: The bearer token.
            login_hint: The hint for errors about the token.
            patience: The time that the node gets.
        """
        self.node = node
        self._address = parse_address(node.address)
        self._login_hint = login_hint
        self._patience = patience
        self._ca = ca
        self._metadata = (
            ("authorization", f"Bearer {token}"),
            (VERSION_HEADER, VERSION),
            (OLDEST_AGENT_HEADER, OLDEST_AGENT),
        )
        self._closed = threading.Event()
        self._connecting = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._rpcs: Any = None

    @property
    def _stub(self) -> Any:
        """The stub; its first use looks up the address. Raises Unreachable."""
        with self._connecting:
            if self._channel is None:
                self._channel = self._open()
                self._rpcs = pb_grpc.McpAgentServiceStub(self._channel)
        return self._rpcs

    def _open(self) -> grpc.Channel:
        """Return a channel to the only endpoint of the address, or to the one of several that answers."""
        address, seconds = self._address, self._patience.connect
        try:
            endpoint, *others = endpoints = dial.resolve(address, seconds, self._closed)
            if others:
                endpoint, connection = dial.connect(address, endpoints, seconds, self._closed)
                connection.close()
        except errors.Unreachable as error:
            raise errors.Unreachable(error.what, error.hint, node=self.node.name) from None
        self._where = dial.located(address, endpoint)
        milliseconds = int(1000 * seconds)
        options = [
            ("grpc.max_receive_message_length", answers.MESSAGE_LIMIT),
            # timeout of a connection attempt, and delay before the next one
            ("grpc.min_reconnect_backoff_ms", milliseconds),
            ("grpc.initial_reconnect_backoff_ms", milliseconds),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.enable_http_proxy", 0),
            ("grpc.primary_user_agent", f"mcp/{VERSION}"),
            # the name that the certificate must have, since the target is an IP
            ("grpc.ssl_target_name_override", address.host),
            ("grpc.default_authority", address.host),
        ]
        return grpc.secure_channel(endpoint.target, grpc.ssl_channel_credentials(self._ca), options)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection; calls in progress in other threads fail."""
        self._closed.set()
        with self._connecting:
            if self._channel is not None:
                self._channel.close()

    def deploy(self, service: ServiceSpec, component: str, *, force: bool, prune: bool = False) -> pb.DeployResponse:
        """Deploy a service, or one component of it."""
        request = pb.DeployRequest(service=service_to_wire(service), component=component, force=force, prune=prune)
        return self._call(pb.DeployResponse, self._stub.Deploy, request, CHANGE_DEADLINE)

    def deploy_stream(
        self, service: ServiceSpec, component: str, *, force: bool, prune: bool = False
    ) -> Iterator[pb.DeployEvent]:
        """Deploy like `deploy`; yield each step as it begins and ends, and finally the response."""
        request = pb.DeployRequest(service=service_to_wire(service), component=component, force=force, prune=prune)
        return self._stream(
            lambda: self._stub.DeployStream(request, metadata=self._metadata, timeout=CHANGE_DEADLINE),
            answers.Steps(),
            MAY_BE_APPLIED,
        )

    def rollback(
        self, service: str, number: int, defined: ServiceSpec | None, *, prune: bool, dry_run: bool
    ) -> Iterator[pb.DeployEvent]:
        """Return to a deploy of a service (0: the agent chooses); yield the choice, then events as of a deploy.

        The choice tells if `defined`, the service's definition on this machine, differs. A `dry_run` ends after it.
        """
        request = pb.RollbackRequest(service=service, number=number, prune=prune, dry_run=dry_run)
        if defined is not None:
            request.defined.CopyFrom(service_to_wire(defined))
        hint = "" if dry_run else MAY_BE_APPLIED
        return self._stream(
            lambda: self._stub.Rollback(request, metadata=self._metadata, timeout=CHANGE_DEADLINE),
            answers.Steps(chooses=True),
            hint,
        )

    def plan(
        self,
        services: Iterable[ServiceSpec],
        *,
        partial: bool,
        component: str = "",
        force: bool = False,
        prune: bool = False,
        leave: Iterable[str] = (),
    ) -> pb.PlanResponse:
        """Return the changes that `sync` would make, or `deploy` with the same `component` and `force`."""
        request = pb.PlanRequest(
            services=[service_to_wire(service) for service in services],
            partial=partial,
            component=component,
            force=force,
            prune=prune,
            leave=leave,
        )
        answer = self._call(pb.PlanResponse, self._stub.Plan, request, self._patience.query)
        if partial:
            self._check(answers.asked((change.service for change in answer.changes), _names(request.services)))
        return answer

    def sync(
        self, services: Iterable[ServiceSpec], *, partial: bool, prune: bool = False, leave: Iterable[str] = ()
    ) -> pb.SyncDesiredStateResponse:
        """Reconcile the node with definitions; `partial`: other definitions of the node exist."""
        wanted = [service_to_wire(service) for service in services]
        request = pb.SyncDesiredStateRequest(services=wanted, partial=partial, prune=prune, leave=leave)
        answer = self._call(pb.SyncDesiredStateResponse, self._stub.SyncDesiredState, request, CHANGE_DEADLINE)
        if partial:
            self._check(answers.asked(_names(answer.results), _names(request.services)))
        return answer

    def history(self, service: str, limit: int = 0, *, number: int = 0) -> pb.HistoryResponse:
        """Return the deploys of a service, newest first; `limit` 0 is all.

        With a `number` only that deploy, of any service if that is empty; older agents ignore the number.
        """
        request = pb.HistoryRequest(service=service, limit=limit, number=number)
        answer = self._call(pb.HistoryResponse, self._stub.History, request, self._patience.query)
        self._check(answers.history(answer, service, number))
        return answer

    def lifecycle(
        self, operation: str, service: str, component: str = "", *, volumes: bool = False
    ) -> Iterator[pb.DeployEvent]:
        """Stop, start, restart or undeploy a service or one component; yield events as `deploy_stream` does."""
        request = pb.LifecycleRequest(operation=operation, name=service, component=component, volumes=volumes)
        return self._stream(
            lambda: self._stub.LifecycleStream(request, metadata=self._metadata, timeout=CHANGE_DEADLINE),
            answers.Steps(),
            MAY_BE_APPLIED,
        )

    def purge(self, service: str, component: str, *, dry_run: bool, defined: Iterable[str]) -> pb.PurgeResponse:
        """Remove registry entries that are not `defined` (SERVICE/COMPONENT) and have no running container."""
        request = pb.PurgeRequest(service=service, component=component, dry_run=dry_run, defined=defined)
        answer = self._call(pb.PurgeResponse, self._stub.PurgeComponent, request, CHANGE_DEADLINE)
        self._check(answers.purged(answer, service, component))
        return answer

    def adopt(self, service: str, *, every: bool, dry_run: bool) -> pb.AdoptContainersResponse:
        """Register the unmanaged containers of a service, or with `every` all of them, without a restart."""
        request = pb.AdoptContainersRequest(service=service, all=every, dry_run=dry_run)
        answer = self._call(pb.AdoptContainersResponse, self._stub.AdoptContainers, request, CHANGE_DEADLINE)
        self._check(answers.adopted(answer, service))
        return answer

    def recover(self, *, dry_run: bool) -> pb.RecoverResponse:
        """Start the components that should run on the node and do not."""
        return self._call(pb.RecoverResponse, self._stub.Recover, pb.RecoverRequest(dry_run=dry_run), CHANGE_DEADLINE)

    def live_check(self) -> pb.LiveCheckResponse:
        """Return every component of the node with its current state in podman."""
        return self._call(pb.LiveCheckResponse, self._stub.LiveCheck, pb.LiveCheckRequest(), self._patience.query)

    def node_status(self, *, images: bool = False) -> pb.NodeStatusResponse:
        """Return versions, resources and certificate of the node, and with `images` those that nothing refers to."""
        request = pb.NodeStatusRequest(images=images)
        answer = self._call(pb.NodeStatusResponse, self._stub.NodeStatus, request, self._patience.query)
        self._check(answers.node(answer))
        return answer

    def who_am_i(self) -> pb.WhoAmIResponse:
        """Return the account of the token."""
        return self._call(pb.WhoAmIResponse, self._stub.WhoAmI, pb.WhoAmIRequest(), self._patience.query)

    def list_services(self, seconds: float | None = None, *, with_env: bool = False) -> pb.ListServicesResponse:
        """Return the services registered on the node, without a call to podman; wait for at most `seconds`.

        `with_env` asks for the values of variables, too.
        """
        deadline = self._patience.query if seconds is None else min(seconds, self._patience.query)
        request = pb.ListServicesRequest(with_env=with_env)
        answer = self._call(pb.ListServicesResponse, self._stub.ListServices, request, deadline)
        self._check(answers.registered(answer))
        return answer

    def status(self, service: str) -> pb.GetServiceStatusResponse:
        """Return the current state of a service (empty: all) in podman, its drift and last events."""
        request = pb.GetServiceStatusRequest(name=service)
        answer = self._call(pb.GetServiceStatusResponse, self._stub.GetServiceStatus, request, self._patience.query)
        self._check(answers.status(answer, service))
        return answer

    def events(self, service: str, *, after: int = 0, tail: int = 0, follow: bool = False) -> Iterator[pb.EventInfo]:
        """Yield events numbered above `after`; of past events only the last `tail` (0: all, negative: none)."""
        request = pb.EventsRequest(service=service, after=after, tail=tail, follow=follow)
        deadline = None if follow else self._patience.query
        return self._stream(
            lambda: self._stub.Events(request, metadata=self._metadata, timeout=deadline),
            answers.Events(service, after=after, tail=tail, follow=follow),
        )

    def logs(self, query: "LogsQuery", cursors: Iterable[pb.LogCursor] = ()) -> Generator[pb.LogsResponse]:
        """Yield blocks of logs, from the `cursors` of a broken call on; closing the iterator cancels the call."""
        single = query.targets[0] if len(query.targets) == 1 else ("", "")
        request = pb.LogsRequest(
            service=single[0],
            component=single[1],
            tail=query.tail,
            follow=query.follow,
            timestamps=query.timestamps,
            since=query.since,
            until=query.until,
            targets=[
                pb.LogsTarget(service=target[0], component=target[1]) for target in query.targets if target != single
            ],
            all=query.every,
            grep=query.grep,
            exclude=query.exclude,
            ignore_case=query.ignore_case,
            previous=query.previous,
            runs=True,
            cursors=cursors,
        )
        return self._stream(lambda: self._stub.Logs(request, metadata=self._metadata), answers.LogBlocks())

    def push_chunks(self, chunks: Iterator[pb.FileChunk]) -> pb.PushFileStreamResponse:
        """Write a file of any size; an exception of `chunks` cancels the call and is raised here."""
        failed: list[Exception] = []

        def watched() -> Iterator[pb.FileChunk]:
            try:
                yield from chunks
            except Exception as error:  # noqa: BLE001 - gRPC, which runs this in a thread, would only log it
                failed.append(error)

        began = time.monotonic()
        call = self._stub.PushFileStream.future(watched(), metadata=self._metadata)
        try:
            answer: pb.PushFileStreamResponse = call.result()
        except grpc.RpcError as error:
            raise failed[0] if failed else self._explain(error, began, MAY_BE_APPLIED) from None
        finally:
            call.cancel()
        with self._naming():
            answers.check(answer, pb.PushFileStreamResponse)
        self._check(answers.pushed(answer))
        return answer

    def pull_chunks(self, request: pb.PullFileRequest) -> Iterator[pb.FileChunk]:
        """Read a file of any size; closing the iterator cancels the call."""
        file = answers.PulledFile(request.service, request.path)
        return self._stream(lambda: self._stub.PullFileStream(request, metadata=self._metadata), file)

    def _stream(self, start: Callable[[], Any], checked: answers.Stream, hint: str = "") -> Generator[Any]:
        """Start a streaming call and yield its responses; closing the iterator cancels the call."""
        began = time.monotonic()
        call = start()
        try:
            for message in call:
                with self._naming():
                    checked.take(message)
                yield message
            with self._naming():
                checked.end()
        except grpc.RpcError as error:
            raise self._explain(error, began, hint) from None
        finally:
            call.cancel()

    def _call(self, kind: type[T], method: Any, request: Any, deadline: float) -> T:
        began = time.monotonic()
        try:
            answer: T = method(request, metadata=self._metadata, timeout=deadline)
        except grpc.RpcError as error:
            raise self._explain(error, began, MAY_BE_APPLIED if deadline == CHANGE_DEADLINE else "") from None
        with self._naming():
            answers.check(answer, kind)
        return answer

    def _check(self, problems: Iterator[str]) -> None:
        """Raise Malformed for the first problem of an answer, and its request."""
        with self._naming():
            answers.refuse(problems)

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Add the node to the error of an answer."""
        try:
            yield
        except answers.Malformed as error:
            raise answers.Malformed(error.what, error.hint, node=self.node.name) from None

    def _explain(self, error: Any, began: float, hint: str = "") -> errors.McpError:
        """Convert a failed call, `began` at that monotonic time, to a typed error; `hint` is for a lost connection."""
        code, what, name = error.code(), error.details() or error.code().name, self.node.name
        trailing = dict(error.trailing_metadata() or ())
        version = trailing.get(VERSION_HEADER)  # absent if the error comes from gRPC and not from the agent
        if version and (is_older(version, OLDEST_AGENT) or code is grpc.StatusCode.UNIMPLEMENTED):
            what = f"the agent on {name} ({version}) is too old for mcp {VERSION}"
            return errors.NotReady(what, f"upgrade it with `mcp agent upgrade {name}`")
        if code is grpc.StatusCode.UNAUTHENTICATED:
            hint = self.advice() if self.advice is not None else self._login_hint
            return errors.Unauthenticated(what, hint, node=name)
        if code in _MALFORMED and not version:
            return answers.Malformed(f"malformed answer: {what}", node=name)
        if code in _NO_RESPONSE and not version:
            return self._no_response(code, began, what, hint)
        agents_hint = trailing.get(errors.HINT_HEADER, b"").decode(errors="replace")
        return _EXPECTED.get(code, errors.McpError)(what, agents_hint, node=name)

    def _no_response(self, code: grpc.StatusCode, began: float, details: str, hint: str) -> errors.Unreachable:
        """Return the error for a call without a response; connect once more to diagnose a failed connection."""
        name, address = self.node.name, self.node.address
        connected = code is grpc.StatusCode.CANCELLED or had_connection(self._channel)
        if connected and code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.Unreachable(f"{address} did not respond in time", node=name)
        if connected:
            return errors.Unreachable(f"connection to {address} lost before a response", hint, node=name)
        left = self._patience.connect - (time.monotonic() - began)
        if left <= 0 or code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.Unreachable(*dial.explained(self._where, None), node=name)
        what, hint = why_unreachable(self._address, self._ca, left, self._closed) or (
            f"{address} does not respond: {details}",
            "",
        )
        return errors.Unreachable(what, hint, node=name)


def _names(messages: Iterable[Any]) -> list[str]:
    return [message.name for message in messages]


def had_connection(channel: Any) -> bool:
    """Return True if a call that just failed with UNAVAILABLE had a connection, which was lost.

    gRPC's status is the same if no connection was made. But a channel that loses its connection is IDLE, and one that
    cannot connect is in TRANSIENT_FAILURE, or CONNECTING again:
    https://github.com/grpc/grpc/blob/master/doc/connectivity-semantics-and-api.md (measured with grpcio 1.85).
    grpc.aio has get_state(); the public method here is subscribe(), which leaves a thread that delays close() by 0.2 s
    and may print a traceback once the channel is closed.
    """
    state = channel._channel.check_connectivity_state(False)
    return state in (grpc.ChannelConnectivity.IDLE.value[0], grpc.ChannelConnectivity.READY.value[0])
