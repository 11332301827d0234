"""Expected failures of both programs, in parts: where, what happened, and what to do about it.

* McpError
  * InvalidInput
  * InvalidFile
  * NotFound
  * NotReady
    * LoggingDisabled (agent.logs.model)
    * DidNotStayUpError (agent.services.steps)
  * Unavailable
    * OutOfReach (mcp.shared.https)
  * Unauthenticated
  * Forbidden
  * Unreachable
  * CommandFailed (mcp.shared.proc)
  * RegistryError (agent.store.database)

Code decides by the class and the attributes; `str()` joins them into the line that people read, and nothing parses it.
On the wire the class is the status code, `what` the status message, and `hint` trailing metadata (HINT_HEADER).
An exception that is not an `McpError` is a bug: the CLI reports it as one, the agent logs its traceback and hides it.
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

    `what` says what happened, `hint` what to do (it may be empty), `node` on which node (empty: none, or `what` names
    it). Each is one line that cannot drive a terminal. `str()` is `NODE: WHAT; HINT`.
    """

    exit_code = EXIT_FAILED

    def __init__(self, what: str, hint: str = "", *, node: str = "") -> None:
        """Take the parts of the message; control characters in them are escaped."""
        super().__init__(what, hint, node)
        self.what, self.hint, self.node = one_line(what), one_line(hint), one_line(node)

    def __str__(self) -> str:
        """Join the parts into one line."""
        return f"{self.node}: {self.without_node()}" if self.node else self.without_node()

    def without_node(self) -> str:
        """Join what happened and what to do, for output that names the node itself."""
        return f"{self.what}; {self.hint}" if self.hint else self.what


class InvalidInput(McpError):
    """Input that can never work as it is; names the field and what was wrong."""

    exit_code = EXIT_USAGE


class Problem(str):
    """A value of a file or message that is wrong, as `KEY: WHAT`."""

    key: str
    what: str

    def __new__(cls, key: str, what: str) -> Self:
        """Join the key path and what is wrong with its value."""
        problem = super().__new__(cls, f"{key}: {what}")
        problem.key, problem.what = key, what
        return problem


class InvalidFile(McpError):
    """A configuration or definition file with problems; `str()` has one line for each."""

    exit_code = EXIT_USAGE

    def __init__(self, file: str, problems: Sequence[str]) -> None:
        """Take what is wrong with the file as a whole, or a Problem for each value."""
        super().__init__("")
        self.file, self.problems = file, problems
        self.what = "\n".join(one_line(f"{file}: {problem}") for problem in problems)


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
