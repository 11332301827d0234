"""Choose the deploy that a rollback returns to, from the agent's own history. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from agent.store.registry import DeployRow
from mcp.shared.errors import NotFound, NotReady
from mcp.shared.fields import effective, problems
from mcp.shared.spec import ComponentSpec, ServiceSpec
from mcp.shared.states import DeployResult


def choose(
    service: str, deploys: Sequence[DeployRow], deployed: Mapping[str, ComponentSpec], number: int
) -> tuple[int, ServiceSpec]:
    """Choose the number of the deploy to return to, and the definition of the service after it.

    The default is the last successful one, unless it is what is deployed now: then the last one that differs from it.

    Args:
        service: The service.
        deploys: Its deploys, newest first.
        deployed: Its components in the registry, by name.
        number: The deploy that the user asks for; 0 for the default.

    Raises NotFound or NotReady, also if the definition breaks a rule that is newer than the deploy.
    """
    after = dict(_after(deploys))
    chosen = _default(service, after, deployed) if number == 0 else _named(service, deploys, number)
    if found := "; ".join(problems(after[chosen])):
        hint = f"correct its definition, see mcp history {service} show {chosen}, and deploy that"
        raise NotReady(f"deploy {chosen} of {service} breaks a rule of today: {found}", hint)
    return chosen, after[chosen]


def _default(service: str, after: Mapping[int, ServiceSpec], deployed: Mapping[str, ComponentSpec]) -> int:
    numbers = sorted(after, reverse=True)
    if numbers and not _is_in_force(after[numbers[0]], deployed):
        return numbers[0]
    for earlier in numbers[1:]:
        if effective(after[earlier]) != effective(after[numbers[0]]):
            return earlier
    raise NotFound(f"{service} has no earlier successful deploy that differs from the current one")


def _named(service: str, deploys: Sequence[DeployRow], number: int) -> int:
    results = [deploy.result for deploy in deploys if deploy.number == number]
    if not results:
        raise NotFound(f"{service} has no deploy {number}", f"see mcp history {service}")
    if results[0] is not DeployResult.DONE:
        raise NotReady(f"deploy {number} of {service} is {results[0]}", "choose a deploy with result done")
    return number


def _after(deploys: Sequence[DeployRow]) -> Iterator[tuple[int, ServiceSpec]]:
    """Yield each successful deploy's number, and the service after it: one of a component changed only that one."""
    service = None
    for deploy in reversed(deploys):
        if deploy.result is DeployResult.DONE:
            service = _with_component(service, deploy) if deploy.component else deploy.definition
            yield deploy.number, service


def _with_component(before: ServiceSpec | None, deploy: DeployRow) -> ServiceSpec:
    components = {component.name: component for component in before.components} if before is not None else {}
    components |= {each.name: each for each in deploy.definition.components if each.name == deploy.component}
    order = deploy.definition.component_names()
    names = [*(name for name in order if name in components), *(name for name in components if name not in order)]
    return replace(deploy.definition, components=tuple(components[name] for name in names))


def _is_in_force(definition: ServiceSpec, deployed: Mapping[str, ComponentSpec]) -> bool:
    """Return True if all components of a definition are deployed as it has them, written-out defaults included."""
    registered = {name: effective(component) for name, component in deployed.items()}
    return all(registered.get(component.name) == effective(component) for component in definition.components)
