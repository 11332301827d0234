"""Prompts on /dev/tty, independent of redirections of stdin and stdout."""

from pathlib import Path

from mcp.shared.errors import InvalidInput

_TERMINAL = Path("/dev/tty")


def ask(question: str, otherwise: str) -> str:
    """Read one line from the terminal; raises InvalidInput with the hint `otherwise` if there is no terminal."""
    try:
        with _TERMINAL.open("w") as out, _TERMINAL.open() as terminal:
            out.write(f"{question}: ")
            out.flush()
            return terminal.readline().strip()
    except OSError:
        raise _no_terminal(question, otherwise) from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{question}: is not UTF-8 text") from None


def ask_secret(question: str, otherwise: str) -> str:
    """Read one line like `ask`, without echo."""
    try:
        _TERMINAL.open().close()
    except OSError:  # getpass would read from stdin instead, with echo
        raise _no_terminal(question, otherwise) from None
    from getpass import getpass  # needed for login only: keeps startup short

    try:
        return getpass(f"{question}: ")
    except EOFError:
        raise InvalidInput(f"{question}: not given") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{question}: is not UTF-8 text") from None


def _no_terminal(question: str, otherwise: str) -> InvalidInput:
    return InvalidInput(f"no terminal to ask for the {question.lower()}", otherwise)
