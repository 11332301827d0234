"""The specification of a service: its declared fields and their rules.

The CLI reads it from a definition, the agent from the wire; both validate it with `problems`.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from posixpath import normpath
from typing import Any

from mcp.shared.errors import Problem, shown
from mcp.shared.fields import about, optional
from mcp.shared.image import PINNED, image_problem, image_version
from mcp.shared.names import NAME_FIELD, is_name, port_variable
from mcp.shared.ports import MAPPING, Claim, clashes, container_port, host_port, port_problem
from mcp.shared.times import DURATION, parse_duration

RESTART_DEFAULT = "unless-stopped"
LOG_DRIVERS = ("k8s-file", "journald", "none")
LOG_SIZE_DEFAULT = "32m"  # per k8s-file: without a limit, one container can fill the node's disk
STOP_TIMEOUT_DEFAULT = "10s"  # whatever containers.conf of the node says
LOG_SIZE_LEAST = 1_000_000  # bytes
ENV_LIMIT = 32 * 1024  # bytes of one KEY=VALUE: podman reads environment files line by line, 64 KiB at most

_LOG_SIZE = r"([0-9]{1,12})([kmg]?)"
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}  # decimal, as podman takes them
_USER = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?"
_NETWORK = r"(?!(container|ns)$)[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
_PORTLESS_NETWORKS = ("host", "none")  # podman publishes no port of a container in one of these
_HOSTNAME = r"(?=.{1,253}$)(\*\.)?LABEL(\.LABEL)*".replace("LABEL", r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ENV_KEY = r"[A-Za-z_][A-Za-z0-9_.-]*"
_SIGNALS = "ABRT|ALRM|BUS|CHLD|CLD|CONT|FPE|HUP|ILL|INT|IO|IOT|KILL|PIPE|POLL|PROF|PWR|QUIT|SEGV|STKFLT|STOP|SYS|TERM"
_SIGNALS += "|TRAP|TSTP|TTIN|TTOU|URG|USR1|USR2|VTALRM|WINCH|XCPU|XFSZ"  # podman knows these
_SIGNAL = rf"SIG({_SIGNALS}|RTMIN(\+([1-9]|1[0-5]))?|RTMAX(-([1-9]|1[0-4]))?)"
_VOLUME_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
_VOLUME_CHOICES = (  # podman takes one of each group
    *(("ro", "rw"), ("z", "Z", "O"), ("U",), ("exec", "noexec"), ("dev", "nodev"), ("suid", "nosuid")),
    *(("bind", "rbind"), ("private", "rprivate", "shared", "rshared", "slave", "rslave"), ("nocopy",)),
)
_VOLUME_OPTIONS = tuple(option for group in _VOLUME_CHOICES for option in group)
_VOLUME = r"(?!(.*/)?\.\.([/:]|$))(NAME|/[^:,\x00]*):/[^:,\x00]*(:OPTION(,OPTION)*)?".replace(
    "NAME", _VOLUME_NAME
).replace("OPTION", f"({'|'.join(_VOLUME_OPTIONS)})")


# --- rules of single values: each returns a problem, or an empty string ---


def _image_problem(text: str) -> str:
    problem = image_problem(text)
    return f"{shown(text)} {problem}" if problem else ""


def _is_port(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 1 <= int(text) <= 65535


def _volume_problem(text: str) -> str:
    parts = text.split(":")
    if "\0" in text or not 2 <= len(parts) <= 3:
        return f"{shown(text)} is not SOURCE:TARGET[:OPTIONS]"
    source, target = parts[0], parts[1]
    if not re.fullmatch(_VOLUME_NAME, source) and not _plain_path(source):
        return f"{shown(text)}: the source must be a volume's name or an absolute path without .. in it"
    if not _plain_path(target):
        return f"{shown(text)}: the target must be an absolute path without .. in it"
    if _target(text) == "/":
        return f"{shown(text)}: the target must not be /, the container's whole file system"
    problem = _options_problem(parts[2].split(","), is_folder=source.startswith("/")) if parts[2:] else ""
    return f"{shown(text)}: {problem}" if problem else ""


def _options_problem(options: list[str], *, is_folder: bool) -> str:
    """Return the problem of a volume's options; podman's overlay of a folder (O) takes none but U."""
    if unknown := [option for option in options if option not in _VOLUME_OPTIONS]:
        return f"unknown option {shown(unknown[0])}"
    groups = [[option for option in options if option in group] for group in _VOLUME_CHOICES]
    if is_folder and "O" in options:
        groups.append([option for option in options if option != "U"])
    return next((f"{group[0]} and {group[1]} exclude each other" for group in groups if len(group) > 1), "")


def _target(volume: str) -> str:
    """Return where a volume is mounted, in the form in which podman compares targets."""
    return "/" + normpath(volume.split(":")[1]).lstrip("/")


def _plain_path(text: str) -> bool:
    return text.startswith("/") and ".." not in text.split("/") and "," not in text


def _word_problem(word: str) -> str:
    return "contains a NUL byte" if "\0" in word else ""  # it may be a secret: secrets are not shown


def _env_problem(text: str) -> str:
    key, equals, value = text.partition("=")
    if not equals:
        # it may be a value without a key: secrets are not shown
        return "is not KEY=VALUE; a name alone stands for a value that was left out, as `mcp service export` does"
    if not re.fullmatch(_ENV_KEY, key):
        return f"{shown(key, 40)} is not KEY=VALUE"
    if any(c in value for c in "\0\n\r"):
        return f"{key}: a value cannot contain a line break or NUL; mount a file instead"
    return f"{key}: is longer than {ENV_LIMIT} bytes; mount a file instead" if len(text.encode()) > ENV_LIMIT else ""


def _duration_problem(text: str, least: str = "0s", most: str = "1d") -> str:
    problem = _refusal(parse_duration, text, ": ")
    if problem or parse_duration(least) <= parse_duration(text) <= parse_duration(most):
        return problem
    return f"{shown(text)} is outside {least} to {most}"


def _interval_problem(text: str) -> str:
    return _duration_problem(text, least="100ms")


def _timeout_problem(text: str) -> str:
    return _duration_problem(text, least="1s")


def _stop_timeout_problem(text: str) -> str:
    return _duration_problem(text, most="1h")


def _log_size_problem(text: str) -> str:
    problem = _refusal(log_size, text, " ")
    if not problem and 0 < log_size(text) < LOG_SIZE_LEAST:
        return f"{shown(text)} is less than {log_size_text(LOG_SIZE_LEAST)}; 0 is no limit"
    return problem


def _refusal(parse: Callable[[str], object], text: str, separator: str) -> str:
    try:
        parse(text)
    except ValueError as error:
        return f"{shown(text)}{separator}{error}"
    return ""


_INTERVAL: dict[str, Any] = {"pattern": DURATION, "check": _interval_problem}
_TIMEOUT: dict[str, Any] = {"pattern": DURATION, "check": _timeout_problem}
_WORD: dict[str, Any] = {"pattern": r"[^\x00]*", "check": _word_problem}

# --- the specification ---


@dataclass(frozen=True)
class RouteSpec:
    """A route from the proxy to the component; clients connect to `port` of the proxy."""

    name: str = optional("", "Name of the route; required if there are several", example="rest", **NAME_FIELD)
    port: int = optional(0, "Port that clients use on the proxy", example=8443, limits=(1, 65535), required=True)
    mode: str = optional(
        "l4", "`l4`: TLS passthrough; `l7`: the proxy terminates TLS", example="l7", choices=("l4", "l7")
    )
    hostname: str = optional(
        "", "Public host name", example="docs.example.net", pattern=_HOSTNAME, rule="is not a host name"
    )


@dataclass(frozen=True)
class HealthSpec:
    """A health check; durations like `90s`. Empty texts and 0 retries stand for podman's defaults."""

    cmd: tuple[str, ...] = field(
        metadata=about(
            "Program and its arguments",
            example=("wget", "-q", "-O", "-", "http://127.0.0.1:8443/health"),
            **_WORD,
            nonempty="expected a program and its arguments",
        )
    )
    interval: str = optional("", "Time between two checks", example="10s", unset="30s", **_INTERVAL)
    timeout: str = optional("", "Time after which a check has failed", example="5s", unset="30s", **_TIMEOUT)
    retries: int = optional(
        0, "Failures in a row until the container is unhealthy", example=5, unset="3", limits=(0, 1000)
    )
    start_period: str = optional(
        "",
        "Time to start up, in which failures do not count",
        example="20s",
        unset="0s",
        pattern=DURATION,
        check=_duration_problem,
    )

    def conflicts(self) -> Iterator[Problem]:
        """Yield the problem of a command in the form of a Dockerfile, which podman would run as a program."""
        program = self.cmd[0].upper() if self.cmd else None  # podman takes Docker's words in any case
        if program == "NONE":
            yield Problem("cmd", "[\"NONE\"] is Docker's form; a definition cannot turn off the image's health check")
        elif program == "CMD":
            yield Problem("cmd", '["CMD", …] is Docker\'s form; leave out "CMD"')
        elif program == "CMD-SHELL":
            yield Problem("cmd", '["CMD-SHELL", …] is Docker\'s form; write ["sh", "-c", …]')
        elif program == "":
            yield Problem("cmd[0]", "is empty; expected a program")


