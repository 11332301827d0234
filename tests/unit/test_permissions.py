"""What each role may do: every call of the protocol, by what it asks for."""

import pytest
from google.protobuf.message_factory import GetMessageClass

from agent.auth.backends import Identity
from agent.auth.permissions import Permission, permission_of
from agent.rpc.permissions import RULES, check_permission, check_stream
from mcp.shared.errors import Forbidden
from mcp.shared.roles import Role
from mcp.shared.states import AccountType
from proto.mcp.v1 import mcp_pb2 as pb

METHODS = {method.name: method for method in pb.DESCRIPTOR.services_by_name["McpAgentService"].methods}
SHOP, OTHER = {"service": "shop"}, {"service": "other"}
SPEC, OTHER_SPEC = {"name": "shop"}, {"name": "other"}

READ = {
    *("Plan", "ListServices", "GetServiceStatus", "LiveCheck", "History", "Events", "Logs", "NodeStatus", "WhoAmI"),
}
# A request that a deployer of shop may make, and one that it may not, of each call that changes something.
CHANGES: dict[str, tuple[dict[str, object] | None, list[dict[str, object]]]] = {
    "Deploy": ({"service": SPEC}, [{"service": OTHER_SPEC}, {}]),
    "DeployStream": ({"service": SPEC}, [{"service": OTHER_SPEC}, {}]),
    "Rollback": (dict(SHOP), [dict(OTHER), {}]),
    "UndeployService": (dict(SPEC), [dict(OTHER_SPEC), {}]),
    "StopService": (dict(SPEC), [dict(OTHER_SPEC), {}]),
    "StartService": (dict(SPEC), [dict(OTHER_SPEC), {}]),
    "RestartService": (dict(SPEC), [dict(OTHER_SPEC), {}]),
    "LifecycleStream": ({**SPEC, "operation": "stop"}, [{**OTHER_SPEC, "operation": "stop"}, {"operation": "stop"}]),
    "SyncDesiredState": (
        {"services": [SPEC], "partial": True},
        [{"services": [SPEC]}, {"services": [SPEC, OTHER_SPEC], "partial": True}, {"partial": True}, {}],
    ),
    "AdoptContainers": (None, [dict(SHOP), {"all": True}]),
    "PurgeComponent": (dict(SHOP), [dict(OTHER), {}]),
    "Recover": (None, [{}]),
    "PushFile": (dict(SHOP), [dict(OTHER), {}]),
    "PushFileStream": (dict(SHOP), [dict(OTHER), {}]),
    "PullFile": (dict(SHOP), [dict(OTHER), {}]),
    "PullFileStream": (dict(SHOP), [dict(OTHER), {}]),
}


def may(roles: tuple[str, ...], method: str, fields: dict[str, object] | None = None) -> bool:
    """Tell if an account with these roles may make a call."""
    request = GetMessageClass(METHODS[method].input_type)(**(fields or {}))
    try:
        check_permission(Identity("ann", AccountType.HUMAN, roles), method, request)
    except Forbidden:
        return False
    return True


def test_every_call_of_the_protocol_is_in_the_table() -> None:
    assert set(RULES) == set(METHODS)
    assert READ | set(CHANGES) == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_what_each_role_may(method: str) -> None:
    allowed, others = CHANGES.get(method, ({}, []))
    for fields in (*([allowed] if allowed is not None else []), *others):
        assert may((), method, fields)
        assert may(("ops",), method, fields)
        assert may(("admin", "reader"), method, fields)
        assert may(("reader",), method, fields) == (method in READ)
        assert may(("reader", "deployer:shop"), method, fields) == (method in READ or fields == allowed)
        assert may(("deployer",), method, fields) == (method in READ)


@pytest.mark.parametrize("method", ["Rollback", "AdoptContainers", "PurgeComponent", "Recover"])
def test_a_dry_run_only_reads(method: str) -> None:
    assert may(("reader",), method, {"dry_run": True})


def test_values_of_variables_need_everything() -> None:
    assert may((), "ListServices", {"with_env": True})
    assert not may(("reader", "deployer:shop"), "ListServices", {"with_env": True})


def test_a_call_that_the_table_does_not_name_needs_everything() -> None:
    for role in ("reader", "deployer:shop"):
        with pytest.raises(Forbidden, match="Nope needs the role admin"):
            check_stream(Identity("ann", AccountType.HUMAN, (role,)), "Nope")
    check_stream(Identity("ann", AccountType.HUMAN, ()), "Nope")


@pytest.mark.parametrize(
    ("roles", "role", "services"),
    [
        ((), Role.ADMIN, []),
        (("ops", "readers", "deploy"), Role.ADMIN, []),
        (("admin", "reader", "deployer:shop"), Role.ADMIN, []),
        (("reader", "ops"), Role.READER, []),
        (("deployer:shop", "deployer:web", "reader"), Role.DEPLOYER, ["shop", "web"]),
        (("deployer", "deployer:", "deployer:A", "deployer:a:b", "deployer:a,b"), Role.DEPLOYER, []),
    ],
)
def test_the_role_that_roles_amount_to(roles: tuple[str, ...], role: Role, services: list[str]) -> None:
    assert permission_of(roles) == Permission(role, frozenset(services))


@pytest.mark.parametrize(
    ("roles", "method", "fields", "line"),
    [
        (
            ("reader",),
            "Deploy",
            {"service": SPEC},
            "ann may only read (role reader): deploy needs the role deployer for",
        ),
        (("reader",), "Recover", {}, "ann may only read (role reader): recover needs the role admin"),
        (
            ("deployer:web", "deployer:shop"),
            "LifecycleStream",
            {"name": "db", "operation": "undeploy"},
            "ann may only deploy shop, web (role deployer): undeploy needs the role deployer for db",
        ),
        (
            ("deployer",),
            "PullFile",
            dict(SHOP),
            "ann may only deploy nothing (role deployer): pull needs the role depl",
        ),
        (("deployer:shop",), "SyncDesiredState", {"services": [SPEC]}, "sync of the whole node needs the role admin"),
    ],
)
def test_the_refusal_says_what_is_missing(
    roles: tuple[str, ...], method: str, fields: dict[str, object], line: str
) -> None:
    request = GetMessageClass(METHODS[method].input_type)(**fields)
    with pytest.raises(Forbidden) as caught:
        check_permission(Identity("ann", AccountType.HUMAN, roles), method, request)
    assert line in str(caught.value)
