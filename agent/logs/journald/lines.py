"""Messages of a container in the journal -> the lines it wrote.

conmon gives journald each line with its newline, and a long one in chunks of which only the last has it; podman 4's
ends such a line with a message that is a newline and nothing else. So the newline alone says where a line ends, and
the field CONTAINER_PARTIAL_MESSAGE need not be looked at: src/ctr_logging.c of github.com/containers/conmon.
"""

import time

Runs = list[tuple[int, bool]]


class JournalLines:
    """Puts lines together, each stream's for itself; a line comes when it ends."""

    def __init__(self, *, timed: bool, skip: int, begun: tuple[bool, bool] = (False, False)) -> None:
        """`skip` lines are left out first; `begun`: whether standard output and error go on within a line."""
        self._timed = timed
        self._skip = skip
        self._begun = [*begun]
        self._parts: tuple[list[bytes], list[bytes]] = ([], [])
        self._out: list[bytes] = []
        self._runs: Runs = []
        self._second, self._prefix = -1, ""
        self.size = 0  # bytes that are held, in whole lines and others

    @property
    def skips(self) -> bool:
        """Whether there are still lines to leave out."""
        return self._skip > 0

    @property
    def unfinished(self) -> bool:
        """Whether a part of a line waits for the rest of it."""
        return bool(self._parts[0] or self._parts[1])

    @property
    def begun(self) -> tuple[bool, bool]:
        """For each stream, whether a part of its present line was passed on; what `begun` of the next is to be."""
        return self._begun[0], self._begun[1]

    def add(self, microseconds: int, is_stderr: bool, message: bytes) -> None:
        """The next message of a stream."""
        if message.find(b"\n", 0, -1) >= 0:  # no line of conmon's has that, but others can write to the journal, too
            for line in message.split(b"\n")[:-1]:
                self._add(microseconds, is_stderr, line + b"\n")
            message = message.rpartition(b"\n")[2]
        if message:
            self._add(microseconds, is_stderr, message)

    def _add(self, microseconds: int, is_stderr: bool, message: bytes) -> None:
        parts = self._parts[is_stderr]
        if self._timed and not parts and not self._begun[is_stderr]:
            parts.append(self._time(microseconds))
            self.size += len(parts[0])
        parts.append(message)
        self.size += len(message)
        if message.endswith(b"\n"):
            self._pass_on(is_stderr)
            self._begun[is_stderr] = False

    def flush(self) -> None:
        """Pass on what there is of unfinished lines."""
        for is_stderr in (False, True):
            if self._parts[is_stderr]:
                self._pass_on(is_stderr)
                self._begun[is_stderr] = True

    def take(self) -> tuple[bytes, Runs]:
        """The lines so far, and their streams; they are held no longer."""
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