@dataclass(frozen=True)
class ComponentSpec:
    """One container of a service."""

    name: str = field(metadata=about("Name of the component, unique in its service", example="SERVICE", **NAME_FIELD))
    image: str = field(
        metadata=about(
            "Full name of an image with a pinned tag, not `latest`, or a digest; either is the component's version",
            example="registry.example.net/SERVICE:v1.0.0",
            pattern=PINNED,
            check=_image_problem,
        )
    )
    network: str = optional(
        "",
        "Podman network, created if it does not exist",
        example="mcpnet",
        unset="podman's",
        pattern=_NETWORK,
        rule="is not a network's name",
    )
    user: str = optional(
        "",
        "`USER[:GROUP]` in the container",
        example="0:0",
        unset="the image's",
        pattern=_USER,
        rule="is not USER or USER:GROUP",
    )
    restart: str = optional(
        RESTART_DEFAULT,
        "`no`, `always`, `on-failure[:N]` or `unless-stopped`",
        example="on-failure:3",
        pattern=r"no|always|unless-stopped|on-failure(:[0-9]{1,4})?",
        rule="is not no, always, on-failure[:N] or unless-stopped",
    )
    ports: tuple[str, ...] = optional(
        (),
        "Published beside routes: `[IP:]HOSTPORT:CONTAINERPORT[/tcp|/udp]`",
        example=("127.0.0.1:18443:8443",),
        pattern=MAPPING,
        check=port_problem,
    )
    volumes: tuple[str, ...] = optional(
        (),
        "`SOURCE:TARGET[:OPTIONS]`; SOURCE is a volume's name or an absolute path, without `..`",
        example=("/srv/SERVICE:/srv/SERVICE",),
        pattern=_VOLUME,
        check=_volume_problem,
    )
    cmd: tuple[str, ...] = optional(
        (),
        "Command, or arguments of the image's entrypoint",
        example=("server", "--config", "/srv/SERVICE/SERVICE.toml"),
        unset="the image's",
        **_WORD,
    )
    routes: tuple[RouteSpec, ...] = optional(
        (), "Ways in from the proxy; the agent picks a host port and passes it to the container in `PORT`"
    )
    env: tuple[str, ...] = optional(
        (),
        "`KEY=VALUE`, one line, at most 32 KiB; values are in no process list and no log",
        example=("LOG_LEVEL=info",),
        pattern=_ENV_KEY + r"=[^\x00\n\r]*",
        check=_env_problem,
        secret=True,
    )
    health: HealthSpec | None = optional(None, "Health check", unset="the image's, if any")
    log_driver: str = optional(
        LOG_DRIVERS[0],
        "`k8s-file`: a file per container; `journald`; `none`: no logs",
        example="k8s-file",
        choices=LOG_DRIVERS,
    )
    log_max_size: str = optional(
        "",
        "Size at which a `k8s-file` is rotated, with `k`, `m` or `g`, at least `1m`; `0`: unlimited",
        example="64m",
        unset=LOG_SIZE_DEFAULT,
        pattern=_LOG_SIZE,
        check=_log_size_problem,
    )
    stop_timeout: str = optional(
        "",
        "Time to end after the stop signal, before SIGKILL",
        example="30s",
        unset=STOP_TIMEOUT_DEFAULT,
        pattern=DURATION,
        check=_stop_timeout_problem,
    )
    stop_signal: str = optional(
        "",
        "Signal that asks the container to end",
        example="SIGINT",
        unset="the image's, or SIGTERM",
        pattern=_SIGNAL,
        rule="is not a signal, as in SIGINT",
    )
    heal: bool = optional(
        True, "`false`: the agent does not start it again after it failed or became unhealthy", example=False
    )
    http_proxy: bool = optional(
        False, "`true`: it gets the proxy variables of the agent, such as `HTTPS_PROXY`", example=True
    )

    @property
    def version(self) -> str:
        """The tag or digest of the image."""
        return image_version(self.image)

    @property
    def log_max_bytes(self) -> int:
        """The size at which its log is rotated, in bytes; 0: never."""
        return log_size(self.log_max_size or LOG_SIZE_DEFAULT) if self.log_driver == "k8s-file" else 0

    @property
    def stop_seconds(self) -> int:
        """The whole seconds to end after the stop signal."""
        return math.ceil(parse_duration(self.stop_timeout or STOP_TIMEOUT_DEFAULT).total_seconds())

    def variable(self, name: str) -> str | None:
        """Return the value of an environment variable in the definition (the last one wins), or None."""
        values = [entry.partition("=")[2] for entry in self.env if entry.partition("=")[0] == name]
        return values[-1] if values else None

    def conflicts(self) -> Iterator[Problem]:
        """Yield the problems of fields that exclude each other."""
        yield from _route_conflicts(self)
        for claim, other in clashes(claims(self)):
            yield Problem(claim.path, f"{claim.what} is taken by {other.path} already")
        for key, values in (("ports", self.ports), ("routes", self.routes)):
            if values and self.network in _PORTLESS_NETWORKS:
                yield Problem(key, f"podman publishes no port with the network {self.network}; leave out one of them")
        yield from _target_conflicts(self.volumes)
        if self.log_max_size and self.log_driver in LOG_DRIVERS[1:]:
            what = f"is for the log driver k8s-file, and this component's is {self.log_driver}"
            yield Problem("log_max_size", what)


