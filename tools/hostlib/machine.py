"""Facts about this machine, read from files, and the errors of tools that need another one."""

import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path


class HostError(Exception):
    """A failed setup; the text is one line with the problem and the remedy."""


def why_failed(stdout: str, stderr: str) -> str:
    """Return the error line of a failed tool: apt's first `E:`, else the last line of stderr or stdout."""
    lines = [line.strip() for text in (stderr, stdout) for line in text.splitlines()]
    last = (stderr.strip() or stdout.strip() or "no output").splitlines()[-1]
    return next((line for line in lines if line.startswith("E:")), last)


def exit_code(program: str, work: Callable[[], None]) -> int:
    """Run a command, report expected failures in one line on stderr, and return the exit status."""
    try:
        work()
    except HostError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def is_root() -> bool:
    """Return True if the process can install packages and create accounts."""
    return os.geteuid() == 0


def debian_major() -> int:
    """Return Debian's major version; 13 for testing, unstable and derivatives without one."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return 13
    version = release.get("VERSION_ID", "").split(".")[0]
    return int(version) if release.get("ID") == "debian" and version.isdigit() else 13


def has_systemd() -> bool:
    """Return True if systemd is process 1 (as in sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()


def has_cgroup2() -> bool:
    """Return True on the unified cgroup hierarchy; crun refuses hybrid and v1."""
    return Path("/sys/fs/cgroup/cgroup.controllers").exists()


def has_pids_controller() -> bool:
    """Return False if the pids controller of cgroup v2 is on another hierarchy or not built."""
    controllers = Path("/sys/fs/cgroup/cgroup.controllers")
    return not controllers.exists() or "pids" in controllers.read_text().split()


def is_ordinary() -> bool:
    """Return True if podman's defaults work: with systemd and cgroup v2, as installed by Debian."""
    return has_systemd() and has_cgroup2()
