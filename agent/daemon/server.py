"""The gRPC server: TLS 1.3, request interceptor, and graceful shutdown.

On SIGTERM or SIGINT the agent refuses new calls, ends followers, waits up to STOP_GRACE seconds for calls in progress,
and exits. A second signal ends it immediately. Containers are not touched. The death of a background task shuts the
agent down in the same way, with an error.
"""

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path

import grpc
import grpc.aio

from agent.auth.backends import LocalBackend, TokenBackend
from agent.config import AgentConfig
from agent.daemon.connections import Connections, connections_for, raise_open_files
from agent.daemon.lock import hold_lock
from agent.daemon.memory import give_back, raise_oom_score
from agent.daemon.systemd import Notifier
from agent.files.files import ServiceFiles
from agent.log import fields, logger
from agent.monitor.alerts import Alerter
from agent.monitor.certificate import CertificateWatch, certificate_end
from agent.monitor.loop import Monitor
from agent.monitor.registry_watch import RegistryWatch
from agent.podman.client import Podman
from agent.rpc.interceptor import RequestInterceptor
from agent.rpc.servicer import Servicer
from agent.store.registry import AsyncRegistry, Registry
from agent.tasks import DaemonTasks
from mcp.shared.errors import InvalidFile, InvalidInput, McpError, NotReady
from mcp.shared.files import Trust, Unusable, read_file
from mcp.shared.resources import ROOT
from mcp.shared.url import MciasConfig
from mcp.shared.version import VERSION
from proto.mcp.v1 import mcp_pb2_grpc as pb_grpc

AUTH_FILE = "auth.json"  # registry logins, beside the configuration
STOP_GRACE = 10.0  # seconds
CALL = "_schedule_rpc_coro"  # the coroutine of a call in grpcio's server.pyx.pxi
CALL_SECONDS = 1.0
MESSAGE_LIMIT = 16 * 1024 * 1024  # bytes of a request
CONNECTION_AGE = 3_600_000  # milliseconds until a client has to connect again for further calls
READ_SIZE = 64 * 1024  # bytes; with gRPC's own 4 MiB, 240 connections that send what they can took 1 GiB, so 130 MiB
STREAMS = 256  # calls at once on one connection; a client makes further ones wait


async def serve(config: AgentConfig, ready: Callable[[str], None]) -> None:
    """Serve until a signal; call `ready` with the address when calls are accepted.

    Raises McpError if it cannot serve, or if a background task has died.
    """
    manager = Notifier.from_environment()
    credentials = load_credentials(config)
    mcias = _mcias(config.source, config.mcias) if config.mcias is not None else None
    lock = hold_lock(config.database)
    registry = AsyncRegistry(Registry(config.database, keep_deploys=config.keep_deploys))
    backend: TokenBackend = mcias or LocalBackend(registry)
    stopping = asyncio.Event()
    tasks = DaemonTasks(stopping)
    podman = Podman(
        config.container_runtime, config.runtime_timeout, config.source.parent / AUTH_FILE, raise_oom_score()
    )
    servicer = Servicer(
        config.node_name, podman, registry, config.settle, stopping, config.boot_order, files=service_files(config)
    )
    servicer.certificate_end = certificate_end(_read("server.tls_cert", config.tls_cert))
    interceptor = RequestInterceptor(backend)
    server = _server(servicer, interceptor)
    try:
        address = _bind(server, config.grpc_addr, credentials)
        connections = interceptor.connections = Connections(int(address.rpartition(":")[2]))
        # first, so that interrupted operations are finished before new ones on the same service
        boot = tasks.start(servicer.boot(), "boot")
        await server.start()
        _on_signals(stopping)
        logger.info("serving", extra=fields(address=address, node=config.node_name, version=VERSION, pid=os.getpid()))
        _start_background(tasks, _background(config, podman, registry, servicer, boot), connections)
        ready(address)
        manager.ready()
        watchdog = tasks.start(manager.watch(), "watchdog")
        await stopping.wait()
        manager.stopping()
        logger.info("stopping")
        await asyncio.gather(
            server.stop(STOP_GRACE), servicer.operations.finish(STOP_GRACE), tasks.cancel(but=watchdog)
        )
        watchdog.cancel()
    finally:
        await server.stop(None)
        await _end_of_calls()
        await servicer.logs.close()
        backend.close()
        registry.close()
        lock.release()
        logger.info("stopped")
    tasks.raise_failure()


def _server(servicer: Servicer, interceptor: RequestInterceptor) -> grpc.aio.Server:
    server = grpc.aio.server(interceptors=[interceptor], options=_options(connections_for(raise_open_files())))
    pb_grpc.add_McpAgentServiceServicer_to_server(servicer, server)
    return server


