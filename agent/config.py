"""mcp-agent.toml, read strictly into an AgentConfig."""

import ipaddress
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from mcp.shared.errors import shown
from mcp.shared.names import NAME_RULE, is_name
from mcp.shared.times import parse_duration
from mcp.shared.toml import Table, read_toml
from mcp.shared.url import Endpoint, parse_https_url

BACKENDS = ("local", "mcias")
LOG_LEVELS = ("debug", "info", "warning", "error")

# Sections that SPEC knows and this version does not implement: refused, since ignoring one would be a lie.
_NOT_YET = ("metacrypt", "mcns", "mcproxy", "monitor")


@dataclass(frozen=True)
class MciasConfig:
    """MCIAS, where it says who may call; `ca_cert` is None where the system's authorities are trusted."""

    endpoint: Endpoint
    ca_cert: Path | None
    service_name: str


@dataclass(frozen=True)
class AgentConfig:
    """What the agent needs to know; paths are absolute, times are in seconds."""

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
    services_root: Path = Path("/srv")
    mcias: MciasConfig | None = None
    boot_order: tuple[tuple[str, ...], ...] = ()


def load(path: Path) -> AgentConfig:
    """Read the agent's configuration; raises InvalidFile with every problem."""
    return read_toml(path, lambda table: _build(table, path))


def _build(root: Table, path: Path) -> AgentConfig:
    server, database, agent = root.table("server"), root.table("database"), root.table("agent")
    auth, log = root.table("auth"), root.table("log")
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
        services_root=agent.checked("services_root", _absolute, "/srv") or Path("/srv"),
        mcias=_mcias(root, auth),
        boot_order=_boot_order(agent),
    )
    for table in (server, database, agent, auth, log):
        table.close()
    return config


def _boot_order(agent: Table) -> tuple[tuple[str, ...], ...]:
    """Stages of services, each up before the next begins."""
    stages, seen = agent.lists("boot_order"), set[str]()
    for index, stage in enumerate(stages):
        if not stage:
            agent.problem(f"boot_order[{index}]", "is empty; a stage needs at least one service")
        for name in stage:
            if not is_name(name):
                agent.problem(f"boot_order[{index}]", f"{shown(name)} {NAME_RULE}")
            elif name in seen:
                agent.problem(f"boot_order[{index}]", f"{shown(name)} is in it twice")
            seen.add(name)
    return stages


def _mcias(root: Table, auth: Table) -> MciasConfig | None:
    """MCIAS where it is the backend. There is exactly one: [mcias], or the local one, which is also the default."""
    configured = root.has("mcias")
    backend = auth.text("backend", "mcias" if configured else "local")
    if backend not in BACKENDS:
        auth.problem("backend", f"{shown(backend)} is not one of {', '.join(BACKENDS)}")
    elif backend == "local" and configured:
        auth.problem("backend", '"local" does not go with a section [mcias]; remove one of them')
    if backend != "mcias" and not configured:
        return None
    table = root.table("mcias")
    endpoint = table.checked("server_url", parse_https_url)
    ca_cert = table.checked("ca_cert", _absolute, "")
    service_name = table.text("service_name", "mcp")
    table.close()
    return MciasConfig(endpoint, ca_cert, service_name) if endpoint is not None else None


def parse_address(text: str) -> str:
    """An address to listen on, `IP:PORT` (IPv6 in brackets); raises ValueError."""
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
