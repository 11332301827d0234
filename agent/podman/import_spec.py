"""Derive a component's specification from a container and its image. All pure.

It also finds settings that a definition cannot express: such a container is not adopted.
"""

import re
import signal
from collections.abc import Iterator
from typing import Any

from agent.podman import create_command
from agent.podman.create_command import CreateCommand, inexpressible, volume_options
from agent.podman.inspect import ANONYMOUS, ANY_ADDRESS, STOP_SECONDS, ContainerObject
from mcp.shared.names import LABEL_COMPONENT, LABEL_DEPLOY, LABEL_SERVICE
from mcp.shared.spec import (
    LOG_DRIVERS,
    LOG_SIZE_DEFAULT,
    ComponentSpec,
    HealthSpec,
    log_size,
    log_size_text,
)

PRIVATE_NETWORKS = ("", "slirp4netns", "pasta", "default", "private")  # defaults of rootless podman
HOMES = ("", "/", "/root")  # of users that a container's image need not have
LABELS = (LABEL_SERVICE, LABEL_COMPONENT, LABEL_DEPLOY)
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RTMIN, RTMAX = 34, 64
LOG_FILE = ("", "json-file")  # podman's other names of k8s-file
LOG_SIZE = re.compile(r"([0-9.]+)([kMGT]?)B")

# Options of `podman run` that a definition cannot express: path in `podman inspect`, default values, option.
INEXPRESSIBLE: tuple[tuple[str, tuple[object, ...], str], ...] = (
    ("HostConfig.GroupAdd", ((),), "--group-add"),
    ("HostConfig.Tmpfs", ({},), "--tmpfs"),
    ("HostConfig.AutoRemove", (False,), "--rm"),
    ("HostConfig.AutoRemoveImage", (False,), "--rmi"),
    ("HostConfig.ExtraHosts", ((),), "--add-host"),
    ("HostConfig.BlkioWeight", (0,), "--blkio-weight"),
    ("HostConfig.BlkioWeightDevice", ((),), "--blkio-weight-device"),
    ("HostConfig.BlkioDeviceReadBps", ((),), "--device-read-bps"),
    ("HostConfig.BlkioDeviceReadIOps", ((),), "--device-read-iops"),
    ("HostConfig.BlkioDeviceWriteBps", ((),), "--device-write-bps"),
    ("HostConfig.BlkioDeviceWriteIOps", ((),), "--device-write-iops"),
    ("HostConfig.CgroupConf", ({},), "--cgroup-conf"),
    ("HostConfig.CpuPeriod", (0,), "--cpu-period"),
    ("HostConfig.CpuQuota", (0,), "--cpu-quota"),
    ("HostConfig.CpuRealtimePeriod", (0,), "--cpu-rt-period"),
    ("HostConfig.CpuRealtimeRuntime", (0,), "--cpu-rt-runtime"),
    ("HostConfig.CpuShares", (0,), "--cpu-shares"),
    ("HostConfig.CpusetCpus", ("",), "--cpuset-cpus"),
    ("HostConfig.CpusetMems", ("",), "--cpuset-mems"),
    ("HostConfig.NanoCpus", (0,), "--cpus"),
    ("HostConfig.IntelRdtClosID", ("",), "--rdt-class"),
    ("HostConfig.Memory", (0,), "--memory"),
    ("HostConfig.MemoryReservation", (0,), "--memory-reservation"),
    ("HostConfig.MemorySwap", (0,), "--memory-swap"),
    ("HostConfig.MemorySwappiness", (0, -1), "--memory-swappiness"),
    ("HostConfig.OomKillDisable", (False,), "--oom-kill-disable"),
    ("HostConfig.VolumesFrom", ((),), "--volumes-from"),
    ("Config.ChrootDirs", ((),), "--chrootdirs"),
    ("Config.HealthcheckOnFailureAction", ("", "none"), "--health-on-failure"),
    ("Config.StartupHealthCheck", ({},), "--health-startup-cmd"),
    ("Config.Secrets", ((),), "--secret"),
    ("Config.sdNotifyMode", ("", "container"), "--sdnotify"),
    ("Config.Tty", (False,), "--tty"),
    ("Config.OpenStdin", (False,), "--interactive"),
    ("Config.Timeout", (0,), "--timeout"),
    ("Dependencies", ((),), "--requires"),
    ("Pod", ("",), "--pod"),
)
# The same for what `containers.conf` can set as well: only the command that made the container says if it was given.
CONFIGURABLE: tuple[tuple[str, tuple[object, ...], str], ...] = (
    ("HostConfig.CapAdd", ((),), "--cap-add"),
    ("HostConfig.CapDrop", ((), ("CAP_AUDIT_WRITE", "CAP_MKNOD", "CAP_NET_RAW")), "--cap-drop"),  # Debian 12's
    ("HostConfig.Privileged", (False,), "--privileged"),
    ("HostConfig.Devices", ((),), "--device"),
    ("HostConfig.SecurityOpt", ((),), "--security-opt"),
    ("HostConfig.ReadonlyRootfs", (False,), "--read-only"),
    ("HostConfig.Init", (False,), "--init"),
    ("HostConfig.Dns", ((),), "--dns"),
    ("HostConfig.DnsOptions", ((),), "--dns-option"),
    ("HostConfig.DnsSearch", ((),), "--dns-search"),
    ("HostConfig.HostsFile", ("",), "--hosts-file"),
    ("HostConfig.CgroupMode", ("", "private"), "--cgroupns"),
    ("HostConfig.Cgroups", ("", "default"), "--cgroups"),
    ("HostConfig.IpcMode", ("", "private", "shareable"), "--ipc"),
    ("HostConfig.PidMode", ("", "private"), "--pid"),
    ("HostConfig.UTSMode", ("", "private"), "--uts"),
    ("HostConfig.UsernsMode", ("", "host"), "--userns"),
    ("HostConfig.OomScoreAdj", (0,), "--oom-score-adj"),
    ("HostConfig.PidsLimit", (0, 2048), "--pids-limit"),
    ("HostConfig.ShmSize", (0, 65536000, 65536 * 1024), "--shm-size"),
    ("HostConfig.LogConfig.Tag", ("",), "--log-opt=tag"),
    ("Config.HealthLogDestination", ("", "local"), "--health-log-destination"),
    ("Config.HealthcheckMaxLogCount", (0, 5), "--health-max-log-count"),
    ("Config.HealthcheckMaxLogSize", (0, 500), "--health-max-log-size"),
    ("Config.SystemdMode", (False,), "--systemd"),
    ("Config.Timezone", ("",), "--tz"),
    ("Config.Umask", ("", "0022"), "--umask"),
    ("UseImageHostname", (False,), "--no-hostname"),
    ("UseImageHosts", (False,), "--no-hosts"),
)
RESOURCES_SET_BY_PODMAN = ("RLIMIT_NOFILE", "RLIMIT_NPROC")
# Annotations that podman sets by itself, or for options that are found otherwise.
ANNOTATIONS = ("io.container.", "io.kubernetes.cri-o.", "io.podman.", "org.opencontainers.image.", "org.systemd.")
UNREPORTED = "not made by podman run or podman create: options that podman does not report are not adopted"


