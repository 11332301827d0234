"""Convert a container's messages in the journal to lines.

conmon sends each line with its newline to journald, a long one in chunks of which only the last has it; podman 4's
conmon ends such a line with a message of a single newline. The newline alone thus ends a line, and the field
CONTAINER_PARTIAL_MESSAGE is not needed: src/ctr_logging.c of github.com/containers/conmon.
"""

import time

Runs = list[tuple[int, bool]]


class JournalLines:
    """Assembles the lines of each stream, and passes a line on when it ends."""

    def __init__(self, *, timed: bool, skip: int, in_line: tuple[bool, bool] = (False, False)) -> None:
        """Skip the first `skip` lines; `in_line` is True for stdout and stderr if they start within a line."""
        self._timed = timed
        self._skip = skip
        self._in_line = [*in_line]
        self._parts: tuple[list[bytes], list[bytes]] = ([], [])
        self._out: list[bytes] = []
        self._runs: Runs = []
        self._second, self._prefix = -1, ""
        self.size = 0  # bytes that are held, in whole lines and others

    @property
    def skips(self) -> bool:
        """True while there are lines to skip."""
        return self._skip > 0

    @property
    def unfinished(self) -> bool:
        """True if a part of a line waits for the rest."""
        return bool(self._parts[0] or self._parts[1])

    @property
    def in_line(self) -> tuple[bool, bool]:
        """True for each stream of whose present line a part was passed on: the `in_line` of a successor."""
        return self._in_line[0], self._in_line[1]

    def add(self, microseconds: int, is_stderr: bool, message: bytes) -> None:
        """Add the next message of a stream."""
        if message.find(b"\n", 0, -1) >= 0:  # never from conmon, but others can write to the journal as well
            for line in message.split(b"\n")[:-1]:
                self._add(microseconds, is_stderr, line + b"\n")
            message = message.rpartition(b"\n")[2]
        if message:
            self._add(microseconds, is_stderr, message)

    def _add(self, microseconds: int, is_stderr: bool, message: bytes) -> None:
        parts = self._parts[is_stderr]
        if self._timed and not parts and not self._in_line[is_stderr]:
            parts.append(self._time(microseconds))
            self.size += len(parts[0])
        parts.append(message)
        self.size += len(message)
        if message.endswith(b"\n"):
            self._pass_on(is_stderr)
            self._in_line[is_stderr] = False

    def flush(self) -> None:
        """Pass on unfinished lines."""
        for is_stderr in (False, True):
            if self._parts[is_stderr]:
                self._pass_on(is_stderr)
                self._in_line[is_stderr] = True

    def take(self) -> tuple[bytes, Runs]:
        """Return and remove the lines that were passed on, with their runs."""
        data, runs = b"".join(self._out), self._runs
        self.size -= len(data)
        self._out, self._runs = [], []
        return data, runs

    def _pass_on(self, is_stderr: bool) -> None:
        parts = self._parts[is_stderr]
        line = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        if self._skip:
            self._skip -= line.endswith(b"\n")
            self.size -= len(line)
            return
        self._out.append(line)
        if self._runs and self._runs[-1][1] == is_stderr:
            self._runs[-1] = (self._runs[-1][0] + len(line), is_stderr)
        else:
            self._runs.append((len(line), is_stderr))

    def _time(self, microseconds: int) -> bytes:
        second, rest = divmod(microseconds, 1_000_000)
        if second != self._second:
            self._second, self._prefix = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._prefix}.{rest * 1000:09d}Z ".encode()
