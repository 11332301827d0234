"""What a service is: the specification that both programs share, and the rules it must obey.

The CLI reads it from a definition, the agent from the wire; both check it with `problems`.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from mcp.shared.errors import shown
from mcp.shared.image import image_problem, image_version
from mcp.shared.names import NAME_RULE, container_name, is_name, port_variable
from mcp.shared.times import parse_duration

RESTART_DEFAULT = "unless-stopped"
LOG_DRIVERS = ("k8s-file", "journald", "none")
LOG_SIZE_DEFAULT = "32m"  # of each k8s-file: without a limit, one loud container fills the node's disk
LOG_SIZE_LEAST = 1_000_000  # bytes
ENV_LIMIT = 32 * 1024  # bytes of one KEY=VALUE: podman reads environment files line by line, 64 KiB at most

_RESTART = re.compile(r"no|always|unless-stopped|on-failure(:[0-9]{1,4})?")
_LOG_SIZE = re.compile(r"([0-9]{1,12})([kmg]?)")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}  # decimal, as podman takes them
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?")
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_HOSTNAME = re.compile(r"(?=.{1,253}$)(\*\.)?LABEL(\.LABEL)*".replace("LABEL", r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"))
_ENV_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_VOLUME_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_VOLUME_OPTIONS = frozenset(
    ("ro", "rw", "z", "Z", "U", "O", "exec", "noexec", "dev", "nodev", "suid", "nosuid", "bind", "rbind")
) | frozenset(("private", "rprivate", "shared", "rshared", "slave", "rslave", "nocopy"))
_PORT = re.compile(
    r"((?P<ip>[0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:]+\]):)?"
    r"(?P<host>[0-9]{1,5}):(?P<container>[0-9]{1,5})(/(?P<protocol>tcp|udp))?"
)


@dataclass(frozen=True)
class RouteSpec:
    """One way in from the proxy; `port` is the one that clients use there."""

    name: str = ""
    port: int = 0
    mode: str = "l4"
    hostname: str = ""


@dataclass(frozen=True)
class HealthSpec:
    """A health check; durations as in `90s`, empty or 0 for podman's default."""

    cmd: tuple[str, ...]
    interval: str = ""
    timeout: str = ""
    retries: int = 0
    start_period: str = ""


@dataclass(frozen=True)
class ComponentSpec:
    """One container of a service."""

    name: str
    image: str
    network: str = ""
    user: str = ""
    restart: str = RESTART_DEFAULT
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    routes: tuple[RouteSpec, ...] = ()
    env: tuple[str, ...] = ()
    health: HealthSpec | None = None  # None: the image's own, if it has one
    log_driver: str = LOG_DRIVERS[0]
    log_max_size: str = ""  # of a k8s-file, before it is begun anew; empty: LOG_SIZE_DEFAULT, 0: no limit

    @property
    def version(self) -> str:
        """The tag of the image."""
        return image_version(self.image)

    @property
    def log_max_bytes(self) -> int:
        """The size at which its log is begun anew; 0: never."""
        return log_size(self.log_max_size or LOG_SIZE_DEFAULT) if self.log_driver == "k8s-file" else 0

    def variable(self, name: str) -> str | None:
        """The value that the definition gives an environment variable (the last one counts), or None."""
        values = [entry.partition("=")[2] for entry in self.env if entry.partition("=")[0] == name]
        return values[-1] if values else None


@dataclass(frozen=True)
class ServiceSpec:
    """A service: what should run, together, on one node."""

    name: str
    active: bool = True
    components: tuple[ComponentSpec, ...] = field(default=())

    def component_names(self) -> list[str]:
        """The components' names, in the order of the definition."""
        return [component.name for component in self.components]


def log_size(text: str) -> int:
    """Bytes of a size such as `500000`, `10m` or `1g`, whose units are decimal; raises ValueError."""
    match = _LOG_SIZE.fullmatch(text)
    if match is None:
        raise ValueError("is not a number of bytes, or one with k, m or g, as in 10m")
    return int(match[1]) * _UNITS[match[2]]


def log_size_text(size: int) -> str:
    """The shortest text that `log_size` reads as so many bytes."""
    return min((f"{size // each}{unit}" for unit, each in _UNITS.items() if size % each == 0), key=len)