def notes(inspected: ContainerObject) -> tuple[str, ...]:
    """Return remarks for the user on a container that can be adopted."""
    return () if _create_command(inspected.container) else (UNREPORTED,)


def problems(inspected: ContainerObject) -> list[str]:
    """Return the settings of a container that a definition cannot express."""
    container, command = inspected.container, _create_command(inspected.container)
    found = list(_network_problems(container))
    if command is not None:
        found += create_command.problems(command, tuple(_volumes_of(container)))
        found += _reported(container, INEXPRESSIBLE)
    else:
        found += _reported(container, INEXPRESSIBLE + CONFIGURABLE)
        found += _unnamed_problems(container)
    return list(dict.fromkeys([*found, *_image_problems(container, inspected.image)]))


def _create_command(container: dict[str, Any]) -> CreateCommand | None:
    return create_command.parse([str(word) for word in _at(container, "Config.CreateCommand") or ()])


def _reported(container: dict[str, Any], table: tuple[tuple[str, tuple[object, ...], str], ...]) -> Iterator[str]:
    """Yield the options of a table that `podman inspect` reports with other values than podman's defaults."""
    for path, defaults, option in table:
        value = _at(container, path)
        if value and (tuple(value) if isinstance(value, list) else value) not in defaults:
            yield inexpressible(option)
    if _at(container, "Config.Passwd") is False:
        yield inexpressible("--passwd=false")


