"""Facts about the machine we run on, all of them read from files; and how a tool that it does not suit ends."""

import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path


class HostError(Exception):
    """The machine cannot be made ready; the text is one line that says what is wrong and what to do."""


def why_failed(stdout: str, stderr: str) -> str:
    """Return the line of a failed tool's output that says why: apt's first `E:`, else the last of stderr, or stdout."""
    lines = [line.strip() for text in (stderr, stdout) for line in text.splitlines()]
    last = (stderr.strip() or stdout.strip() or "no output").splitlines()[-1]
    return next((line for line in lines if line.startswith("E:")), last)


def exit_code(program: str, work: Callable[[], None]) -> int:
    """Run a program's command; every expected failure is one line on stderr. Returns what the program exits with."""
    try:
        work()
    except HostError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def is_root() -> bool:
    """True when we may install packages and make accounts."""
    return os.geteuid() == 0


def debian_major() -> int:
    """Debian's major version; testing, unstable and relatives without one count as the newest known (13)."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return 13
    version = release.get("VERSION_ID", "").split(".")[0]
    return int(version) if release.get("ID") == "debian" and version.isdigit() else 13


def has_systemd() -> bool:
    """True when systemd is process 1 (sd_booted(3) asks the same way)."""
    return Path("/run/systemd/system").is_dir()


def has_cgroup2() -> bool:
    """True on the unified hierarchy; crun refuses hybrid and v1 ones."""
    return Path("/sys/fs/cgroup/cgroup.controllers").exists()


def has_pids_controller() -> bool:
    """False on a cgroup v2 machine whose pids controller is on another hierarchy or not built."""
    controllers = Path("/sys/fs/cgroup/cgroup.controllers")
    return not controllers.exists() or "pids" in controllers.read_text().split()


def is_ordinary() -> bool:
    """True where podman's own defaults work: systemd and cgroup v2, as Debian installs them."""
    return has_systemd() and has_cgroup2()
