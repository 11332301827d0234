"""Read mcp-agent.toml strictly into an AgentConfig."""

import ipaddress
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from mcp.shared.errors import shown
from mcp.shared.files import Trust
from mcp.shared.names import NAME_RULE, is_name
from mcp.shared.times import in_seconds, parse_duration
from mcp.shared.toml import Table, read_text, read_toml
from mcp.shared.url import MciasConfig, parse_https_url

BACKENDS = ("local", "mcias")
LOG_LEVELS = ("debug", "info", "warning", "error")

SHORTEST_INTERVAL = 0.1  # seconds
KEEP_DEPLOYS, LEAST_DEPLOYS = 100, 10  # of each service, in the history

# Planned sections that this version does not implement; refused instead of silently ignored.
_NOT_YET = ("metacrypt", "mcns", "mcproxy")


@dataclass(frozen=True)
class MonitorConfig:
    """Settings of the monitor: times in seconds; `alert_command` is an argv, empty for none."""

    interval: float = 60.0
    alert_command: tuple[str, ...] = ()
    cooldown: float = 900.0
    flap_threshold: int = 3
    flap_window: float = 600.0
    retention: float = 30 * 86400.0


@dataclass(frozen=True)
class AgentConfig:
    """Settings of the agent: absolute paths, times in seconds."""

    grpc_addr: str
    tls_cert: Path
    tls_key: Path
    database: Path
    node_name: str
    container_runtime: str
    runtime_timeout: float
    settle: float
    log_level: str
    source: Path
    boot_order: tuple[tuple[str, ...], ...] = ()
    keep_deploys: int = KEEP_DEPLOYS
    monitor: MonitorConfig = MonitorConfig()
    services_root: Path = Path("/srv")
    allow_mounts: tuple[Path, ...] = ()
    mcias: MciasConfig | None = None


def load(path: Path) -> AgentConfig:
    """Read the agent's configuration; raises InvalidFile with all problems."""
    return read_toml(path, lambda table: _build(table, path), read_text(path, Trust.OWN))


def _build(root: Table, path: Path) -> AgentConfig:
    server, database, agent = root.table("server"), root.table("database"), root.table("agent")
    auth, log, monitor = root.table("auth"), root.table("log"), root.table("monitor")
    for name in _NOT_YET:
        if root.has(name):
            root.table(name).items()
            root.problem(name, "is not supported by this version; remove the section")
    level = log.text("level", "info")
    if level not in LOG_LEVELS:
        log.problem("level", f'"{level}" is not one of {", ".join(LOG_LEVELS)}')
    config = AgentConfig(
        grpc_addr=server.checked("grpc_addr", parse_address) or "",
        tls_cert=_path(server, "tls_cert"),
        tls_key=_path(server, "tls_key"),
        database=_path(database, "path"),
        node_name=agent.checked("node_name", _node_name) or "",
        container_runtime=agent.checked("container_runtime", _runtime, "podman") or "podman",
        runtime_timeout=_seconds(agent, "runtime_timeout", "15s"),
        settle=_seconds(agent, "settle", "5s"),
        log_level=level,
        source=path,
        boot_order=_boot_order(agent),
        keep_deploys=_keep_deploys(agent),
        monitor=_monitor(monitor),
        services_root=agent.checked("services_root", _absolute, "/srv") or Path("/srv"),
        allow_mounts=_allow_mounts(agent),
        mcias=_mcias(root, auth),
    )
    for table in (server, database, agent, auth, log, monitor):
        table.close()
    return config


def _allow_mounts(agent: Table) -> tuple[Path, ...]:
    """Return the paths that containers get although they lead to the agent's own files or podman's."""
    paths = list[Path]()
    for index, text in enumerate(agent.texts("allow_mounts")):
        try:
            paths.append(_absolute(text))
        except ValueError as error:
            agent.problem(f"allow_mounts[{index}]", f"{shown(text)}: {error}")
    return tuple(paths)


