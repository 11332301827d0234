"""Expected failures, shared by both programs: what happened, and what to do about it.

Anything that is not an `McpError` is a bug: the CLI reports it as one, the agent logs its traceback and hides it.
"""

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_AUTH = 3
EXIT_UNREACHABLE = 4


class McpError(Exception):
    """An expected failure. `str()` is one line: what happened and, after a semicolon, what to do."""

    exit_code = EXIT_FAILED

    def __init__(self, what: str, hint: str = "") -> None:
        """`what` says what happened; `hint`, if there is something to do, says what."""
        super().__init__(one_line(f"{what}; {hint}" if hint else what))


class InvalidInput(McpError):
    """Input that can never work as it is; names the field and what was wrong."""

    exit_code = EXIT_USAGE


class InvalidFile(McpError):
    """A configuration or definition file with problems; `str()` has one line for each."""

    exit_code = EXIT_USAGE

    def __init__(self, file: str, problems: list[str]) -> None:
        """`problems` are lines of the form `KEY: WHAT`."""
        Exception.__init__(self, "\n".join(one_line(f"{file}: {problem}") for problem in problems))


class NotFound(McpError):
    """Something that was looked for and is not there; names it and what there is."""


class NotReady(McpError):
    """Refused in the present state; says what to do first."""


class Unavailable(McpError):
    """A failure that trying again may mend."""


class Unauthenticated(McpError):
    """No token, or one that is not valid."""

    exit_code = EXIT_AUTH


class Forbidden(McpError):
    """A valid token whose account may not do this."""

    exit_code = EXIT_AUTH


class Unreachable(McpError):
    """A node whose agent does not answer."""

    exit_code = EXIT_UNREACHABLE


def one_line(text: str) -> str:
    """`text` with every control character escaped, so that it stays one line and cannot drive a terminal."""
    return "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in text)


def shown(value: str, limit: int = 80) -> str:
    """`value` quoted for an error message: one line, cut after `limit` characters."""
    cut = value if len(value) <= limit else value[:limit] + "…"
    return f'"{one_line(cut)}"'
