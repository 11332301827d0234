"""The permission that each call needs: one table, which the interceptor asks before every handler.

A method that is not in the table needs the role admin.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from agent.auth.backends import Identity
from agent.auth.permissions import forbidden

Request = Any  # the message of the method


@dataclass(frozen=True)
class Need:
    """The need of a call: nothing to read, else the role deployer for `services`, or admin if there are none."""

    reads: bool = False
    action: str = ""  # for the error
    services: tuple[str, ...] = ()


Rule = Callable[[Request], Need]
READ = Need(reads=True)


def _reads(_request: Request) -> Need:
    return READ


def _changes(action: str, services: Callable[[Request], Iterable[str]]) -> Rule:
    return lambda request: Need(action=action, services=tuple(services(request)))


def _of_name(action: str) -> Rule:
    return _changes(action, lambda request: (request.name,))


def _of_service(action: str) -> Rule:
    return _changes(action, lambda request: (request.service,))


def _or_dry(rule: Rule) -> Rule:
    """Only reads with `dry_run`."""
    return lambda request: READ if request.dry_run else rule(request)


def _of_node(action: str) -> Rule:
    return _changes(action, lambda _request: ())


def _sync(request: Request) -> Need:
    """A sync of all definitions of a node sets the components of all other services to be ignored."""
    services = tuple(service.name for service in request.services) if request.partial else ()
    return Need(action="sync" if request.partial else "sync of the whole node", services=services)


def _list(request: Request) -> Need:
    return Need(action="reading values of variables") if request.with_env else READ


def _lifecycle(request: Request) -> Need:
    known = request.operation in ("stop", "start", "restart", "undeploy")
    return Need(action=request.operation if known else "LifecycleStream", services=(request.name,))


_deploy = _changes("deploy", lambda request: (request.service.name,))

RULES: dict[str, Rule] = {
    "Deploy": _deploy,
    "DeployStream": _deploy,
    "Rollback": _or_dry(_of_service("rollback")),
    "UndeployService": _of_name("undeploy"),
    "StopService": _of_name("stop"),
    "StartService": _of_name("start"),
    "RestartService": _of_name("restart"),
    "LifecycleStream": _lifecycle,
    "SyncDesiredState": _sync,
    "Plan": _reads,
    "ListServices": _list,
    "GetServiceStatus": _reads,
    "LiveCheck": _reads,
    "History": _reads,
    "Events": _reads,
    "Logs": _reads,
    # a container outside MCP is nobody's: to adopt it is to take it
    "AdoptContainers": _or_dry(_of_node("adopt")),
    "PurgeComponent": _or_dry(_changes("purge", lambda request: filter(None, (request.service,)))),
    "Recover": _or_dry(_of_node("recover")),
    # files of a service may hold its secrets
    "PushFile": _of_service("push"),
    "PushFileStream": _of_service("push"),
    "PullFile": _of_service("pull"),
    "PullFileStream": _of_service("pull"),
    "NodeStatus": _reads,
    "WhoAmI": _reads,
}


def check_permission(identity: Identity, method: str, request: Request) -> None:
    """Raise Forbidden if an account may not make this call."""
    need = RULES.get(method, _of_node(method))(request)
    if not need.reads and not identity.permission.may_change(need.services):
        raise forbidden(identity.user, identity.permission, need.action, need.services)


def check_stream(identity: Identity, method: str) -> None:
    """Raise Forbidden for a stream of requests that the table does not name; the others are checked by message."""
    if method not in RULES:
        check_permission(identity, method, None)
