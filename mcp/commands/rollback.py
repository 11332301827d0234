"""mcp rollback SERVICE"""

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mcp.commands.shared import NODE_CONTINUES, Group, arguments, changes, copies, nodes, results, steps
from mcp.shared.command import Command, argument, flag
from mcp.shared.errors import NotFound, NotReady
from mcp.shared.states import DeployResult
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.session import Session, Target
    from mcp.shared.spec import ServiceSpec
    from proto.mcp.v1 import mcp_pb2 as pb


def run(session: "Session", args: argparse.Namespace) -> int:
    """Deploy the definition of an earlier deploy again."""
    from mcp.client.fleet import NodeAnswer

    changes.check_exit_code(args)
    target = nodes.deployed(session, (args.target, ""), args.node)
    copies.refuse(copies.of_other_nodes(session, target.service, target.node.name))
    with session.agent(target.node) as agent:
        registered = [info for info in agent.list_services().services if info.name == target.service]
        deployed = registered[0].definition if registered else None
        number, definition = choose(target.service, agent.history(target.service, 0).entries, deployed, args.to)
        service = _valid(target.service, number, definition)
        if args.dry_run:
            plan = NodeAnswer(target.node, agent.plan([service], partial=True, prune=args.prune), None)
            status = changes.show([plan], args)
            _remind(target, service)
            return status
        done = steps.deploy(agent, service, prune=args.prune, quiet=args.quiet or args.json)
    status = results.show(target.service, target.node.name, f"rolled back to deploy {number}", done, args.json)
    _remind(target, service)
    return status


def _valid(service: str, number: int, definition: "pb.ServiceSpec") -> "ServiceSpec":
    """Return the definition of a deploy; raises NotReady if it breaks a rule that is newer than the deploy."""
    from mcp.shared.fields import problems
    from mcp.shared.wire import stored_service

    spec = stored_service(definition)
    if found := "; ".join(problems(spec)):
        hint = f"correct its definition, see mcp history {service} show {number}, and deploy that"
        raise NotReady(f"deploy {number} of {service} breaks a rule of today: {found}", hint)
    return spec


def choose(
    service: str, entries: "Sequence[pb.HistoryEntry]", deployed: "pb.ServiceSpec | None", number: int | None
) -> "tuple[int, pb.ServiceSpec]":
    """Choose the number of the deploy to return to, and the definition of the service after it.

    The default is the last successful one, unless it is what is `deployed` now: then the last one that differs from it.

    Args:
        service: The service.
        entries: Its deploys, newest first.
        deployed: Its components in the registry; None if it is not deployed.
        number: The deploy that the user asks for.

    Raises NotFound or NotReady.
    """
    after = dict(_after(entries))
    if number is not None:
        _check(service, entries, number)
        return number, after[number]
    numbers = sorted(after, reverse=True)
    if numbers and not _is_in_force(after[numbers[0]], deployed):
        return numbers[0], after[numbers[0]]
    for earlier in numbers[1:]:
        if _in_effect(after[earlier]) != _in_effect(after[numbers[0]]):
            return earlier, after[earlier]
    raise NotFound(f"{service} has no earlier successful deploy that differs from the current one")


def _check(service: str, entries: "Sequence[pb.HistoryEntry]", number: int) -> None:
    results = [entry.result for entry in entries if entry.number == number]
    if not results:
        raise NotFound(f"{service} has no deploy {number}", f"see mcp history {service}")
    if results[0] != DeployResult.DONE:
        raise NotReady(f"deploy {number} of {service} is {results[0]}", "choose a deploy with result done")


def _after(entries: "Sequence[pb.HistoryEntry]") -> "Iterator[tuple[int, pb.ServiceSpec]]":
    """Yield each successful deploy's number, and the service after it: one of a component changed only that one."""
    service = None
    for entry in reversed(entries):
        if entry.result == DeployResult.DONE:
            service = _with_component(service, entry) if entry.component else entry.definition
            yield entry.number, service


def _with_component(before: "pb.ServiceSpec | None", entry: "pb.HistoryEntry") -> "pb.ServiceSpec":
    from proto.mcp.v1 import mcp_pb2 as pb

    components = {component.name: component for component in before.components} if before is not None else {}
    components |= {each.name: each for each in entry.definition.components if each.name == entry.component}
    order = [component.name for component in entry.definition.components]
    names = [*(name for name in order if name in components), *(name for name in components if name not in order)]
    return pb.ServiceSpec(
        name=entry.definition.name, active=entry.definition.active, components=[components[name] for name in names]
    )


def _is_in_force(definition: "pb.ServiceSpec", deployed: "pb.ServiceSpec | None") -> bool:
    """Return True if all components of a definition are deployed as it has them."""
    registered = {each.name: each for each in _in_effect(deployed).components} if deployed is not None else {}
    return all(registered.get(component.name) == component for component in _in_effect(definition).components)


def _in_effect(definition: "pb.ServiceSpec") -> "ServiceSpec":
    """Return a stored definition, in which a default that is written out does not differ from one that is not."""
    from mcp.shared.fields import effective
    from mcp.shared.wire import stored_service

    service: ServiceSpec = effective(stored_service(definition))
    return service


def _remind(target: "Target", service: "ServiceSpec") -> None:
    from mcp.shared.fields import effective

    if target.definition is not None and effective(target.definition.service) != effective(service):
        output.note(f"{target.service}.toml differs: `mcp sync` undoes the rollback unless you change it")


COMMAND = Command(
    "rollback",
    "return to an earlier deploy of a service",
    run,
    group=Group.SERVICES,
    changes=True,
    interrupted=NODE_CONTINUES,
    differences=changes.DIFFERENCES,
    description="The default is the last successful deploy, or if that is what is deployed, the last one that differs.",
    arguments=(
        arguments.one_service("the service"),
        argument(
            "--to", type=arguments.count, metavar="N", help="the deploy to return to, by its number in mcp history"
        ),
        flag("--prune", help="remove components that the earlier deploy did not have"),
        flag("--dry-run", help="only show the changes"),
        changes.EXIT_CODE,
        steps.QUIET,
        arguments.NODE,
        arguments.JSON,
    ),
)
