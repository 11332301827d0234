"""`mcp`, the command line of the Metacircular Control Plane.

Imports nothing heavy before it must: `mcp version` and `mcp --help` never load gRPC.
"""

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

from mcp.shared.cli import Parser
from mcp.shared.errors import EXIT_DONE, EXIT_FAILED, McpError
from mcp.shared.version import VERSION

DESCRIPTION = "Runs services as rootless podman containers on a small fleet of nodes: the Metacircular Control Plane."
EPILOG = (
    "exit status: 0 done, 1 failed, 2 wrong command line, configuration or definition, 3 not authenticated, "
    "4 node unreachable"
)
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
BROKEN_PIPE = 141  # 128 + SIGPIPE

# command -> module of mcp.commands, and what it does
COMMANDS = {
    "deploy": ("deploy", "deploy a service, or one of its components, as its definition says"),
    "undeploy": ("undeploy", "stop and remove a service's containers; its data stays"),
    "stop": ("lifecycle", "stop containers, and keep them stopped"),
    "start": ("lifecycle", "start containers that were stopped"),
    "ps": ("ps", "show what runs, on all nodes"),
    "logs": ("logs", "show what containers wrote"),
    "push": ("push", "copy a file to a service's folder on its node"),
    "pull": ("pull", "copy a file from a service's folder on its node"),
    "node": ("node", "the nodes of the fleet"),
    "version": ("", "print the version"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; expected failures are one line on stderr and a documented exit status."""
    from mcp import output

    try:
        status = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
        return status
    except McpError as error:
        output.error(str(error))
        return error.exit_code
    except BrokenPipeError:
        output.give_up_stdout()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        output.error(f"{error.filename or 'input or output'}: {error.strerror}")
        return EXIT_FAILED


def _run(argv: list[str]) -> int:
    args = _parse(argv)
    if args.command == "version":
        return _version(args.json)
    from mcp.session import Session

    module = _module(args.command)
    status: int = module.run(Session(args.config), args)
    return status


def _parse(argv: list[str]) -> argparse.Namespace:
    """Parse the command line; only the chosen command's module is imported for its arguments."""
    parser = Parser(prog="mcp", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--config", type=Path, metavar="FILE", help="mcp.toml (default: MCP_CONFIG, or the XDG one)")
    parser.add_argument("--version", action="version", version=f"mcp {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name not in argv:
            continue
        if name == "version":
            command.add_argument("--json", action="store_true", help="print everything about the build, as JSON")
        else:
            _module(name).add_arguments(command)
    return parser.parse_args(argv)


def _module(command: str) -> Any:
    return importlib.import_module(f"mcp.commands.{COMMANDS[command][0]}")


def _version(as_json: bool) -> int:
    from mcp import output

    if as_json:
        from mcp.shared.version import details

        output.print_json(details())
    else:
        output.line(f"mcp {VERSION}")
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
