"""The one home of names: what is a valid one, and every name that is derived from service and component."""

import re

from mcp.shared.errors import InvalidInput, shown

NAME_PATTERN = r"[a-z0-9][a-z0-9-]{0,62}"
NAME_RULE = "must be lower-case letters, digits and -, not begin with -, and have at most 63 characters"

NAME_FIELD = {"pattern": NAME_PATTERN, "rule": NAME_RULE}  # of the declaration of a name

# Container names that MCP derives with a dot can never collide with a service's: names have no dot.
ASIDE_SUFFIX = ".old"

LABEL_SERVICE = "mcp.service"
LABEL_COMPONENT = "mcp.component"
LABEL_DEPLOY = "mcp.deploy"  # the number of the deploy that made the container


def is_name(value: str) -> bool:
    """Whether `value` can name a service, component, route or node."""
    return re.fullmatch(NAME_PATTERN, value) is not None


def check_name(what: str, value: str) -> str:
    """Return `value`; raises InvalidInput, naming `what`, where it is no valid name."""
    if not value:
        raise InvalidInput(f"{what}: is missing", NAME_RULE.replace("must", "names must"))
    if not is_name(value):
        raise InvalidInput(f"{what}: {shown(value)} is not a valid name", NAME_RULE.replace("must", "names must"))
    return value


def parse_target(text: str) -> tuple[str, str]:
    """Split `SERVICE[/COMPONENT]`; the component is empty where there is none. Raises InvalidInput."""
    service, slash, component = text.partition("/")
    check_name("service", service)
    if slash:
        check_name("component", component)
    return service, component


def container_name(service: str, component: str) -> str:
    """The container of a component: SERVICE-COMPONENT, or SERVICE where the component has its name."""
    return service if service == component else f"{service}-{component}"


def aside_name(container: str) -> str:
    """What a container is called while its successor is tried out."""
    return container + ASIDE_SUFFIX


def port_variable(route: str) -> str:
    """The environment variable that tells a container the port of a named route; PORT for an unnamed one."""
    return f"PORT_{route.upper().replace('-', '_')}" if route else "PORT"