@dataclass(frozen=True)
class ServiceSpec:
    """A service: components that run together on one node."""

    name: str = field(metadata=about("Name of the service, as in `SERVICE.toml`", example="SERVICE", **NAME_FIELD))
    active: bool = optional(True, "`false`: `mcp deploy` refuses the service, `mcp sync` stops it", example=False)
    components: tuple[ComponentSpec, ...] = optional(
        (), "One container each, in the order they are started", nonempty="a service needs at least one component"
    )

    def component_names(self) -> list[str]:
        """The components' names, in the order of the definition."""
        return [component.name for component in self.components]

    def conflicts(self) -> Iterator[Problem]:
        """Yield the ports that several components take."""
        taken = [
            claim
            for index, component in enumerate(self.components)
            if is_name(component.name)
            for claim in claims(component, f"component {component.name}", prefix=f"components[{index}].")
        ]
        for claim, other in clashes(taken):
            yield Problem(claim.path, f"{claim.what} is taken by {other.owner} already")


def claims(component: ComponentSpec, owner: str = "", hostname: str = "", prefix: str = "") -> Iterator[Claim]:
    """Yield the ports that a component takes, for `owner` or each for itself.

    `hostname` is the host name of routes that have none; `prefix` is put before each path.
    """
    for index, mapping in enumerate(component.ports):
        if not port_problem(mapping):
            path = f"{prefix}ports[{index}]"
            yield host_port(mapping, owner or path, path)
    for index, route in enumerate(component.routes):
        path, name = f"{prefix}routes[{index}].port", route.hostname or hostname
        if not name or re.fullmatch(_HOSTNAME, name):
            yield Claim(owner or path, path, f"port {route.port} of the proxy{f' for {name}' if name else ''}")


