"""Programs on a terminal of a given size."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple


class Shown(NamedTuple):
    """The exit code of a program, and everything that it wrote to its terminal (stdout and stderr)."""

    code: int
    text: str

    @property
    def lines(self) -> list[str]:
        """The lines in the order in which they were written, without carriage returns."""
        return self.text.replace("\r", "").splitlines()


def on_terminal(argv: Sequence[str], env: Mapping[str, str], *, columns: int = 80, rows: int = 24) -> Shown:
    """Run a program whose stdin, stdout and stderr are one terminal, to its end."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    with subprocess.Popen(
        argv, env={"TERM": "xterm", **env}, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    ) as process:
        os.close(slave)
        parts = []
        with suppress(OSError):  # EIO: the program has closed the terminal
            while part := os.read(master, 65536):
                parts.append(part)
        os.close(master)
    return Shown(process.returncode, b"".join(parts).decode())
