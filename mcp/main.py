"""`mcp`, the command line of the Metacircular Control Plane.

Imports nothing heavy before it must: `mcp version` and `mcp --help` never load gRPC.
"""

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

from mcp.shared import streams
from mcp.shared.cli import Parser
from mcp.shared.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, McpError
from mcp.shared.version import VERSION

DESCRIPTION = "Runs services as rootless podman containers on a small fleet of nodes: the Metacircular Control Plane."
EPILOG = """\
examples:
  mcp service edit web    write the definition of a service
  mcp deploy web          make its node run it
  mcp logs -f web/api     follow what a component writes

`mcp COMMAND --help` says more about one. Services are defined in SERVICE.toml files, nodes in mcp.toml.

exit status: 0 done, 1 failed, 2 wrong command line, configuration or definition, 3 not authenticated,
4 node unreachable
"""
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
BROKEN_PIPE = 141  # 128 + SIGPIPE

# command -> module of mcp.commands, and what it does
COMMANDS = {
    "login": ("login", "get a token, and store it for all commands"),
    "whoami": ("whoami", "show who you are to the nodes, and until when"),
    "logout": ("logout", "remove the stored token"),
    "deploy": ("deploy", "deploy a service, or one of its components, as its definition says"),
    "undeploy": ("undeploy", "stop and remove a service's containers; its data stays"),
    "sync": ("sync", "make the nodes run what the definitions say"),
    "plan": ("plan", "show what sync would do"),
    "history": ("history", "show the deploys of a service"),
    "rollback": ("rollback", "go back to an earlier deploy of a service"),
    "stop": ("lifecycle", "stop containers, and keep them stopped"),
    "start": ("lifecycle", "start containers that were stopped"),
    "restart": ("lifecycle", "stop containers and start them again"),
    "list": ("list", "show what is registered, on all nodes"),
    "adopt": ("adopt", "register containers that run outside MCP, as they are, without a restart"),
    "purge": ("purge", "make nodes forget what no definition has and is gone or stopped"),
    "ps": ("ps", "show what runs, on all nodes"),
    "status": ("status", "show what should run, what does, and what happened lately"),
    "events": ("events", "show how the state of containers changed"),
    "logs": ("logs", "show what containers wrote"),
    "node": ("node", "list, add, remove or set up nodes"),
    "agent": ("agent", "look after the agents of the nodes"),
    "doctor": ("doctor", "look for what is wrong with nodes, and say what to do"),
    "push": ("push", "copy a file to a service's folder on its node"),
    "pull": ("pull", "copy a file from a service's folder on its node"),
    "service": ("service", "show, edit or export service definitions"),
    "completion": ("completion", "print the completion script of a shell"),
    "help": ("", "explain a command"),
    "version": ("", "print the version"),
}
# as --help lists them; what is in no group comes last
GROUPS = {
    "Services": "deploy undeploy stop start restart sync plan history rollback",
    "What runs": "ps list status logs events",
    "Definitions and files": "service build push pull",
    "Nodes": "node agent doctor adopt purge route dns",
    "Account": "login whoami logout",
    "This program": "completion help version",
}
# (command, sub-command) -> what goes on when Ctrl-C has ended it; nothing does of any other
_NODE_GOES_ON = "a change that a node has begun goes on there: see mcp status"
_SWITCH_GOES_ON = "a node that has taken over goes on by itself, others keep their agent: see mcp agent status"
GOES_ON = {
    **{(name, ""): _NODE_GOES_ON for name in ["deploy", "undeploy", "sync", "rollback", "stop", "start", "restart"]},
    ("agent", "recover"): _NODE_GOES_ON,
    ("agent", "upgrade"): _SWITCH_GOES_ON,
    ("agent", "rollback"): _SWITCH_GOES_ON,
    ("node", "provision"): "run it again: it goes on from there",
}
WITHOUT_CONFIGURATION = ("completion",)
COMPLETE = "__complete"  # what completion scripts call