def _unnamed_problems(container: dict[str, Any]) -> Iterator[str]:
    """Yield what can only be told from values that differ for each container, if no command says more."""
    identifier, mode = str(container.get("Id")), str(_at(container, "HostConfig.NetworkMode") or "")
    if (_at(container, "Config.Hostname") or identifier[:12]) != identifier[:12] and mode != "host":
        yield inexpressible("--hostname")
    for network in (_at(container, "NetworkSettings.Networks") or {}).values():
        if {*(network.get("Aliases") or ())} - {identifier[:12], container.get("Name")}:
            yield inexpressible("--network-alias")
    for name in _at(container, "Config.Annotations") or ():
        if not name.startswith(ANNOTATIONS):
            yield inexpressible(f"--annotation={name}")
    for limit in _at(container, "HostConfig.Ulimits") or ():
        if limit.get("Name") not in RESOURCES_SET_BY_PODMAN:
            yield inexpressible("--ulimit")


def _image_problems(container: dict[str, Any], image: dict[str, Any]) -> Iterator[str]:
    """Yield what differs from the image, and what is neither its nor podman's."""
    config, base = container.get("Config") or {}, image.get("Config") or {}
    if _words(config.get("Entrypoint")) != _words(base.get("Entrypoint")):
        yield inexpressible("--entrypoint")
    if (config.get("WorkingDir") or "/") != (base.get("WorkingDir") or "/"):
        yield inexpressible("--workdir")
    if base.get("Cmd") and not config.get("Cmd"):
        yield "it has no command although its image has one"
    check = config.get("Healthcheck") or {}
    if check.get("Test") == ["NONE"] and (base.get("Healthcheck") or {}).get("Test"):
        yield inexpressible("--no-healthcheck")
    if check.get("Test") not in (None, [], ["NONE"]) and check != base.get("Healthcheck") and not check.get("Interval"):
        yield inexpressible("--health-interval=disable")
    if removed := _names(base.get("Env")) - _names(config.get("Env")):
        yield inexpressible(f"--unsetenv={min(removed)}")
    labels = base.get("Labels") or {}
    for name, value in (config.get("Labels") or {}).items():
        if labels.get(name) != value and name not in LABELS:
            yield inexpressible(f"--label={name}")


def _network_problems(container: dict[str, Any]) -> Iterator[str]:
    mode = str(_at(container, "HostConfig.NetworkMode") or "")
    if mode.startswith(("container:", "ns:")):
        yield f"its network is {mode}, another container's"
    elif ":" in mode:
        yield f"options of a network ({mode}) cannot be expressed in a definition"
    elif len(_networks(container)) > 1:
        yield f"it is in several networks: {', '.join(_networks(container))}"
    for inside, hosts in (_at(container, "HostConfig.PortBindings") or {}).items():
        if hosts and inside.partition("/")[2] not in ("", "tcp", "udp"):
            yield inexpressible(f"--publish of {inside}")
    if (driver := _log_driver(container)) not in LOG_DRIVERS:
        yield inexpressible(f"--log-driver={driver}")
    path = str(_at(container, "HostConfig.LogConfig.Path") or "")
    if path and not path.endswith("/userdata/ctr.log"):
        yield inexpressible("--log-opt=path")