def log_size(text: str) -> int:
    """Parse a size such as `500000`, `10m` or `1g`, with decimal units, into bytes; raises ValueError."""
    match = re.fullmatch(_LOG_SIZE, text)
    if match is None:
        raise ValueError("is not a number of bytes, or one with k, m or g, as in 10m")
    return int(match[1]) * _UNITS[match[2]]


def log_size_text(size: int) -> str:
    """Return the shortest text that `log_size` parses to `size`."""
    return min((f"{size // each}{unit}" for unit, each in _UNITS.items() if size % each == 0), key=len)


def fixed_port(component: ComponentSpec, route: RouteSpec) -> int | None:
    """Return the container port that the definition fixes for a route, or None if the agent chooses one.

    An application that obeys PORT would no longer listen on the port of an explicit mapping, so an explicit port
    wins: PORT (or PORT_NAME) in `env` first, then the container port of a single mapping in `ports`.
    """
    for name in dict.fromkeys((port_variable(route.name), *(["PORT"] if len(component.routes) == 1 else []))):
        value = component.variable(name)
        if value is not None:
            return int(value)
    mapped = _mapped_ports(component)
    return mapped.pop() if len(component.routes) == 1 and len(mapped) == 1 else None


def _mapped_ports(component: ComponentSpec) -> set[int]:
    """Return the container ports of all valid TCP mappings."""
    valid = (mapping for mapping in component.ports if not port_problem(mapping))
    return {container_port(mapping) for mapping in valid if not mapping.endswith("/udp")}


def _route_conflicts(component: ComponentSpec) -> Iterator[Problem]:
    names = [route.name for route in component.routes]
    if len(names) > 1 and "" in names:
        yield Problem("routes", "with more than one route, each needs a name")
        return
    variables = {"PORT", *(port_variable(name) for name in names)} if names else set()
    given = {name: value for name in variables if (value := component.variable(name)) is not None}
    for name, value in given.items():
        if not _is_port(value):
            yield Problem("env", f"{name} is not a port from 1 to 65535")
    if len(names) == 1 and not given and len(_mapped_ports(component)) > 1:
        what = "with several ports, say which one the route leads to: put PORT=CONTAINERPORT into env"
        yield Problem("routes", what)


def _target_conflicts(volumes: tuple[str, ...]) -> Iterator[Problem]:
    earlier: dict[str, int] = {}
    for index, volume in enumerate(volumes):
        first = index if _volume_problem(volume) else earlier.setdefault(_target(volume), index)
        if first != index:
            yield Problem(f"volumes[{index}]", f"{shown(volume)}: the target is that of volumes[{first}] already")
