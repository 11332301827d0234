"""Standard output and error that are closed, full, or a broken pipe."""

import os
import sys


def replace_closed_streams() -> None:
    """Replace stdout and stderr that are None (closed): writes to stdout then fail, writes to stderr are discarded."""
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def give_up_stdout() -> None:
    """Discard further output after a broken pipe or a full disk, so that Python exits silently.

    If stderr goes to the same place (`2>&1 |`), it is discarded as well.
    """
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(devnull, sys.stderr.fileno())
