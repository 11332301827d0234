"""No request, whatever is in it, comes to INTERNAL or UNKNOWN."""

import sqlite3

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from proto.mcp.v1 import mcp_pb2 as pb
from tests.component.conftest import Rig
from tests.component.fakes import WEB
from tests.component.wire import METHODS, UNIMPLEMENTED, Answer, connected, request_for
from tests.waiting import wait_for

FIELD = FieldDescriptor
NASTY = (
    "",
    "-",
    "--all",
    "..",
    "../x",
    "a b",
    "'",
    '"',
    "a\nb",
    "\0",
    "\x1b[2J",
    "é",
    "\u202e",
    "web",
    "a" * 64,
    "a" * 9000,
)
TEXT = st.sampled_from(NASTY) | st.text(max_size=30)
NUMBERS = {
    FIELD.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FIELD.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FIELD.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FIELD.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    FIELD.CPPTYPE_DOUBLE: st.floats(),
    FIELD.CPPTYPE_FLOAT: st.floats(width=32),
    FIELD.CPPTYPE_ENUM: st.integers(0, 5),
    FIELD.CPPTYPE_BOOL: st.booleans(),
}
ALLOWED = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
}


def messages(descriptor: Descriptor) -> st.SearchStrategy[dict[str, object]]:
    """Any content of a message, as the arguments of its constructor; following would only wait for its deadline."""
    fields = [field for field in descriptor.fields if field.name != "follow"]
    return st.fixed_dictionaries({}, optional={field.name: _field(field) for field in fields})


def _field(field: FieldDescriptor) -> st.SearchStrategy[object]:
    value: st.SearchStrategy[object]
    if field.cpp_type == FIELD.CPPTYPE_MESSAGE:
        assert field.message_type is not None
        value = messages(field.message_type)
    elif field.type == FIELD.TYPE_BYTES:
        value = st.binary(max_size=50)
    else:
        value = NUMBERS.get(field.cpp_type, TEXT)
    return st.lists(value, max_size=3) if field.is_repeated else value


def check(method: str, answer: Answer) -> None:
    """The code is one that means something, and the details are one line of text that fits."""
    assert answer.code in ALLOWED, (method, answer)
    assert answer.details.isprintable()
    assert len(answer.details.encode()) < 2100


def follows(method: str, data: bytes) -> bool:
    """Whether bytes happen to be a message that asks to follow, which would only wait for its deadline."""
    request = request_for(method)
    try:
        request.ParseFromString(data)
    except DecodeError:
        return False
    return bool(getattr(request, "follow", False))


@pytest.mark.parametrize("method", METHODS)
def test_any_request_gets_a_meant_answer(shared: Rig, method: str) -> None:
    with connected(shared.agent) as wire:

        @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(fields=messages(METHODS[method].input_type))
        def run(fields: dict[str, object]) -> None:
            check(method, wire.call(method, request_for(method, **fields)))

        run()


@pytest.mark.parametrize("method", METHODS)
def test_any_bytes_get_a_meant_answer(shared: Rig, method: str) -> None:
    with connected(shared.agent) as wire:

        @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(data=st.binary(max_size=200))
        def run(data: bytes) -> None:
            assume(not follows(method, data))
            answer = wire.call(method, data)
            assert answer.code in ALLOWED, answer

        run()


def test_every_rpc_is_implemented() -> None:
    assert not UNIMPLEMENTED


def a_service(**component: object) -> Message:
    """A request to deploy one component that is sound but for `component`."""
    fields = {"name": "api", "image": WEB, **component}
    return request_for("Deploy", service={"name": "web", "active": True, "components": [fields]})


def since(text: str) -> Message:
    """A request for logs since then."""
    return request_for("Logs", service="web", since=text)


