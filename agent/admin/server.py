"""`mcp-agent server`, `dev` and `snapshot`."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from agent.admin.arguments import CONFIG
from mcp.shared.command import Command, argument, flag
from mcp.shared.errors import EXIT_DONE

if TYPE_CHECKING:
    from agent.config import AgentConfig


def _server(args: argparse.Namespace) -> int:
    from agent import config
    from agent.admin.owner import refuse_root

    refuse_root(args.config)
    settings = config.load(args.config)
    refuse_root(settings.database)
    return _serve(settings, lambda _address: None)


def _dev(args: argparse.Namespace) -> int:
    from agent.admin import dev
    from agent.admin.owner import refuse_root
    from agent.daemon.lock import refuse_if_held

    folder = args.state or dev.default_folder()
    refuse_root(folder)
    refuse_if_held(folder / "mcp.db")  # before writing to files of a running agent
    port = dev.DEFAULT_PORT if args.port is None else args.port
    state, config = dev.prepare(folder, port)

    def ready(address: str) -> None:
        dev.write_cli_config(state, int(address.rpartition(":")[2]))
        sys.stdout.write(dev.greeting(state, address))
        sys.stdout.flush()

    return _serve(config, ready)


def _serve(config: "AgentConfig", ready: Callable[[str], None]) -> int:
    from mcp.shared.tls import prepare_grpc

    prepare_grpc()
    import asyncio

    from agent import log
    from agent.daemon.server import serve

    log.setup(config.log_level)
    asyncio.run(serve(config, ready))
    return EXIT_DONE


def _config(path: Path) -> "AgentConfig":
    """Read the configuration; as root, become the user whose registry it is."""
    from agent import config
    from agent.admin.owner import give_up_root

    give_up_root(path)
    settings = config.load(path)
    give_up_root(settings.database)
    return settings


def _snapshot(args: argparse.Namespace) -> int:
    from agent.admin.reach import warn_if_served
    from agent.store.snapshot import snapshot

    settings = _config(args.config)
    database = settings.database
    if args.if_exists and not database.exists():
        return EXIT_DONE
    snapshot(database, args.file, force=args.force)
    warn_if_served(settings, args.file)
    return EXIT_DONE


def _restore(args: argparse.Namespace) -> int:

    from agent.daemon.lock import hold_lock
    from agent.store.snapshot import RestoreCondition, restore

    database = _config(args.config).database
    lock = hold_lock(database, create=False)
    try:
        done = restore(database, args.file, RestoreCondition(args.condition))
    finally:
        lock.release()
    sys.stdout.write("restored\n" if done else "unchanged\n")
    return EXIT_DONE


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f'"{text}" is not a port from 0 to 65535')
    return int(text)


SERVER = Command("server", "serve with a configuration file", _server, arguments=(CONFIG,))
DEV = Command(
    "dev",
    "serve on loopback without a configuration, to try MCP out",
    _dev,
    arguments=(
        argument("--state", type=Path, metavar="DIR", help="the state folder (default: the XDG one)"),
        argument("--port", type=_port, metavar="PORT", help="default: 9444; 0 selects a free one"),
    ),
)
SNAPSHOT = Command(
    "snapshot",
    "write a consistent copy of the registry, even while it is in use",
    _snapshot,
    arguments=(
        argument("file", type=Path, metavar="FILE", help="the copy; mode 0600, as it contains token hashes"),
        CONFIG,
        flag("--force", help="overwrite an existing file"),
        flag("--if-exists", help="do nothing if there is no registry yet"),
    ),
)
RESTORE = Command(
    "restore",
    "put a copy of the registry back, while the agent is stopped",
    _restore,
    description="Accounts stay as they are. At its next start the agent registers what was deployed since the copy.",
    arguments=(
        argument("file", type=Path, metavar="FILE", help="a copy that `mcp-agent snapshot` has written"),
        CONFIG,
        argument(
            "--if",
            dest="condition",
            choices=("always", "newer", "changed"),
            default="always",
            help="newer: only if this agent is too old for the registry; changed: only if its schema is not the copy's",
        ),
    ),
)
