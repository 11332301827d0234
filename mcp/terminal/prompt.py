"""Questions to whoever sits at the terminal; asked on /dev/tty, so that pipes on stdin and stdout stay clean."""

from pathlib import Path

from mcp.shared.errors import InvalidInput

_TERMINAL = Path("/dev/tty")


def ask(question: str, otherwise: str) -> str:
    """One line from the terminal; raises InvalidInput with `otherwise` as its hint where there is none."""
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
    """As `ask`, without showing what is typed."""
    try:
        _TERMINAL.open().close()
    except OSError:  # getpass would go on with stdin, and show what is typed
        raise _no_terminal(question, otherwise) from None
    from getpass import getpass  # only for who logs in

    try:
        return getpass(f"{question}: ")
    except EOFError:
        raise InvalidInput(f"{question}: none was given") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{question}: is not UTF-8 text") from None


def _no_terminal(question: str, otherwise: str) -> InvalidInput:
    return InvalidInput(f"there is no terminal to ask for the {question.lower()}", otherwise)
