"""Valid names, and all names that are derived from service and component."""

import re

from mcp.shared.errors import InvalidInput, shown

NAME_PATTERN = r"[a-z0-9][a-z0-9-]{0,62}"
NAME_RULE = "must be lower-case letters, digits and -, not begin with -, and have at most 63 characters"

NAME_FIELD = {"pattern": NAME_PATTERN, "rule": NAME_RULE}  # for the declaration of a field

# Service names contain no dot, so they never collide with derived container names that do.
ASIDE_SUFFIX = ".old"
TRIAL_SUFFIX = ".new"

LABEL_SERVICE = "mcp.service"
LABEL_COMPONENT = "mcp.component"
LABEL_DEPLOY = "mcp.deploy"  # number of the deploy that created the container


def is_name(value: str) -> bool:
    """Return True if `value` is a valid name of a service, component, route or node."""
    return re.fullmatch(NAME_PATTERN, value) is not None


def check_name(what: str, value: str) -> str:
    """Return `value`; raises InvalidInput, naming `what`, if it is not a valid name."""
    if not value:
        raise InvalidInput(f"{what}: is missing", NAME_RULE.replace("must", "names must"))
    if not is_name(value):
        raise InvalidInput(f"{what}: {shown(value)} is not a valid name", NAME_RULE.replace("must", "names must"))
    return value


def parse_target(text: str) -> tuple[str, str]:
    """Split `SERVICE[/COMPONENT]`; the component may be empty. Raises InvalidInput."""
    service, slash, component = text.partition("/")
    check_name("service", service)
    if slash:
        check_name("component", component)
    return service, component


def container_name(service: str, component: str) -> str:
    """Return the container name: SERVICE-COMPONENT, or SERVICE if both have the same name."""
    return service if service == component else f"{service}-{component}"


def aside_name(container: str) -> str:
    """Return the temporary name of a container while its replacement is started."""
    return container + ASIDE_SUFFIX


def trial_name(container: str) -> str:
    """Return the name under which the replacement of a container is created on trial."""
    return container + TRIAL_SUFFIX


def base_name(container: str) -> str:
    """Return the name without the suffix of a container that is set aside or on trial."""
    return container.removesuffix(ASIDE_SUFFIX).removesuffix(TRIAL_SUFFIX)


def port_variable(route: str) -> str:
    """Return the environment variable with the port of a route: PORT_NAME, or PORT for an unnamed route."""
    return f"PORT_{route.upper().replace('-', '_')}" if route else "PORT"