def component(name: str, inspected: ContainerObject) -> ComponentSpec:
    """Return a container's specification; it may violate rules of definitions (see `fields.problems`)."""
    container, image = inspected.container, inspected.image
    config, base = container.get("Config") or {}, image.get("Config") or {}
    cmd, user = tuple(config.get("Cmd") or ()), str(config.get("User") or "")
    command = _create_command(container)
    return ComponentSpec(
        name=name,
        image=inspected.details.image or str(config.get("Image") or ""),
        network=_network(container, command),
        user="" if user == (base.get("User") or "") else user,
        restart=_restart(_at(container, "HostConfig.RestartPolicy") or {}),
        ports=tuple(_ports(_at(container, "HostConfig.PortBindings") or {}, command)),
        volumes=tuple(_volumes_of(container)),
        cmd=() if cmd == tuple(base.get("Cmd") or ()) else cmd,
        env=tuple(_env(container, base, command)),
        health=_health(config.get("Healthcheck") or {}, base.get("Healthcheck") or {}),
        log_driver=_log_driver(container),
        log_max_size=_log_max_size(container),
        stop_timeout=_stop_timeout(config),
        stop_signal=_stop_signal(config, base),
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


def _network(container: dict[str, Any], command: CreateCommand | None) -> str:
    mode = str(_at(container, "HostConfig.NetworkMode") or "")
    if mode.partition(":")[0] in PRIVATE_NETWORKS:
        return mode if command and mode in command.values("network") else ""
    return next(iter(_networks(container)), mode) if mode == "bridge" else mode


def _restart(policy: dict[str, Any]) -> str:
    name, count = str(policy.get("Name") or "no"), policy.get("MaximumRetryCount") or 0
    return f"{name}:{count}" if name == "on-failure" and count else name


def _ports(bindings: dict[str, Any], command: CreateCommand | None) -> Iterator[str]:
    """Yield the published ports; podman 5 has 0.0.0.0 for no address, which includes the IPv6 addresses."""
    published = command.values("publish", "publish-all") if command else [ANY_ADDRESS]
    is_any = not any(text.startswith(ANY_ADDRESS) for text in published)
    for inside, hosts in sorted(bindings.items()):
        port, _, protocol = inside.partition("/")
        for host in hosts or ():
            address = str(host.get("HostIp") or "")
            address = "" if address == ANY_ADDRESS and is_any else address
            address = f"[{address}]:" if ":" in address else f"{address}:" if address else ""
            yield f"{address}{host.get('HostPort')}:{port}{'/udp' if protocol == 'udp' else ''}"


def _volumes(container: dict[str, Any]) -> Iterator[str]:
    """Yield the mounts except anonymous volumes, which each new container gets again."""
    for bind in sorted(_at(container, "HostConfig.Binds") or (), key=lambda bind: str(bind).split(":")[1:2]):
        source, target, *options = str(bind).split(":")
        if not ANONYMOUS.fullmatch(source):
            explicit = [
                option
                for option in ",".join(options).split(",")
                if option and option not in create_command.VOLUME_DEFAULTS
            ]
            yield ":".join([source, target, *([",".join(explicit)] if explicit else [])])


def _volumes_of(container: dict[str, Any]) -> Iterator[str]:
    """Yield the mounts with the options that only the command that made the container has."""
    command, unreported = _create_command(container), {}
    for text in command.values("volume") if command else ():
        target, options = volume_options(text)
        unreported[target] = [option for option in options if option in create_command.VOLUME_UNREPORTED]
    for volume in _volumes(container):
        target, options = volume_options(volume)
        more = [option for option in unreported.get(target, ()) if option not in options]
        yield f"{volume}{',' if options else ':'}{','.join(more)}" if more else volume


def _names(env: list[str] | None) -> set[str]:
    return {str(entry).partition("=")[0] for entry in env or ()}


def _env(container: dict[str, Any], base: dict[str, Any], command: CreateCommand | None) -> Iterator[str]:
    """Yield the variables that neither the image nor podman sets."""
    config, identifier = container.get("Config") or {}, str(container.get("Id"))
    inherited = {str(entry) for entry in base.get("Env") or ()}
    own = {"TERM=xterm", "container=podman", f"HOSTNAME={config.get('Hostname')}", f"HOSTNAME={identifier[:12]}"}
    own |= set() if "PATH" in _names(base.get("Env")) else {f"PATH={DEFAULT_PATH}"}
    told = _names(command.values("env") if command else [])
    from_elsewhere = command is None or command.values("env-file", "env-host", "env-merge")
    for entry in config.get("Env") or ():
        name, _, value = str(entry).partition("=")
        by_podman = entry in own or (name == "HOME" and (value in HOMES or not from_elsewhere))
        if entry not in inherited and (name in told or not by_podman):
            yield str(entry)


def _stop_timeout(config: dict[str, Any]) -> str:
    seconds = config.get("StopTimeout")
    return "" if seconds in (None, STOP_SECONDS) else f"{seconds}s"


def _stop_signal(config: dict[str, Any], base: dict[str, Any]) -> str:
    """Return a stop signal other than the image's, by name; podman 4 has a container's as a number."""
    name = _signal_name(config.get("StopSignal"))
    return "" if name in ("", _signal_name(base.get("StopSignal")) or "SIGTERM") else name


def _signal_name(value: object) -> str:
    text = str(value or "").upper()
    if not text.isdecimal():
        return f"SIG{text.removeprefix('SIG')}" if text else ""
    number = int(text)
    if RTMIN < number < RTMAX:
        return f"SIGRTMIN+{number - RTMIN}"
    return signal.Signals(number).name if number else ""


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
