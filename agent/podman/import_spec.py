"""Derive a component's specification from a container and its image. All pure.

It also finds settings that a definition cannot express: such a container is not adopted.
"""

import re
from collections.abc import Iterator
from typing import Any

from agent.podman.inspect import ContainerObject
from mcp.shared.spec import (
    LOG_DRIVERS,
    LOG_SIZE_DEFAULT,
    ComponentSpec,
    HealthSpec,
    log_size,
    log_size_text,
)

PRIVATE_NETWORKS = ("", "slirp4netns", "pasta", "default", "private")  # defaults of rootless podman
OWN_VARIABLES = ("container", "HOSTNAME", "TERM", "HOME")  # set by podman in every container
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
VOLUME_DEFAULTS = ("rw", "rprivate", "rbind", "nosuid", "nodev")
LOG_FILE = ("", "json-file")  # podman's other names of k8s-file
LOG_SIZE = re.compile(r"([0-9.]+)([kMGT]?)B")
ANONYMOUS = re.compile(r"[0-9a-f]{64}")

# Options of `podman run` that a definition cannot express: path in `podman inspect`, default values, option.
INEXPRESSIBLE: tuple[tuple[str, tuple[object, ...], str], ...] = (
    ("HostConfig.Privileged", (False,), "--privileged"),
    ("HostConfig.Devices", ((),), "--device"),
    ("HostConfig.CapAdd", ((),), "--cap-add"),
    ("HostConfig.CapDrop", ((),), "--cap-drop"),
    ("HostConfig.SecurityOpt", ((),), "--security-opt"),
    ("HostConfig.GroupAdd", ((),), "--group-add"),
    ("HostConfig.Tmpfs", ({},), "--tmpfs"),
    ("HostConfig.ReadonlyRootfs", (False,), "--read-only"),
    ("HostConfig.AutoRemove", (False,), "--rm"),
    ("HostConfig.Init", (False,), "--init"),
    ("HostConfig.Dns", ((),), "--dns"),
    ("HostConfig.DnsOptions", ((),), "--dns-option"),
    ("HostConfig.DnsSearch", ((),), "--dns-search"),
    ("HostConfig.ExtraHosts", ((),), "--add-host"),
    ("HostConfig.Memory", (0,), "--memory"),
    ("HostConfig.NanoCpus", (0,), "--cpus"),
    ("HostConfig.CpuShares", (0,), "--cpu-shares"),
    ("HostConfig.CpusetCpus", ("",), "--cpuset-cpus"),
    ("HostConfig.PidMode", ("", "private"), "--pid"),
    ("HostConfig.IpcMode", ("", "private", "shareable"), "--ipc"),
    ("HostConfig.UTSMode", ("", "private"), "--uts"),
    ("HostConfig.UsernsMode", ("", "host"), "--userns"),
    ("HostConfig.VolumesFrom", ((),), "--volumes-from"),
    ("HostConfig.LogConfig.Tag", ("",), "--log-opt=tag"),
    ("Config.Secrets", ((),), "--secret"),
    ("Config.Tty", (False,), "--tty"),
    ("Config.OpenStdin", (False,), "--interactive"),
    ("Config.Timeout", (0,), "--timeout"),
    ("Pod", ("",), "--pod"),
)


def problems(inspected: ContainerObject) -> Iterator[str]:
    """Yield the settings of a container that a definition cannot express."""
    container, image = inspected.container, inspected.image
    for path, defaults, option in INEXPRESSIBLE:
        value = _at(container, path)
        if value and (tuple(value) if isinstance(value, list) else value) not in defaults:
            yield f"{option} cannot be expressed in a definition"
    config, base = container.get("Config") or {}, image.get("Config") or {}
    if _words(config.get("Entrypoint")) != _words(base.get("Entrypoint")):
        yield "--entrypoint cannot be expressed in a definition"
    if (config.get("WorkingDir") or "/") != (base.get("WorkingDir") or "/"):
        yield "--workdir cannot be expressed in a definition"
    if base.get("Cmd") and not config.get("Cmd"):
        yield "it has no command although its image has one"
    check = config.get("Healthcheck") or {}
    if check.get("Test") == ["NONE"] and (base.get("Healthcheck") or {}).get("Test"):
        yield "--no-healthcheck cannot be expressed in a definition"
    yield from _network_problems(container)
    if (driver := _log_driver(container)) not in LOG_DRIVERS:
        yield f"--log-driver={driver} cannot be expressed in a definition"


def _network_problems(container: dict[str, Any]) -> Iterator[str]:
    mode = str(_at(container, "HostConfig.NetworkMode") or "")
    if mode.startswith(("container:", "ns:")):
        yield f"its network is {mode}, another container's"
    elif ":" in mode:
        yield f"options of a network ({mode}) cannot be expressed in a definition"
    elif len(_networks(container)) > 1:
        yield f"it is in several networks: {', '.join(_networks(container))}"


