"""An agent that has been taken over: a gRPC server with a valid certificate that answers anything."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from agent.admin.pki import KeyPair, make_server_certificate
from tests.component.test_fuzz import NASTY, NUMBERS
from tests.component.wire import METHODS, SERVICE

import grpc  # isort: skip - wire has set its environment

# what gets past a first check, so that deeper ones are met
GOOD = ("shop", "web", "api", "running", "stopped", "x", "done", "localhost/web:1.0", "2026-11-22T10:19:26.532885487Z ")
TEXT = st.sampled_from(GOOD) | st.sampled_from(NASTY) | st.text(max_size=20)
TIME: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"seconds": st.integers(-(2**40), 2**40), "nanos": st.integers(-5, 2 * 10**9)}
)

NAMES = st.sampled_from(("shop", "api", "web", "running"))
FIT: dict[str, st.SearchStrategy[Any]] = {  # what most values of these fields are
    **dict.fromkeys(("name", "service", "component", "kept"), NAMES),
    "sha256": st.just("0" * 64),
    "watermark": st.sampled_from(("2026-11-22T10:19:26.532885487Z", "9999-12-31T23:59:59.999999999Z")),
    "dropped": st.sampled_from(("", "kept")),
    "account_type": st.just("human"),
    "cpu_usage_percent": st.floats(0, 100),
}

Answers = Callable[[], Iterable[Message | bytes]]


def answers(method: str) -> st.SearchStrategy[list[Message]]:
    """Any answer of an RPC: one message, or several of a stream."""
    descriptor = METHODS[method]
    message = messages(descriptor.output_type).map(lambda fields: GetMessageClass(descriptor.output_type)(**fields))
    return st.lists(message, max_size=4) if descriptor.server_streaming else st.lists(message, min_size=1, max_size=1)


def messages(descriptor: Descriptor) -> st.SearchStrategy[dict[str, Any]]:
    """Any content of a message, as the arguments of its constructor."""
    if descriptor.full_name == "google.protobuf.Timestamp":
        return st.fixed_dictionaries({"seconds": st.integers(0, 2**32)}) | TIME
    return st.fixed_dictionaries({}, optional={each.name: _field(each) for each in descriptor.fields})


def _field(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    value: st.SearchStrategy[Any]
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        assert field.message_type is not None
        if field.message_type.GetOptions().map_entry:
            return st.dictionaries(TEXT, TEXT, max_size=2)
        value = messages(field.message_type)
    elif field.type == FieldDescriptor.TYPE_BYTES:
        value = st.binary(max_size=40) | st.sampled_from([b"2026-11-22T10:19:26.532885487Z hello\n", b"\n"])
    else:
        value = NUMBERS.get(field.cpp_type, TEXT)
        value = st.integers(0, 40) | value if field.cpp_type in _INTEGERS else value
    fit = FIT.get(field.name, value)
    value = st.one_of(fit, fit, fit, fit, value)
    return st.lists(value, max_size=3) if field.is_repeated else value


_INTEGERS = (
    *(FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64),
    *(FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64),
)


@dataclass
class HostileAgent:
    """A server that answers each method as `answers` has it, and refuses others; `served` counts the messages."""

    address: str
    answers: dict[str, Answers] = field(default_factory=dict)
    served: int = 0

    def say(self, **messages: Iterable[Message | bytes]) -> None:
        """Answer the named methods with these messages from now on, and no other."""
        self.answers = {method: (lambda said=said: said) for method, said in messages.items()}  # type: ignore[misc]


class _Handler(grpc.GenericRpcHandler):
    def __init__(self) -> None:
        self.agent = HostileAgent("")

    def service(self, call: Any) -> Any:
        method = call.method.rpartition("/")[2]

        def behaviour(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
            if not METHODS[method].client_streaming:
                next(requests)
            if method not in self.agent.answers:
                context.abort(grpc.StatusCode.NOT_FOUND, "nothing here")
            for message in self.agent.answers[method]():
                self.agent.served += 1
                yield message if isinstance(message, bytes) else message.SerializeToString()

        return (
            grpc.stream_stream_rpc_method_handler(behaviour)
            if call.method.startswith(f"/{SERVICE.full_name}/")
            else None
        )


@contextmanager
def hostile_agent(ca: KeyPair, **options: Any) -> Iterator[HostileAgent]:
    """Run one on loopback; `options` are those of grpc.server."""
    pair = make_server_certificate(ca, ["localhost", "127.0.0.1"])
    handler = _Handler()
    server = grpc.server(ThreadPoolExecutor(16), handlers=[handler], **options)
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pair.key, pair.certificate)]))
    server.start()
    handler.agent.address = f"127.0.0.1:{port}"
    try:
        yield handler.agent
    finally:
        server.stop(None).wait()


def said(strategies: Mapping[str, list[Message]]) -> dict[str, Answers]:
    """Return the answers of a HostileAgent for these messages by method."""
    return {method: (lambda found=found: found) for method, found in strategies.items()}  # type: ignore[misc]
