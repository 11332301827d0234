"""Who may call: no RPC is reachable without a valid token, and every call is in the log, its token never."""

import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import grpc
import pytest

from mcp.shared.version import VERSION
from proto.mcp.v1 import mcp_pb2 as pb
from tests.component import h2
from tests.component.conftest import Rig
from tests.component.definitions import service
from tests.component.wire import IMPLEMENTED, METHODS, Metadata, Wire, bearer, connected
from tests.waiting import wait_for

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED
REFUSALS = (UNAUTHENTICATED, DENIED)


def log_line(rig: Rig, request_id: str) -> str:
    """The one line of the agent's log with this request id."""
    wanted = f" rid={request_id} "
    wait_for(lambda: wanted in rig.agent.log())  # it is written once the answer is on its way
    (line,) = [line for line in rig.agent.log().splitlines() if wanted in line]
    return line


def test_the_service_has_the_fifteen_calls_of_the_specification() -> None:
    assert list(METHODS)[:15] == [
        *("Deploy", "UndeployService", "StopService", "StartService", "RestartService", "SyncDesiredState"),
        *("ListServices", "GetServiceStatus", "LiveCheck", "AdoptContainers", "PurgeComponent", "PushFile"),
        *("PullFile", "NodeStatus", "Logs"),
    ]
    assert {
        "Deploy",
        "UndeployService",
        "StopService",
        "StartService",
        "LiveCheck",
        "NodeStatus",
        "Logs",
    } <= IMPLEMENTED


MALFORMED: dict[str, tuple[tuple[str, str], ...]] = {
    "no metadata": (),
    "an empty header": (("authorization", ""),),
    "another scheme": (("authorization", "Basic TOKEN"),),
    "no scheme": (("authorization", "TOKEN"),),
    "no token": (("authorization", "Bearer"),),
    "an empty token": (("authorization", "Bearer "),),
    "two tokens": (("authorization", "Bearer TOKEN TOKEN"),),
    "a token and a space": (("authorization", "Bearer TOKEN "),),
    "half a token": (("authorization", "Bearer HALF"),),
    "a token and more": (("authorization", "Bearer TOKENx"),),
    "another token": (("authorization", "Bearer mcp_" + "A" * 43),),
    "another case": (("authorization", "Bearer LOWER"),),
    "a huge token": (("authorization", "Bearer " + "A" * 4096),),
    "another key": (("x-authorization", "Bearer TOKEN"),),
    "a binary key": (("authorization-bin", "Bearer TOKEN"),),
    "sql": (("authorization", "Bearer ' OR '1'='1"),),
}


def filled(key: str, value: str, token: str) -> str | bytes:
    """A header's value with the real token in it; bytes where gRPC wants them."""
    for word, replacement in (("TOKEN", token), ("HALF", token[:20]), ("LOWER", token.lower())):
        value = value.replace(word, replacement)
    return value.encode() if key.endswith("-bin") else value


@pytest.mark.parametrize("method", METHODS)
def test_no_call_is_reachable_without_a_valid_token(shared: Rig, method: str) -> None:
    token = shared.agent.token
    with connected(shared.agent) as wire:
        for what, metadata in MALFORMED.items():
            answer = wire.call(method, metadata=tuple((key, filled(key, value, token)) for key, value in metadata))
            assert (what, answer.code, answer.responses) == (what, UNAUTHENTICATED, ())


def test_the_first_refusal_of_an_address_is_in_the_log(rig: Rig) -> None:
    """Further ones are counted: tests/unit/test_refusals.py."""
    with connected(rig.agent) as wire:
        first = wire.call("Deploy", metadata=bearer("mcp_" + "A" * 43))
        second = wire.call("Deploy", metadata=bearer("mcp_" + "B" * 43))
    line = log_line(rig, first.request_id)
    assert f"msg=refused rid={first.request_id} method=Deploy peer=" in line
    assert " code=UNAUTHENTICATED " in line
    assert line.endswith(' error="invalid token"')
    assert second.request_id not in rig.agent.log()


def test_so_is_the_first_refusal_of_a_guest(rig: Rig) -> None:
    """Whoever has an account at MCIAS may be one, and must not fill the journal either."""
    with connected(rig.agent, rig.agent.home.new_token("eve", "--role", "guest")) as wire:
        first, *others = [wire.call("Deploy") for _ in range(30)]
    line = log_line(rig, first.request_id)
    assert re.search(r" user=eve account=human code=PERMISSION_DENIED .* error=", line)
    assert not [each for each in others if each.request_id in rig.agent.log()]


