"""Calls to an agent without the CLI: any RPC, any token, any bytes."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from mcp.shared.errors import HINT_HEADER
from mcp.shared.tls import prepare_grpc
from proto.mcp.v1 import mcp_pb2 as pb
from tests.agents import Agent

prepare_grpc()

import grpc  # noqa: E402 - its environment must be set before

from agent.rpc.servicer import Servicer  # noqa: E402

SERVICE = pb.DESCRIPTOR.services_by_name["McpAgentService"]
METHODS: dict[str, MethodDescriptor] = {method.name: method for method in SERVICE.methods}
IMPLEMENTED = frozenset(name for name in METHODS if name in vars(Servicer))
UNIMPLEMENTED = frozenset(METHODS) - IMPLEMENTED
DEADLINE = 300  # seconds; of a call that has been answered after 30 s on a busy machine

Metadata = tuple[tuple[str, str | bytes], ...]


def request_for(method: str, **fields: Any) -> Message:
    """A request message of an RPC."""
    return GetMessageClass(METHODS[method].input_type)(**fields)


def bearer(token: str) -> Metadata:
    """The metadata that carries a token."""
    return (("authorization", f"Bearer {token}"),)


@dataclass(frozen=True)
class Answer:
    """What became of a call; `responses` are the messages that came before its end."""

    code: grpc.StatusCode
    details: str
    hint: str
    responses: tuple[Any, ...]
    request_id: str


class Wire:
    """A channel to one agent."""

    def __init__(self, channel: grpc.Channel, token: str) -> None:
        """`token` is sent where a call says nothing else."""
        self._channel = channel
        self._token = token

    def call(self, method: str, request: Message | bytes | None = None, metadata: Metadata | None = None) -> Answer:
        """Make one call, whatever it is, and wait for its end."""
        descriptor = METHODS[method]
        message = request_for(method) if request is None else request
        data = message if isinstance(message, bytes) else message.SerializeToString()
        kind: Any = getattr(
            self._channel, f"{_arity(descriptor.client_streaming)}_{_arity(descriptor.server_streaming)}"
        )
        response = GetMessageClass(descriptor.output_type)
        stub: Any = kind(f"/{SERVICE.full_name}/{method}", response_deserializer=response.FromString)
        sent = bearer(self._token) if metadata is None else metadata
        sent_data = iter([data]) if descriptor.client_streaming else data
        try:
            if descriptor.server_streaming:
                call = stub(sent_data, metadata=sent, timeout=DEADLINE)
                responses = tuple(call)
            else:
                answer, call = stub.with_call(sent_data, metadata=sent, timeout=DEADLINE)
                responses = (answer,)
        except grpc.RpcError as error:
            return _answer(error, ())
        return _answer(call, responses)

    def push(self, chunks: Iterable[pb.FileChunk]) -> Answer:
        """PushFileStream with exactly these chunks."""
        try:
            answer, call = self._push_stub.with_call(iter(chunks), metadata=bearer(self._token), timeout=DEADLINE)
        except grpc.RpcError as error:
            return _answer(error, ())
        return _answer(call, (answer,))

    def push_later(self, chunks: Iterator[pb.FileChunk]) -> Any:
        """PushFileStream with these chunks as they come, as a future."""
        return self._push_stub.future(chunks, metadata=bearer(self._token), timeout=120)

    @property
    def _push_stub(self) -> Any:
        return self._channel.stream_unary(
            f"/{SERVICE.full_name}/PushFileStream",
            request_serializer=pb.FileChunk.SerializeToString,
            response_deserializer=pb.PushFileStreamResponse.FromString,
        )


def _arity(streaming: bool) -> str:
    return "stream" if streaming else "unary"


def _answer(call: Any, responses: tuple[Any, ...]) -> Answer:
    trailing = dict(call.trailing_metadata() or ())
    hint = trailing.get(HINT_HEADER, b"").decode()
    return Answer(call.code(), call.details() or "", hint, responses, str(trailing.get("x-request-id", "")))


@contextmanager
def connected(agent: Agent, token: str | None = None) -> Iterator[Wire]:
    """A channel to `agent` with the operator's token, or another one."""
    options = [("grpc.max_metadata_size", 64 * 1024), ("grpc.absolute_max_metadata_size", 64 * 1024)]
    with grpc.secure_channel(agent.address, grpc.ssl_channel_credentials(agent.ca), options) as channel:
        yield Wire(channel, agent.token if token is None else token)
