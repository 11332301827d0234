"""Ports that services of one node would have to share, as far as definitions tell."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress

from mcp.config.configuration import Config
from mcp.definitions.definitions import Definition, definition_path, load, service_names
from mcp.shared.errors import InvalidFile, McpError, Problem
from mcp.shared.ports import Claim, clashes
from mcp.shared.spec import claims


def check_ports(config: Config, checked: Sequence[Definition]) -> None:
    """Raise InvalidFile for the first service that takes a port of another active service of its node."""
    if found := list(problems(config, checked)):
        first = found[0][0]
        raise InvalidFile(str(definition_path(config, first)), [problem for name, problem in found if name == first])


def problems(config: Config, checked: Sequence[Definition]) -> Iterator[tuple[str, Problem]]:
    """Yield the ports that these services take of each other or of other active services, by service.

    Other definitions that are invalid are left out: their mistakes are not those of these services.
    """
    own = {definition.service.name: list(_claims(definition)) for definition in checked}
    others = _others(config, set(own)) if any(own.values()) else []
    for node in {definition.node: None for definition in checked}:
        taken = [claim for definition in others if definition.node == node for claim in _claims(definition)]
        taken += [claim for definition in checked if definition.node == node for claim in own[definition.service.name]]
        for claim, other in clashes(taken):
            if claim.owner in own:
                yield claim.owner, Problem(claim.path, f"{claim.what} is taken by {other.owner} already, on {node}")


def _others(config: Config, names: Collection[str]) -> list[Definition]:
    """Read the valid definitions of other services than `names`."""
    others = []
    for name in service_names(config):
        with suppress(McpError):
            others += [load(config, name)] if name not in names else []
    return others


def _claims(definition: Definition) -> Iterator[Claim]:
    """Yield the ports of a service; clients reach a route without a host name by the service's."""
    service = definition.service
    for index, component in enumerate(service.components if service.active else ()):
        yield from claims(component, service.name, service.name, f"components[{index}].")
