"""Standard output and error where they are closed, full, or a pipe that nobody reads any more."""

import os
import sys


def replace_closed_streams() -> None:
    """Where stdout or stderr is closed, Python has None: let writing to the first fail, to the second do nothing."""
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def give_up_stdout() -> None:
    """After a broken pipe or a full disk: let nothing else be written, so that Python's own end is silent.

    Where stderr goes the same way (`2>&1 |`), it is given up as well.
    """
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(devnull, sys.stderr.fileno())