def main(argv: list[str] | None = None) -> int:
    """Run one command; expected failures are one line on stderr and a documented exit status."""
    from mcp.terminal import output

    streams.replace_closed_streams()
    try:
        try:
            status = _run(sys.argv[1:] if argv is None else argv)
        except SystemExit:  # argparse, after --help: what it printed may not be out yet
            sys.stdout.flush()
            raise
        sys.stdout.flush()
        return status
    except McpError as error:
        output.error(str(error))
        return error.exit_code
    except BrokenPipeError:
        streams.give_up_stdout()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        output.error(f"{error.filename or 'input or output'}: {error.strerror}")
        streams.give_up_stdout()  # where it is full, Python's own end would complain once more
        return EXIT_FAILED


def _goes_on(args: argparse.Namespace) -> str:
    """The note on work that continues after Ctrl-C; empty where there is none."""
    if getattr(args, "dry_run", False):
        return ""
    return GOES_ON.get((args.command, getattr(args, f"{args.command}_command", "")), "")


def _run(argv: list[str]) -> int:
    if argv[:1] == [COMPLETE]:
        from mcp.completion import complete

        return complete.run(argv[1:], parser_for)
    if not argv and sys.stderr.isatty():
        parser_for([]).print_help(sys.stderr)
        return EXIT_USAGE
    args = _parse(argv)
    try:
        return _run_command(args)
    except KeyboardInterrupt:
        from mcp.terminal import output

        if note := _goes_on(args):
            output.note(f"mcp: interrupted; {note}")
        raise


def _run_command(args: argparse.Namespace) -> int:
    if args.command == "version":
        return _version(args.json)
    module = _module(args.command)
    status: int = module.run(args) if args.command in WITHOUT_CONFIGURATION else _run_in_session(module, args)
    return status


def _run_in_session(module: Any, args: argparse.Namespace) -> Any:
    from mcp.client.session import Session
    from mcp.terminal import output

    try:
        return module.run(Session(args.config, may_be_new=getattr(args, "node_command", "") == "add"), args)
    except McpError as error:
        if not _answers_by_status(args):
            raise
        output.error(str(error))
        return EXIT_FAILED


def _answers_by_status(args: argparse.Namespace) -> bool:
    """Whether exit status 2 is an answer (there are changes), so that no error may have it."""
    return args.command == "plan" or (args.command in ("deploy", "sync", "rollback") and args.dry_run)


def _parse(argv: list[str]) -> argparse.Namespace:
    """Parse the command line; `help COMMAND` is `COMMAND --help`."""
    parser = parser_for(argv)
    args = parser.parse_args(argv)
    if args.command == "help":
        argv = [*args.topic, "--help"]
        parser_for(argv).parse_args(argv)
    return args


def parser_for(argv: list[str]) -> Parser:
    """The parser of a command line; only modules of commands that it names are imported for their arguments."""
    parser = Parser(
        prog="mcp",
        usage="mcp [--config FILE] COMMAND ...",
        description=f"{DESCRIPTION}\n\n{_overview()}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        outer=("--config",),
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="mcp.toml (default: MCP_CONFIG, or the XDG one)")
    parser.add_argument("--version", action="version", version=f"mcp {VERSION}", help="print the version")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", prog="mcp", help=argparse.SUPPRESS
    )
    for name, (_, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name in argv:
            _add_arguments(name, command)
    return parser


def _add_arguments(name: str, command: Parser) -> None:
    if name == "version":
        command.add_argument("--json", action="store_true", help="print everything about the build, as JSON")
    elif name == "help":
        command.add_argument("topic", nargs="*", metavar="COMMAND", help="the command to explain")
    else:
        _module(name).add_arguments(command)


def _overview() -> str:
    """The commands by group, as --help lists them."""
    groups = {title: [name for name in names.split() if name in COMMANDS] for title, names in GROUPS.items()}
    grouped = {name for names in groups.values() for name in names}
    groups["Others"] = [name for name in COMMANDS if name not in grouped]
    parts = [
        "\n".join([f"{title}:", *(f"  {name:<12} {COMMANDS[name][1]}" for name in names)])
        for title, names in groups.items()
        if names
    ]
    return "\n\n".join(parts)


def _module(command: str) -> Any:
    return importlib.import_module(f"mcp.commands.{COMMANDS[command][0]}")


def _version(as_json: bool) -> int:
    from mcp.terminal import output

    if as_json:
        from mcp.shared.version import details

        output.print_json(details())
    else:
        output.line(f"mcp {VERSION}")
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
