"""`mcp-agent`, the node daemon of the Metacircular Control Plane."""

import sys

from agent.admin import certs, manual, server, tokens, version
from agent.admin.manual import DESCRIPTION, EXIT_STATUS
from mcp.shared import interrupts, streams
from mcp.shared.cli import Parser, exit_status_text
from mcp.shared.errors import EXIT_AUTH, EXIT_DONE, EXIT_FAILED, EXIT_USAGE, McpError

COMMANDS = (
    *(server.SERVER, server.DEV, tokens.COMMAND, server.SNAPSHOT, server.RESTORE, certs.COMMAND),
    *(manual.HELP, version.COMMAND),
)


def main(argv: list[str] | None = None) -> int:
    """Run a command; report expected failures in one line on stderr and by exit status."""
    streams.replace_closed_streams()
    try:
        return _main(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return interrupts.INTERRUPTED


def _main(argv: list[str]) -> int:
    try:
        try:
            status = _run(argv)
        except SystemExit:  # from argparse after --help: the output may not be flushed yet
            sys.stdout.flush()
            raise
        sys.stdout.flush()
        return status
    except McpError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"mcp-agent: {line}\n")
        return error.exit_code if error.exit_code in (EXIT_USAGE, EXIT_AUTH) else EXIT_FAILED
    except OSError as error:
        sys.stderr.write(f"mcp-agent: {error.filename or 'input or output'}: {error.strerror}\n")
        streams.give_up_stdout()  # if the disk is full, Python would report it again at exit
        return EXIT_FAILED


def _run(argv: list[str]) -> int:
    named = [command for command in COMMANDS if argv[:1] == [command.name]]
    parser = Parser(prog="mcp-agent", description=DESCRIPTION, epilog=exit_status_text(EXIT_STATUS))
    parser.add_commands(named or COMMANDS, names_only=not named)
    args = parser.parse_args(argv)
    if args.command is manual.HELP:
        if not args.man:
            return _run([*args.topic, "--help"])
        sys.stdout.write(manual.page(COMMANDS))
        return EXIT_DONE
    with interrupts.raised():
        status: int = args.command.run(args)
    return status


if __name__ == "__main__":
    sys.exit(main())