def test_a_refused_method_is_cut(rig: Rig) -> None:
    path = "/" + "x" * 7000
    with connected(rig.agent) as wire:
        call: Any = wire._channel.unary_unary(path)
        with pytest.raises(grpc.RpcError):
            call(b"")
    wait_for(lambda: "msg=refused" in rig.agent.log())
    (line,) = [line for line in rig.agent.log().splitlines() if "msg=refused" in line]
    assert len(line) < 400


@pytest.mark.parametrize("method", METHODS)
def test_a_call_that_cannot_be_parsed_is_refused_all_the_same(shared: Rig, method: str) -> None:
    """A request's content is not looked at before its token."""
    with connected(shared.agent) as wire:
        assert wire.call(method, b"\xff\xff\xff\xff", metadata=()).code is UNAUTHENTICATED
        unread = METHODS[method].client_streaming and method not in IMPLEMENTED
        expected = grpc.StatusCode.UNIMPLEMENTED if unread else grpc.StatusCode.INVALID_ARGUMENT
        assert wire.call(method, b"\xff\xff\xff\xff").code is expected


@pytest.fixture(scope="module")
def accounts(shared: Rig) -> dict[str, tuple[str, str]]:
    """Kind and token of an account of each sort, by name."""
    new = shared.agent.home.new_token
    return {
        "guest": ("human", new("guest", "--role", "admin", "--role", "guest")),
        "human": ("human", new("human")),
        "system": ("system", new("system", "--type", "system", "--role", "admin")),
    }


@pytest.mark.parametrize("method", METHODS)
def test_guests_are_refused_and_everybody_else_is_not(
    shared: Rig, accounts: dict[str, tuple[str, str]], method: str
) -> None:
    with connected(shared.agent) as wire:
        for user, (kind, token) in accounts.items():
            answer = wire.call(method, metadata=bearer(token))
            refused = user == "guest"
            assert (user, answer.code in REFUSALS) == (user, refused)
            assert answer.code is not UNAUTHENTICATED
            if refused:
                continue  # counted, see above
            line = log_line(shared, answer.request_id)
            assert "msg=call " in line
            assert f" method={method} " in line
            assert f" user={user} account={kind} " in line
            assert re.search(r' peer="?ipv4:127\.0\.0\.1:[0-9]+', line)
            assert f" code={answer.code.name} " in line


def test_revoked_and_expired_tokens_are_refused(shared: Rig) -> None:
    home = shared.agent.home
    short, revoked = home.new_token("short", "--expires", "1ms"), home.new_token("revoked")
    with connected(shared.agent) as wire:
        for method in METHODS:
            answer = wire.call(method, metadata=bearer(short))
            assert (method, answer.code) == (method, UNAUTHENTICATED)
            assert "the token of short expired at" in answer.details
            assert wire.call(method, metadata=bearer(revoked)).code is not UNAUTHENTICATED
        assert home.token("revoke", "revoked").code == 0
        for method in METHODS:
            answer = wire.call(method, metadata=bearer(revoked))
            assert (method, answer.code, answer.details) == (method, UNAUTHENTICATED, "invalid token")


def test_a_token_that_expires_while_the_agent_runs(shared: Rig) -> None:
    for number, seconds in enumerate((2, 8, 32)):  # a slow machine needs longer for its first call
        token = shared.agent.home.new_token(f"soon{number}", "--expires", f"{seconds}s")
        with connected(shared.agent, token) as wire:
            first = wire.call("NodeStatus").code
            time.sleep(seconds)
            assert wire.call("NodeStatus").code is UNAUTHENTICATED
        if first is grpc.StatusCode.OK:
            return
    pytest.fail(f"no token works:\n{shared.agent.log()}")


def test_headers_that_no_grpc_client_sends(shared: Rig) -> None:
    """Bytes above 127, controls and empty values, straight onto the connection: nothing passes, nothing breaks."""
    token = shared.agent.token.encode()
    values = (
        b"Bearer \xff\xfe",
        b"Bearer " + token + b"\xc3\xa9",
        b"B\xe9arer " + token,
        b"\x80",
        b"",
        b"Bearer\t" + token,
    )
    for value in values:
        before = shared.agent.log()
        h2.call(shared.agent, "/mcp.v1.McpAgentService/NodeStatus", value)
        assert "code=OK" not in shared.agent.log().removeprefix(before)
    before = shared.agent.log()
    h2.call(shared.agent, "/mcp.v1.McpAgentService/NodeStatus", b"Bearer " + token)
    assert "code=OK" in shared.agent.log().removeprefix(before)  # so the requests above were well-formed otherwise