def container_port(mapping: str) -> int:
    """The port inside the container of a valid `[IP:]HOST:CONTAINER[/PROTOCOL]`."""
    match = _PORT.fullmatch(mapping)
    if match is None:
        raise ValueError(f"not a port mapping: {mapping!r}")
    return int(match["container"])


def fixed_port(component: ComponentSpec, route: RouteSpec) -> int | None:
    """The container port that the definition itself fixes for a route, or None where the agent chooses.

    An application that obeys PORT would leave the port that an explicit mapping leads to, so the explicit
    one wins: PORT (or PORT_NAME) in `env` first, then the container port of a single mapping in `ports`.
    """
    for name in dict.fromkeys((port_variable(route.name), *(["PORT"] if len(component.routes) == 1 else []))):
        value = component.variable(name)
        if value is not None:
            return int(value)
    mapped = {container_port(mapping) for mapping in component.ports if not mapping.endswith("/udp")}
    if len(component.routes) == 1 and len(mapped) == 1:
        return mapped.pop()
    return None


def problems(service: ServiceSpec) -> list[str]:
    """Every rule that `service` breaks, as `KEY.PATH: WHAT`; empty where it is sound."""
    found = []
    if not is_name(service.name):
        found.append(f"name: {shown(service.name)} {NAME_RULE}")
    if not service.components:
        found.append("components: is empty; a service needs at least one component")
    for index, component in enumerate(service.components):
        found += [f"components[{index}].{problem}" for problem in component_problems(component)]
    found += list(_duplicates("components", service.component_names()))
    names = [container_name(service.name, component.name) for component in service.components]
    if not found and len(set(names)) < len(names):
        found.append(f"components: two of them would make the same container, {_most_common(names)}")
    return found


def component_problems(component: ComponentSpec) -> Iterator[str]:
    """Every rule that one component breaks, as `KEY: WHAT`."""
    if not is_name(component.name):
        yield f"name: {shown(component.name)} {NAME_RULE}"
    if problem := image_problem(component.image):
        yield f"image: {shown(component.image)} {problem}"
    if component.network and not _NETWORK.fullmatch(component.network):
        yield f"network: {shown(component.network)} is not a network's name"
    if component.user and not _USER.fullmatch(component.user):
        yield f"user: {shown(component.user)} is not USER or USER:GROUP"
    if not _RESTART.fullmatch(component.restart):
        yield f"restart: {shown(component.restart)} is not no, always, on-failure[:N] or unless-stopped"
    yield from _each("ports", component.ports, _port_problem)
    yield from _each("volumes", component.volumes, _volume_problem)
    yield from _each("cmd", component.cmd, lambda word: "contains a NUL byte" if "\0" in word else "")
    yield from _each("env", component.env, _env_problem)
    for index, route in enumerate(component.routes):
        yield from (f"routes[{index}].{problem}" for problem in _route_problems(route))
    yield from _routes_problems(component)
    if component.health is not None:
        yield from (f"health.{problem}" for problem in _health_problems(component.health))
    yield from _log_problems(component)


def _log_problems(component: ComponentSpec) -> Iterator[str]:
    driver, size = component.log_driver, component.log_max_size
    if driver not in LOG_DRIVERS:
        yield f"log_driver: {shown(driver)} is not {', '.join(LOG_DRIVERS[:-1])} or {LOG_DRIVERS[-1]}"
    elif size and driver != "k8s-file":
        yield f"log_max_size: is for the log driver k8s-file, and this component's is {driver}"
    elif size:
        try:
            if 0 < log_size(size) < LOG_SIZE_LEAST:
                yield f"log_max_size: {shown(size)} is less than {log_size_text(LOG_SIZE_LEAST)}; 0 is no limit"
        except ValueError as error:
            yield f"log_max_size: {shown(size)} {error}"


