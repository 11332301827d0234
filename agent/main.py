"""`mcp-agent`, the daemon on every node of the Metacircular Control Plane."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mcp.shared import streams
from mcp.shared.cli import Parser
from mcp.shared.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, McpError, NotReady

if TYPE_CHECKING:
    from agent.config import AgentConfig

DESCRIPTION = "The agent of MCP, the Metacircular Control Plane: runs services as rootless podman containers."
EPILOG = "exit status: 0 done, 1 failed, 2 wrong command line or configuration"
DEFAULT_PATH = Path("/srv/mcp/mcp-agent.toml")
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(argv: list[str] | None = None) -> int:
    """Run one command; expected failures are one line on stderr and a documented exit status."""
    streams.replace_closed_streams()
    try:
        try:
            args = _parse(sys.argv[1:] if argv is None else argv)
            status: int = args.run(args)
        except SystemExit:  # argparse, after --help: what it printed may not be out yet
            sys.stdout.flush()
            raise
        sys.stdout.flush()
        return status
    except McpError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"mcp-agent: {line}\n")
        return EXIT_USAGE if error.exit_code == EXIT_USAGE else EXIT_FAILED
    except OSError as error:
        sys.stderr.write(f"mcp-agent: {error.filename or 'input or output'}: {error.strerror}\n")
        streams.give_up_stdout()  # where it is full, Python's own end would complain once more
        return EXIT_FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _parse(argv: list[str]) -> argparse.Namespace:
    """Parse the command line; what only `token` needs is imported only for it."""
    parser = Parser(prog="mcp-agent", description=DESCRIPTION, epilog=EPILOG)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    server = commands.add_parser("server", help="serve, as the configuration says")
    server.add_argument("--config", type=Path, default=DEFAULT_PATH, metavar="FILE", help=f"default: {DEFAULT_PATH}")
    server.set_defaults(run=_server)

    dev = commands.add_parser("dev", help="serve on loopback with no configuration, to try MCP out")
    dev.add_argument(
        "--state", type=Path, metavar="DIR", help="where to keep its state (default: the XDG state folder)"
    )
    dev.add_argument("--port", type=_port, default=None, metavar="PORT", help="default: 9444; 0 takes a free one")
    dev.set_defaults(run=_dev)

    token = commands.add_parser("token", help="manage the accounts of the local backend")
    token.add_argument("--config", type=Path, default=DEFAULT_PATH, metavar="FILE", help=f"default: {DEFAULT_PATH}")
    token.set_defaults(run=_token)
    if "token" in argv:
        from agent.admin import tokens

        tokens.add_arguments(token)

    snapshot = commands.add_parser("snapshot", help="write a consistent copy of the registry, also while it is in use")
    snapshot.add_argument("file", type=Path, metavar="FILE", help="the copy; mode 0600, since tokens' hashes are in it")
    snapshot.add_argument("--config", type=Path, default=DEFAULT_PATH, metavar="FILE", help=f"default: {DEFAULT_PATH}")
    snapshot.add_argument("--force", action="store_true", help="replace a file that is there")
    snapshot.set_defaults(run=_snapshot)

    cert = commands.add_parser("cert", help="make and check certificates")
    cert.set_defaults(run=_cert)
    if "cert" in argv:
        from agent.admin import certs

        certs.add_arguments(cert)

    version = commands.add_parser("version", help="print the version")
    version.add_argument("--json", action="store_true", help="print everything about the build, as JSON")
    version.set_defaults(run=_version)
    return parser.parse_args(argv)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f'"{text}" is not a port from 0 to 65535')
    return int(text)


def _server(args: argparse.Namespace) -> int:
    from agent import config

    return _serve(config.load(args.config), lambda _address: None)


def _dev(args: argparse.Namespace) -> int:
    from agent.admin import dev
    from agent.daemon.lock import refuse_if_held

    folder = args.state or dev.default_folder()
    refuse_if_held(folder / "mcp.db")  # before anything is written that the other one uses
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


def _token(args: argparse.Namespace) -> int:
    from agent import config
    from agent.admin import tokens

    settings = config.load(args.config)
    if settings.mcias is not None and args.token_command == "add":  # noqa: S105 - a command
        raise NotReady(
            f"{args.config}: [mcias] is the backend, so this agent takes no tokens of its own",
            "accounts are made in MCIAS; people get tokens with `mcp login`",
        )
    return tokens.run(args, settings.database)


def _snapshot(args: argparse.Namespace) -> int:
    from agent import config
    from agent.store.snapshot import snapshot

    snapshot(config.load(args.config).database, args.file, force=args.force)
    return EXIT_DONE


def _cert(args: argparse.Namespace) -> int:
    from agent.admin import certs

    return certs.run(args)


def _version(args: argparse.Namespace) -> int:
    from mcp.shared.version import VERSION, details

    if args.json:
        import json

        sys.stdout.write(json.dumps(details(), indent=2) + "\n")
    else:
        sys.stdout.write(f"mcp-agent {VERSION}\n")
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
