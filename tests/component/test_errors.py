"""Errors on their way from the agent to the user: the parts stay apart on the wire, and the line is whole."""

import json

import grpc
import pytest

from mcp.client.agent import AgentClient
from mcp.config.configuration import Node
from mcp.shared import errors
from mcp.shared.spec import ComponentSpec, ServiceSpec
from proto.mcp.v1 import mcp_pb2 as pb
from tests.component.conftest import Rig
from tests.component.wire import connected, request_for


def test_the_message_says_what_and_the_trailing_metadata_the_hint(shared: Rig) -> None:
    inactive = pb.ServiceSpec(
        name="web", active=False, components=[pb.ComponentSpec(name="api", image="localhost/i:1")]
    )
    with connected(shared.agent) as wire:
        answer = wire.call("Deploy", pb.DeployRequest(service=inactive))
        unhinted = wire.call("History", request_for("History", service="web", limit=-1))
    assert (answer.code, answer.details) == (grpc.StatusCode.FAILED_PRECONDITION, "web is not active")
    assert answer.hint == "set active = true in its definition to deploy it"
    assert (unhinted.code, unhinted.hint) == (grpc.StatusCode.INVALID_ARGUMENT, "")


@pytest.mark.parametrize("count", [1, 500])
def test_the_parts_of_an_error_arrive_as_they_were(shared: Rig, count: int) -> None:
    """Also those of a hint that is far too long: it is cut, and what happened is not."""
    names = [f"component-{number}" for number in range(count)]
    service = ServiceSpec("web", components=tuple(ComponentSpec(name=name, image="localhost/i:1") for name in names))
    with (
        AgentClient(Node("rift", shared.agent.address), shared.agent.ca, shared.agent.token) as agent,
        pytest.raises(errors.NotFound) as caught,
    ):
        agent.deploy(service, "other", force=False)
    error, hint = caught.value, f"it has: {', '.join(names)}"
    assert (error.node, error.what) == ("rift", "web has no component other")
    assert error.hint == (hint if len(hint) <= 500 else hint[:500] + "…")


def test_the_line_that_users_read_is_whole(shared: Rig) -> None:
    done = shared.agent.cli.run("stop", "gone", "--node", "rift")
    line = "mcp: rift: gone is not deployed on this node; nothing is deployed here"
    assert (done.code, done.errors) == (1, [line])
    done = shared.agent.cli.run("agent", "status", env={"MCP_TOKEN": "none"})
    line = "mcp: rift: invalid token; put a valid token into MCP_TOKEN, or unset it and run `mcp login`"
    assert (done.code, done.errors) == (3, [line])


def test_the_doctor_has_the_parts_apart(shared: Rig) -> None:
    done = shared.agent.cli.run("doctor", "--json", env={"MCP_TOKEN": "none"})
    (report,) = json.loads(done.stdout)
    (token,) = [each for each in report["findings"] if each["check"] == "token"]
    assert token["what"] == "invalid token"
    assert token["do"] == "put a valid token into MCP_TOKEN, or unset it and run `mcp login`"
