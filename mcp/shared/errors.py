"""Expected failures of both programs: what happened, what to do, and on which node.

* McpError
  * InvalidInput
  * InvalidFile
  * NotFound
  * NotReady
    * LoggingDisabled (agent.logs.model)
    * DidNotStayUpError (agent.services.steps)
    * CannotWrite (agent.store.database)
  * Unavailable
    * OutOfReach (mcp.shared.https)
  * Unauthenticated
  * Forbidden
  * Unreachable
  * CommandFailed (mcp.shared.proc)
  * Unusable (mcp.shared.files)
  * Malformed (mcp.client.answers)
  * RegistryError (agent.store.database)

Code depends on the class and the attributes only; `str()` joins them into the line that is printed. On the wire the
class is the status code, `what` the status message, and `hint` trailing metadata (HINT_HEADER). An exception that is
not an `McpError` is a bug: the CLI reports it as one, the agent logs the traceback and does not send it.
"""

from collections.abc import Sequence
from typing import Self

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_AUTH = 3
EXIT_UNREACHABLE = 4

HINT_HEADER = "x-mcp-hint-bin"


class McpError(Exception):
    """An expected failure.

    `what` says what happened, `hint` what to do (may be empty), `node` on which node (empty if none, or if `what`
    names it). Each is one line without control characters. `str()` is `NODE: WHAT; HINT`.
    """

    exit_code = EXIT_FAILED

    def __init__(self, what: str, hint: str = "", *, node: str = "") -> None:
        """Take the parts of the message and escape control characters in them."""
        super().__init__(what, hint, node)
        self.what, self.hint, self.node = one_line(what), one_line(hint), one_line(node)

    def __str__(self) -> str:
        """Join the parts into one line."""
        return f"{self.node}: {self.without_node()}" if self.node else self.without_node()

    def without_node(self) -> str:
        """Join `what` and `hint`, for output that names the node itself."""
        return f"{self.what}; {self.hint}" if self.hint else self.what


class InvalidInput(McpError):
    """Invalid input; names the field and the problem."""

    exit_code = EXIT_USAGE


class Problem(str):
    """A problem of a value in a file or message: `KEY: WHAT`."""

    key: str
    what: str

    def __new__(cls, key: str, what: str) -> Self:
        """Join the key path and the problem of its value."""
        problem = super().__new__(cls, f"{key}: {what}")
        problem.key, problem.what = key, what
        return problem


class InvalidFile(McpError):
    """An invalid configuration or definition file; `str()` has one line per problem."""

    exit_code = EXIT_USAGE

    def __init__(self, file: str, problems: Sequence[str]) -> None:
        """Take problems of the file as a whole, or a Problem for each value."""
        super().__init__("")
        self.file, self.problems = file, problems
        self.what = "\n".join(one_line(f"{file}: {problem}") for problem in problems)


class NotFound(McpError):
    """Something that does not exist; names it and the alternatives."""


class NotReady(McpError):
    """A refusal in the current state; says what to do first."""


class Unavailable(McpError):
    """A temporary failure; a retry may succeed."""


class Unauthenticated(McpError):
    """A missing or invalid token."""

    exit_code = EXIT_AUTH


class Forbidden(McpError):
    """A valid token whose account lacks permission."""

    exit_code = EXIT_AUTH


class Unreachable(McpError):
    """A node whose agent does not respond."""

    exit_code = EXIT_UNREACHABLE


def one_line(text: str) -> str:
    """Escape every control character, so that the text stays one line and cannot control a terminal."""
    return "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in text)


def shown(value: str, limit: int = 80) -> str:
    """Quote `value` for an error message: one line, truncated to `limit` characters."""
    cut = value if len(value) <= limit else value[:limit] + "…"
    return f'"{one_line(cut)}"'


def shell_word(text: str) -> str:
    """Quote `text` for a shell if that is needed, for commands in hints, which users paste."""
    import shlex  # needed after errors only: keeps startup short

    return shlex.quote(text)