BAD: dict[str, tuple[str, Message]] = {
    "name: is missing": ("UndeployService", request_for("UndeployService")),
    'name: "-x" is not': ("UndeployService", request_for("UndeployService", name="-x")),
    'name: "a b" is not': ("StopService", request_for("StopService", name="a b")),
    'component: "a\\nb" is not': ("StartService", request_for("StartService", name="web", component="a\nb")),
    'service: "\\x00" is not': ("Logs", request_for("Logs", service="\0")),
    'component: ".."" is not': ("Logs", request_for("Logs", service="web", component='.."')),
    'since: "-2h": omit the -': ("Logs", since("-2h")),
    'since: "0001-01-01T00:00:00+14:00"': ("Logs", since("0001-01-01T00:00:00+14:00")),
    'since: "9999-12-31T23:59:59-14:00"': ("Logs", since("9999-12-31T23:59:59-14:00")),
    'since: "999999999999d"': ("Logs", since("999999999999d")),
    "service.components: is empty": ("Deploy", request_for("Deploy", service={"name": "web"})),
    "service.components[0].image: ": ("Deploy", a_service(image="--privileged:v1")),
    "is tagged latest": ("Deploy", a_service(image="x:latest")),
    "names no registry": ("Deploy", a_service(image="team/web:2.0")),
    "host port 80/tcp is taken by": ("Deploy", a_service(ports=["80:80", "80:81"])),
    "podman publishes no port": ("Deploy", a_service(network="none", routes=[{"port": 80}])),
    "the target is that of": ("Deploy", a_service(volumes=["a:/x", "b:/x"])),
    "health.cmd: ": ("Deploy", a_service(health={"cmd": ["CMD", "true"]})),
    "service.components[0].name: ": ("Deploy", a_service(name="../../etc")),
    "service.components[0].volumes[0]: ": ("Deploy", a_service(volumes=["/srv/../etc:/etc"])),
    "service.components[0].cmd[0]: contains a NUL byte": ("Deploy", a_service(cmd=["a\0b"])),
    "service.components[0].env[0]: X: a value cannot contain": ("Deploy", a_service(env=["X=a\nY=b"])),
    "service.components[0].network: ": ("Deploy", a_service(network="host --privileged")),
    "service.components[0].user: ": ("Deploy", a_service(user="-0")),
    "service.components[0].restart: ": ("Deploy", a_service(restart="sometimes")),
    "service.components[0].ports[0]: ": ("Deploy", a_service(ports=["80:80 --privileged"])),
    "service.components[0].routes[0].port: 0 is": ("Deploy", a_service(routes=[{}])),
}  # fmt: skip


@pytest.mark.parametrize("words", BAD)
def test_bad_arguments_are_named(shared: Rig, words: str) -> None:
    method, request = BAD[words]
    shared.fake.forget_calls()
    with connected(shared.agent) as wire:
        answer = wire.call(method, request)
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert words in answer.details
    assert shared.fake.calls() == []


def test_a_thousand_problems_fit_into_an_answer(shared: Rig) -> None:
    components = [{"name": "é" * 80, "image": "ü" * 80, "env": ["é"] * 10}] * 1000
    with connected(shared.agent) as wire:
        answer = wire.call("Deploy", pb.DeployRequest(service=pb.ServiceSpec(name="web", components=components)))
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.details.startswith("service.components[0].name: ")


def test_a_request_that_is_too_large(shared: Rig) -> None:
    with connected(shared.agent) as wire:
        answer = wire.call("PushFile", pb.PushFileRequest(content=bytes(17 * 1024 * 1024)))
        assert answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert wire.call("NodeStatus").code is grpc.StatusCode.OK


def test_a_bug_is_hidden_and_logged_under_the_request_id(rig: Rig) -> None:
    """A row of the history that nobody can read stands for any bug: no task of the agent reads it."""
    database = sqlite3.connect(rig.agent.home.database)
    definition = '{"name": "web", "active": true, "components": []}'
    database.execute(
        "INSERT INTO deploys (service, component, at, user, definition, digests, result, error)"
        " VALUES ('web', '', '2026-01-01T00:00:00Z', 'kyle', ?, '[\"secret\"]', 'done', '')",
        (definition,),
    )
    database.commit()
    with connected(rig.agent) as wire:
        answer = wire.call("History", pb.HistoryRequest(service="web"))
        assert answer.code is grpc.StatusCode.INTERNAL
        assert answer.details == (
            f"internal error; the agent's log has the details under request id {answer.request_id}"
        )
        wait_for(lambda: f"rid={answer.request_id} method=History" in rig.agent.log())
    assert "Traceback" in rig.agent.log()
    database.close()
    assert rig.agent.cli.run("ps").code == 0
    rig.agent.log_file.write_text("")  # the traceback was wanted here