async def _end_of_calls() -> None:
    """Let the tasks of calls end that gRPC counts as done: it logs a traceback for one that the loop's end cancels.

    Seen once in some 5,000 stops of an agent, for a call that had just sent its status.
    """
    calls = [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__name__", "") == CALL]
    if calls:
        await asyncio.wait(calls, timeout=CALL_SECONDS)


def _start_background(tasks: DaemonTasks, work: dict[str, Coroutine[None, None, None]], gate: Connections) -> None:
    for name, task in {**work, "connection watch": gate.watch(), "memory watch": give_back()}.items():
        tasks.start(task, name)
    _tame_collector()


def _tame_collector() -> None:
    """Exclude the objects of the start from garbage collection, whose runs pause all calls."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _monitor(config: AgentConfig, podman: Podman, registry: AsyncRegistry, servicer: Servicer) -> Monitor:
    monitor = Monitor(
        config.node_name,
        config.monitor,
        podman,
        registry,
        servicer.operations.services_since,
        servicer.events,
        servicer.supervisor.repair,
    )
    monitor.pending = servicer.pending
    servicer.repairs = lambda: monitor.healing.repairs
    return monitor


def _background(
    config: AgentConfig, podman: Podman, registry: AsyncRegistry, servicer: Servicer, boot: "asyncio.Task[None]"
) -> dict[str, Coroutine[None, None, None]]:
    """Return the agent's own tasks by name."""
    return {
        "podman check": _report_podman(podman),  # in the background, as podman may hang
        "pending changes": servicer.finish_pending(config.monitor.interval),
        "monitor": _monitor(config, podman, registry, servicer).run(boot),
        "certificate watch": _watch_certificate(config, registry, servicer),
        "registry watch": _watch_registry(config, registry, servicer),
        "log retention": servicer.logs.retain_rotated(),
        "pause watch": servicer.pauses.run(),
    }


async def _watch_certificate(config: AgentConfig, registry: AsyncRegistry, servicer: Servicer) -> None:
    if servicer.certificate_end is not None:
        alerter = Alerter(config.node_name, config.monitor.alert_command)
        await CertificateWatch(config.node_name, servicer.certificate_end, alerter, registry).run()


async def _watch_registry(config: AgentConfig, registry: AsyncRegistry, servicer: Servicer) -> None:
    watch = RegistryWatch(Alerter(config.node_name, config.monitor.alert_command), registry, config.monitor.interval)
    servicer.registry_problems = lambda: watch.problems
    await watch.run()


def service_files(config: AgentConfig) -> ServiceFiles:
    """Return the services' files, without access to what is the agent's own."""
    return ServiceFiles(config.services_root, _own_places(config), config.allow_mounts)


def _own_places(config: AgentConfig) -> tuple[Path, ...]:
    """Return the agent's files with their folders, its code where it may write that, and its user's runtime folder.

    The runtime folder has the user's bus, which starts programs, and podman's socket.
    """
    registry = [config.database.with_name(config.database.name + suffix) for suffix in ("", "-wal", "-shm")]
    own = (config.source, config.tls_cert, config.tls_key, *registry, config.source.with_name(AUTH_FILE))
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    folders = [path.parent for path in own] + [Path(f"/run/user/{os.geteuid()}")]
    folders += [Path(runtime)] if runtime.startswith("/") else []
    folders += [ROOT] if os.access(ROOT, os.W_OK) else []
    return tuple(dict.fromkeys((*folders, *own)))


def load_credentials(config: AgentConfig) -> grpc.ServerCredentials:
    """Load the server's certificate and key; raises McpError if they cannot be used."""
    certificate = _read("server.tls_cert", config.tls_cert)
    key = _read("server.tls_key", config.tls_key, Trust.SECRET)
    _check_pair(config)
    return grpc.ssl_server_credentials([(key, certificate)])


def _mcias(source: Path, settings: MciasConfig) -> TokenBackend:
    from agent.auth.mcias import MciasBackend  # imported here, as ssl and http.client cost memory
    from mcp.shared.mcias import Mcias

    try:
        return MciasBackend(Mcias(settings.endpoint, settings.ca_cert))
    except InvalidInput as error:
        raise InvalidFile(str(source), [f"mcias.{error}"]) from None


def _check_pair(config: AgentConfig) -> None:
    import ssl  # names the problem of a pair, where gRPC fails later, in every handshake

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(config.tls_cert, config.tls_key, password=lambda: "")
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise McpError(
            f"{config.source}: server.tls_cert, server.tls_key: not a certificate and its key in PEM: {reason}"
        ) from None


def _read(key: str, path: Path, trust: Trust = Trust.OWN) -> bytes:
    try:
        return read_file(path, trust)
    except Unusable as error:
        raise McpError(f"{key}: {error.what}", error.hint) from None


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials) -> str:
    try:
        port = server.add_secure_port(address, credentials)
    except RuntimeError:
        port = 0
    if not port:
        raise NotReady(
            f"cannot listen on {address}",
            "the address must belong to this machine, and the port must be free: see `ss -ltnp`",
        )
    return f"{address.rpartition(':')[0]}:{port}"


def _options(connections: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_allowed_incoming_connections", connections),  # see agent.daemon.connections
        ("grpc.server_handshake_timeout_ms", 10_000),
        ("grpc.max_connection_idle_ms", 600_000),
        # whoever showed a token once is not exempt from the bounds for good; calls in progress go on to their end
        ("grpc.max_connection_age_ms", CONNECTION_AGE),
        ("grpc.max_concurrent_streams", STREAMS),
        ("grpc.max_receive_message_length", MESSAGE_LIMIT),
        ("grpc.experimental.tcp_max_read_buffer_size", READ_SIZE),
        ("grpc.so_reuseport", 0),  # else two agents on one port would share its calls at random
        ("grpc.keepalive_time_ms", 60_000),  # detects clients that vanished
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]


def _on_signals(stopping: asyncio.Event) -> None:
    def stop() -> None:
        if stopping.is_set():
            os._exit(1)
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


async def _report_podman(podman: Podman) -> None:
    """Log podman's version or error; without podman the agent still answers, with errors."""
    try:
        logger.info("podman", extra=fields(version=await podman.version()))
    except McpError as error:
        logger.warning("cannot use podman", extra=fields(error=str(error)))
