"""`mcp`, the command line of the Metacircular Control Plane: parser, and exit status of errors.

Slow modules are imported only when needed: `mcp version` and `mcp --help` never load gRPC.
"""

import argparse
import sys
from collections.abc import Sequence

from mcp.commands.shared import about, arguments, catalogue, habits
from mcp.shared import interrupts, streams
from mcp.shared.cli import Parser, exit_status_text
from mcp.shared.command import Command, Configuration
from mcp.shared.errors import EXIT_FAILED, EXIT_USAGE, McpError
from mcp.terminal import output

BROKEN_PIPE = 141  # 128 + SIGPIPE
WITH_VALUE = ("--config", "--timeout")  # the options before the command that take a value
COMPLETE = "__complete"  # hidden command of completion scripts


def main(argv: list[str] | None = None) -> int:
    """Run a command; expected failures are one line on stderr and a documented exit status."""
    streams.replace_closed_streams()
    try:
        return _main(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return interrupts.INTERRUPTED


def _main(argv: list[str]) -> int:
    try:
        try:
            status = _run(argv)
        except SystemExit:  # argparse, after --help: its output may not be flushed yet
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
    except OSError as error:
        output.error(f"{error.filename or 'input or output'}: {error.strerror}")
        streams.give_up_stdout()  # else Python reports a full disk once more at exit
        return EXIT_FAILED


def _run(argv: list[str]) -> int:
    if argv[:1] == [COMPLETE]:
        from mcp.completion import complete

        return complete.run(argv[1:], parser_for)
    if not argv and sys.stderr.isatty():
        parser_for([]).print_help(sys.stderr)
        return EXIT_USAGE
    args = _parse(argv)
    if args.command.configuration is not Configuration.NONE:
        import mcp.client.session  # noqa: F401 - imported before Ctrl-C raises an exception
    try:
        with interrupts.raised():
            return _run_command(args)
    except KeyboardInterrupt:
        if args.command.interrupted and not _is_read_only(args):
            output.note(f"mcp: interrupted; {args.command.interrupted}")
        raise


def _run_command(args: argparse.Namespace) -> int:
    command: Command = args.command
    assert command.run is not None, "the parser requires a subcommand"
    if command.configuration is Configuration.NONE:
        return command.run(None, args)
    from mcp.client.session import Session

    try:
        may_be_new = command.configuration is Configuration.OPTIONAL
        return command.run(Session(args.config, may_be_new=may_be_new, timeout=args.timeout), args)
    except McpError as error:
        if command.differences is None or not getattr(args, command.differences.dest):
            raise
        output.error(str(error))
        return EXIT_FAILED  # 2 means that there are differences, so an error must not return it


def _is_read_only(args: argparse.Namespace) -> bool:
    """Return True if this run changes nothing."""
    return not args.command.changes or getattr(args, "dry_run", False)


def _parse(argv: list[str]) -> argparse.Namespace:
    """Parse the command line; `help COMMAND` becomes `COMMAND --help`."""
    parser = parser_for(argv)
    try:
        if problem := habits.leading_problem(argv, WITH_VALUE):
            parser.error(problem)
        args = parser.parse_args(argv)
    except SystemExit as end:
        if end.code == EXIT_USAGE and _reports_differences(argv):
            sys.exit(EXIT_FAILED)
        raise
    if args.command.name == "help" and not args.man:
        argv = [*args.topic, "--help"]
        parser_for(argv).parse_args(argv)
    return args


def _reports_differences(argv: Sequence[str]) -> bool:
    """Return True if exit status 2 means differences, even if the rest of the command line is wrong."""
    name = _command_name(argv)
    command = catalogue.load(name) if name in catalogue.names() else None
    return command is not None and command.differences is not None and command.differences.option in argv


def parser_for(argv: Sequence[str]) -> Parser:
    """Return the parser of the command in `argv`, or one that only lists all commands."""
    name = _command_name(argv)
    is_named = name in catalogue.names()
    known = [catalogue.load(name)] if is_named else catalogue.load_all()
    parser = Parser(
        prog="mcp",
        usage="mcp [--config FILE] [--timeout SECONDS] COMMAND ...",
        description=f"{about.DESCRIPTION}\n\n{_overview(known)}",
        epilog=about.EPILOG + exit_status_text(about.EXIT_STATUS),
        outer=WITH_VALUE,
        other_words=habits.COMMANDS,
        other_options=habits.OPTIONS,
    )
    parser.add(arguments.CONFIG, arguments.TIMEOUT, arguments.VERSION)
    parser.add_commands(known, names_only=not is_named, prog="mcp", help=argparse.SUPPRESS)
    return parser


def _command_name(argv: Sequence[str]) -> str:
    """Find the command as argparse does; empty if there is none, or for help about all."""
    words = iter(argv)
    for word in words:
        if word in ("-h", "--help"):
            return ""
        if word in WITH_VALUE:
            next(words, "")
        elif word == "--version" or not word.startswith("-"):
            return word.removeprefix("--")
    return ""


def _overview(known: Sequence[Command]) -> str:
    """List commands by group."""
    groups = dict.fromkeys(command.group for command in known)
    return "\n\n".join(
        "\n".join([f"{group}:", *(f"  {entry.name:<12} {entry.summary}" for entry in known if entry.group == group)])
        for group in groups
    )


if __name__ == "__main__":
    sys.exit(main())