def test_an_unknown_call_says_so(shared: Rig) -> None:
    with grpc.secure_channel(shared.agent.address, grpc.ssl_channel_credentials(shared.agent.ca)) as channel:
        for path in ("/mcp.v1.McpAgentService/Nope", "/mcp.v2.Other/Deploy", "/grpc.reflection.v1.ServerReflection/X"):
            call: Any = channel.unary_unary(path)
            with pytest.raises(grpc.RpcError) as caught:
                call(b"", timeout=10)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            with pytest.raises(grpc.RpcError) as caught:
                call(b"", timeout=10, metadata=[("authorization", f"Bearer {shared.agent.token}")])
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert ("x-mcp-version", VERSION) in [
                (item.key, str(item.value)) for item in caught.value.trailing_metadata()
            ]


def test_a_tokens_owner_is_who_the_operation_belongs_to(shared: Rig) -> None:
    token = shared.agent.home.new_token("anna")
    with connected(shared.agent, token) as wire:
        answer = wire.call("StopService")
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert " user=anna " in log_line(shared, answer.request_id)


def test_no_token_is_in_the_log(shared: Rig) -> None:
    """Last in this file: by now every kind of call was made."""
    token = shared.agent.home.new_token("zoe")
    with connected(shared.agent, token) as wire:
        _call_all(wire)
        _call_all(wire, bearer(token + "x"))
        _call_all(wire, (("authorization", f"Basic {token}"),))
    log = shared.agent.log()
    assert log.count("msg=call") > 15
    assert "msg=refused" in log
    for secret in (token, shared.agent.token, "mcp_"):
        assert secret not in log


def _call_all(wire: Wire, metadata: Metadata | None = None) -> None:
    for method in METHODS:
        wire.call(method, metadata=metadata)


def test_a_revoked_token_ends_its_open_streams(rig: Rig) -> None:
    rig.agent.define("web", service("web"))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    cli = replace(rig.agent.cli, env={**rig.agent.cli.env, "MCP_TOKEN": rig.agent.home.new_token("anna")})
    ended, kept = cli.popen("logs", "web", "--follow"), rig.agent.cli.popen("logs", "web", "--follow")
    for follower in (ended, kept):
        assert follower.stdout is not None
        assert "web: starting" in follower.stdout.readline()
    assert rig.agent.home.token("revoke", "anna").code == 0
    began = time.monotonic()
    _, said = ended.communicate(timeout=60)
    assert time.monotonic() - began < 30 + 10  # on a busy machine
    assert (ended.returncode, said.splitlines()[-1].startswith("mcp: rift: invalid token; ")) == (3, True), said
    assert kept.poll() is None
    kept.send_signal(signal.SIGINT)
    kept.communicate(timeout=60)


def test_every_kind_of_stream_ends_with_its_token(rig: Rig) -> None:
    rig.agent.stop()
    rig.agent.home.write_config(settle="50ms", more='[monitor]\ninterval = "200ms"\n')
    rig.restart()
    rig.agent.define("web", service("web"))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    token = rig.agent.home.new_token("anna")
    cli = replace(rig.agent.cli, env={**rig.agent.cli.env, "MCP_TOKEN": token})
    rig.fake.misbehave("hold", ["stop"])
    followers = [cli.popen("events", "web", "--follow", "-n", "1"), cli.popen("restart", "web")]
    for follower in followers:
        output = follower.stdout if follower is followers[0] else follower.stderr
        assert output is not None
        assert output.readline()
    with connected(rig.agent, token) as wire, endless_push(wire) as push:
        assert rig.agent.home.token("revoke", "anna").code == 0
        for follower in followers:
            said = follower.communicate(timeout=60)[1]
            assert (follower.returncode, "mcp: rift: invalid token; " in said) == (3, True), said
        assert push.exception(timeout=60).code() is UNAUTHENTICATED
    rig.fake.behave()
    assert [path.name for path in (rig.agent.home.srv / "web").iterdir()] == []
    wait_for(lambda: rig.fake.running())  # the operation goes on without its client


@contextmanager
def endless_push(wire: Wire) -> Iterator[Any]:
    """The future of a push whose second chunk never comes."""
    never = threading.Event()

    def chunks() -> Iterator[pb.FileChunk]:
        yield pb.FileChunk(service="web", path="x", data=b"x")
        never.wait()

    try:
        yield wire.push_later(chunks())
    finally:
        never.set()