def component(name: str, inspected: ContainerObject) -> ComponentSpec:
    """Return a container's specification; it may violate rules of definitions (see `fields.problems`)."""
    container, image = inspected.container, inspected.image
    config, base = container.get("Config") or {}, image.get("Config") or {}
    cmd, user = tuple(config.get("Cmd") or ()), str(config.get("User") or "")
    return ComponentSpec(
        name=name,
        image=inspected.details.image or str(config.get("Image") or ""),
        network=_network(container),
        user="" if user == (base.get("User") or "") else user,
        restart=_restart(_at(container, "HostConfig.RestartPolicy") or {}),
        ports=tuple(_ports(_at(container, "HostConfig.PortBindings") or {})),
        volumes=tuple(_volumes(container)),
        cmd=() if cmd == tuple(base.get("Cmd") or ()) else cmd,
        env=tuple(_env(config, base)),
        health=_health(config.get("Healthcheck") or {}, base.get("Healthcheck") or {}),
        log_driver=_log_driver(container),
        log_max_size=_log_max_size(container),
    )


def _at(data: dict[str, Any], path: str) -> Any:
    value: Any = data
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _words(value: object) -> list[str]:
    """Split an entrypoint: podman 4 has a container's as a string, an image's as a list; podman 5 has two lists."""
    return value.split() if isinstance(value, str) else " ".join(value or ()).split() if isinstance(value, list) else []


def _networks(container: dict[str, Any]) -> list[str]:
    return sorted(_at(container, "NetworkSettings.Networks") or {})


def _network(container: dict[str, Any]) -> str:
    mode = str(_at(container, "HostConfig.NetworkMode") or "")
    if mode.partition(":")[0] in PRIVATE_NETWORKS:
        return ""
    return next(iter(_networks(container)), mode) if mode == "bridge" else mode


def _restart(policy: dict[str, Any]) -> str:
    name, count = str(policy.get("Name") or "no"), policy.get("MaximumRetryCount") or 0
    return f"{name}:{count}" if name == "on-failure" and count else name


def _ports(bindings: dict[str, Any]) -> Iterator[str]:
    for inside, hosts in sorted(bindings.items()):
        port, _, protocol = inside.partition("/")
        for host in hosts or ():
            address = str(host.get("HostIp") or "")
            address = f"[{address}]:" if ":" in address else f"{address}:" if address else ""
            yield f"{address}{host.get('HostPort')}:{port}{'/udp' if protocol == 'udp' else ''}"


def _volumes(container: dict[str, Any]) -> Iterator[str]:
    """Yield the mounts except the image's anonymous volumes, which podman creates for each new container."""
    for bind in sorted(_at(container, "HostConfig.Binds") or (), key=lambda bind: str(bind).split(":")[1:2]):
        source, target, *options = str(bind).split(":")
        if not ANONYMOUS.fullmatch(source):
            explicit = [option for option in ",".join(options).split(",") if option and option not in VOLUME_DEFAULTS]
            yield ":".join([source, target, *([",".join(explicit)] if explicit else [])])


def _env(config: dict[str, Any], base: dict[str, Any]) -> Iterator[str]:
    inherited, create_command = set(base.get("Env") or ()), config.get("CreateCommand") or ()
    for entry in config.get("Env") or ():
        name, _, value = str(entry).partition("=")
        by_podman = (name in OWN_VARIABLES and not any(f"{name}=" in str(word) for word in create_command)) or (
            name == "PATH" and value == DEFAULT_PATH
        )
        if entry not in inherited and not by_podman:
            yield str(entry)


def _health(check: dict[str, Any], base: dict[str, Any]) -> HealthSpec | None:
    test = [str(word) for word in check.get("Test") or ()]
    if check == base or test[:1] in ([], ["NONE"]):
        return None
    cmd = test[1:] if test[0] == "CMD" else ["/bin/sh", "-c", *test[1:]] if test[0] == "CMD-SHELL" else test
    return HealthSpec(
        cmd=tuple(cmd),
        interval=_duration(check.get("Interval"), 30),
        timeout=_duration(check.get("Timeout"), 30),
        retries=0 if check.get("Retries") in (None, 3) else int(check["Retries"]),
        start_period=_duration(check.get("StartPeriod"), 0),
    )


def _log_driver(container: dict[str, Any]) -> str:
    driver = str(_at(container, "HostConfig.LogConfig.Type") or "")
    return LOG_DRIVERS[0] if driver in LOG_FILE else driver


def _log_max_size(container: dict[str, Any]) -> str:
    """Return the size limit, from four digits as in `33.55MB`: podman does not print it to the byte."""
    match = LOG_SIZE.fullmatch(str(_at(container, "HostConfig.LogConfig.Size") or ""))
    if match is None or _log_driver(container) != LOG_DRIVERS[0]:
        return ""
    size = round(float(match[1]) * 1000 ** " kMGT".index(match[2] or " "))
    return "" if size == log_size(LOG_SIZE_DEFAULT) else log_size_text(size)


def _duration(nanoseconds: object, default: int) -> str:
    milliseconds = int(nanoseconds) // 1_000_000 if isinstance(nanoseconds, int) else 0
    if milliseconds in (0, default * 1000):
        return ""
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"