def _health_problems(health: HealthSpec) -> Iterator[str]:
    if not health.cmd:
        yield "cmd: is empty; expected a program and its arguments"
    yield from _each("cmd", health.cmd, lambda word: "contains a NUL byte" if "\0" in word else "")
    for key in ("interval", "timeout", "start_period"):
        if text := getattr(health, key):
            try:
                parse_duration(text)
            except ValueError as error:
                yield f"{key}: {shown(text)}: {error}"
    if not 0 <= health.retries <= 1000:
        yield f"retries: {health.retries} is outside 0 to 1000"


def _each(key: str, values: Iterable[str], check: Callable[[str], str]) -> Iterator[str]:
    for index, value in enumerate(values):
        if problem := check(value):
            yield f"{key}[{index}]: {problem}"


def _duplicates(key: str, names: list[str]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{key}: {count} of them are called {shown(name)}"


def _most_common(names: list[str]) -> str:
    return Counter(names).most_common(1)[0][0]


def _port_problem(text: str) -> str:
    match = _PORT.fullmatch(text)
    if match is None:
        return f"{shown(text)} is not [IP:]HOSTPORT:CONTAINERPORT[/tcp|/udp]"
    for side in ("host", "container"):
        if not 1 <= int(match[side]) <= 65535:
            return f"{shown(text)} has a {side} port outside 1 to 65535"
    if match["ip"] and not _is_address(match["ip"].strip("[]")):
        return f"{shown(text)} does not begin with an IP address"
    return ""


def _is_port(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 1 <= int(text) <= 65535


def _is_address(text: str) -> bool:
    import ipaddress  # seldom needed: keeps start-up short

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _volume_problem(text: str) -> str:
    parts = text.split(":")
    if "\0" in text or not 2 <= len(parts) <= 3:
        return f"{shown(text)} is not SOURCE:TARGET[:OPTIONS]"
    source, target = parts[0], parts[1]
    if not _VOLUME_NAME.fullmatch(source) and not _plain_path(source):
        return f"{shown(text)}: the source must be a volume's name or an absolute path without .. in it"
    if not _plain_path(target):
        return f"{shown(text)}: the target must be an absolute path without .. in it"
    unknown = [option for option in parts[2].split(",") if option not in _VOLUME_OPTIONS] if parts[2:] else []
    return f"{shown(text)}: unknown option {shown(unknown[0])}" if unknown else ""


def _plain_path(text: str) -> bool:
    return text.startswith("/") and ".." not in text.split("/") and "," not in text


def _env_problem(text: str) -> str:
    key, equals, value = text.partition("=")
    if not equals:
        return "is not KEY=VALUE"  # it may be all value: a secret is not shown
    if not _ENV_KEY.fullmatch(key):
        return f"{shown(key, 40)} is not KEY=VALUE"
    if any(c in value for c in "\0\n\r"):
        return f"{key}: a value cannot contain a line break or NUL; mount a file instead"
    return f"{key}: is longer than {ENV_LIMIT} bytes; mount a file instead" if len(text.encode()) > ENV_LIMIT else ""


def _route_problems(route: RouteSpec) -> Iterator[str]:
    if route.name and not is_name(route.name):
        yield f"name: {shown(route.name)} {NAME_RULE}"
    if not 1 <= route.port <= 65535:
        yield f"port: {route.port} is outside 1 to 65535"
    if route.mode not in ("l4", "l7"):
        yield f"mode: {shown(route.mode)} is not l4 or l7"
    if route.hostname and not _HOSTNAME.fullmatch(route.hostname):
        yield f"hostname: {shown(route.hostname)} is not a host name"


def _routes_problems(component: ComponentSpec) -> Iterator[str]:
    names = [route.name for route in component.routes]
    if len(names) > 1 and "" in names:
        yield "routes: with more than one route, each needs a name"
        return
    yield from _duplicates("routes", names)
    for name in {"PORT", *(port_variable(name) for name in names)} if names else ():
        value = component.variable(name)
        if value is not None and not _is_port(value):
            yield f"env: {name} is not a port from 1 to 65535"
    if (
        len(names) == 1
        and len({container_port(m) for m in component.ports if not _port_problem(m) and not m.endswith("/udp")}) > 1
    ):
        variables = {"PORT", port_variable(names[0])}
        if all(component.variable(variable) is None for variable in variables):
            yield "routes: with several ports, say which one the route leads to: put PORT=CONTAINERPORT into env"
