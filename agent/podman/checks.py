"""End the processes of health checks that run for longer than their timeout.

podman (4.3 to 5.4) waits for a check however long it takes, and only calls it failed afterwards. A check is an exec
session of its container: a conmon whose child is the check. Once that has ended, podman records the failure with all
that it printed.
"""

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LEAST_TIMEOUT = 1.0  # seconds; podman allows no shorter one
BOOT_CLOCK = time.CLOCK_BOOTTIME
TICKS = os.sysconf("SC_CLK_TCK")
PARENT, START_TIME = 1, 19  # fields of /proc/PID/stat, counted from the state


@dataclass(frozen=True)
class ExecSession:
    """An exec session in a container: its monitor's pid, the seconds since its start, and the files podman made."""

    container: str
    conmon: int
    age: float
    pid_file: Path
    process_file: Path


def end_overdue(identifier: str, command: Sequence[str], timeout: float) -> int:
    """End a container's checks that run for `timeout` seconds or longer; return their number.

    Args:
        identifier: The container's full id.
        command: The check as `inspect` has it: CMD and an argv, or CMD-SHELL and a command line.
        timeout: The seconds that a check may take.
    """
    overdue = [each for each in exec_sessions() if each.container == identifier and each.age >= timeout]
    checks = [session for session in overdue if is_check(_argv(session.process_file), command)]
    for check in checks:
        _end(check)
    return len(checks)


def check_ages() -> dict[str, float]:
    """Return the age of the oldest exec session of each container, by the container's id; it may be a check."""
    ages: dict[str, float] = {}
    for session in exec_sessions():
        ages[session.container] = max(session.age, ages.get(session.container, 0.0))
    return ages


def is_check(argv: Sequence[str], command: Sequence[str]) -> bool:
    """Tell if a process with these arguments is a health check with this command; a shell runs one of CMD-SHELL."""
    kind, *words = command
    return list(argv[1:]) == ["-c", " ".join(words)] if kind == "CMD-SHELL" else list(argv) == words


def exec_sessions() -> Iterator[ExecSession]:
    """Yield the exec sessions of all containers, also those that are not checks."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError, ValueError, IndexError):  # ended in the meantime, or without these arguments
                argv = (process / "cmdline").read_text().split("\0")
                if argv[0].endswith("conmon") and "-e" in argv:
                    container, *files = (argv[argv.index(name) + 1] for name in ("-c", "-p", "--exec-process-spec"))
                    yield ExecSession(container, int(process.name), _age(process), *map(Path, files))


def _age(process: Path) -> float:
    return time.clock_gettime(BOOT_CLOCK) - int(_stat(process)[START_TIME]) / TICKS


def _argv(process_file: Path) -> list[str]:
    with suppress(OSError, ValueError, KeyError):
        return [str(word) for word in json.loads(process_file.read_bytes())["args"]]
    return []


def _end(session: ExecSession) -> None:
    """Kill a check, and then its children, which not every runtime puts into a process group of their own.

    Those of another user of the container are out of reach: their conmon, which is ours, ends the check itself.
    """
    try:
        for pid in family(int(session.pid_file.read_text())):
            os.kill(pid, signal.SIGKILL)
    except (OSError, ValueError):  # out of reach, or ended
        with suppress(ProcessLookupError):
            os.kill(session.conmon, signal.SIGTERM)


def family(pid: int) -> list[int]:
    """Return a process and all its descendants, parents first."""
    children: dict[int, list[int]] = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                children.setdefault(int(_stat(process)[PARENT]), []).append(int(process.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def _stat(process: Path) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on."""
    return (process / "stat").read_text().rpartition(") ")[2].split()