def _mcias(root: Table, auth: Table) -> MciasConfig | None:
    """Return the settings of MCIAS if it is the backend; the default is the local backend."""
    configured = root.has("mcias")
    backend = auth.text("backend", "mcias" if configured else "local")
    if backend not in BACKENDS:
        auth.problem("backend", f"{shown(backend)} is not one of {', '.join(BACKENDS)}")
    elif backend == "local" and configured:
        auth.problem("backend", '"local" conflicts with the section [mcias]; remove one of them')
    if backend != "mcias" and not configured:
        return None
    table = root.table("mcias")
    endpoint = table.checked("server_url", parse_https_url)
    ca_cert = table.checked("ca_cert", _absolute, "")
    service_name = table.text("service_name", "mcp")
    table.close()
    return MciasConfig(endpoint, ca_cert, service_name) if endpoint is not None else None


def _monitor(table: Table) -> MonitorConfig:
    threshold = table.integer("flap_threshold", 3)
    if threshold < 1:
        table.problem("flap_threshold", f"{threshold}: expected 1 or more")
    config = MonitorConfig(
        interval=table.checked("interval", _interval, "60s") or SHORTEST_INTERVAL,
        alert_command=_alert_command(table),
        cooldown=_seconds(table, "cooldown", "15m"),
        flap_threshold=threshold,
        flap_window=_seconds(table, "flap_window", "10m"),
        retention=_seconds(table, "retention", "30d"),
    )
    if config.flap_window < config.flap_threshold * config.interval:
        # at most one change per round is detectable, so no container could reach the threshold
        table.problem("flap_window", "is shorter than flap_threshold * interval; increase it, or reduce interval")
    return config


def _interval(text: str) -> float:
    seconds = parse_duration(text).total_seconds()
    if seconds < SHORTEST_INTERVAL:
        raise ValueError(f"expected {in_seconds(SHORTEST_INTERVAL * 1000)}ms or more")
    return seconds


def _alert_command(table: Table) -> tuple[str, ...]:
    command = table.texts("alert_command")
    if command and not command[0].startswith("/"):
        table.problem("alert_command[0]", f"{shown(command[0])}: expected the absolute path of a program")
    for index, word in enumerate(command):
        if "\0" in word:
            table.problem(f"alert_command[{index}]", "contains a NUL character")
    return command


def _keep_deploys(agent: Table) -> int:
    number = agent.integer("keep_deploys", KEEP_DEPLOYS)
    if number < LEAST_DEPLOYS:
        agent.problem("keep_deploys", f"{number}: expected {LEAST_DEPLOYS} or more")
    return number


def _boot_order(agent: Table) -> tuple[tuple[str, ...], ...]:
    """Return the stages of services; each is up before the next starts."""
    stages, seen = agent.lists("boot_order"), set[str]()
    for index, stage in enumerate(stages):
        if not stage:
            agent.problem(f"boot_order[{index}]", "is empty; a stage needs at least one service")
        for name in stage:
            if not is_name(name):
                agent.problem(f"boot_order[{index}]", f"{shown(name)} {NAME_RULE}")
            elif name in seen:
                agent.problem(f"boot_order[{index}]", f"{shown(name)} is listed twice")
            seen.add(name)
    return stages


def parse_address(text: str) -> str:
    """Validate a listen address, `IP:PORT` (IPv6 in brackets); raises ValueError."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[0-9.]+):([0-9]{1,5})", text)
    rule = "expected IP:PORT, as in 10.0.0.1:9444 or [fd00::1]:9444"
    if match is None or int(match[2]) > 65535:
        raise ValueError(rule)
    try:
        ipaddress.ip_address(match[1].strip("[]"))
    except ValueError:
        raise ValueError(rule) from None
    return text


def _path(table: Table, name: str) -> Path:
    return table.checked(name, _absolute) or Path("/")


def _absolute(text: str) -> Path:
    if not text.startswith("/") or "\0" in text:
        raise ValueError("expected an absolute path")
    return Path(text)


def _node_name(text: str) -> str:
    if not is_name(text):
        raise ValueError(NAME_RULE)
    return text


def _runtime(text: str) -> str:
    if text != "podman" and not re.fullmatch(r"/[^\0]*/podman", text):
        raise ValueError('expected "podman" or the absolute path of podman')
    return text


def _seconds(table: Table, name: str, default: str) -> float:
    span: timedelta | None = table.checked(name, parse_duration, default)
    return span.total_seconds() if span is not None else 0.0
