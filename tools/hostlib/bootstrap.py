"""Support for debootstrap: mirror, cache and lock."""

import fcntl
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tools.hostlib.machine import HostError, why_failed


def cache() -> Path:
    """Return the cache folder of test runs: $XDG_CACHE_HOME/mcp-test or ~/.cache/mcp-test."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mcp-test"


def mirror() -> str:
    """Return the URL of the Debian archive configured for apt."""
    columns = "$(ORIGIN)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)"
    argv = ["apt-get", "indextargets", "--format", columns, "Created-By: Packages"]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    rows = [line.split("|") for line in listed.splitlines()]
    # the origin is unknown before `apt-get update`
    plain = [row for row in rows if "-" not in row[1] and row[2] == "main" and row[3].startswith(("http", "file"))]
    chosen = [row for row in plain if row[0] == "Debian"] or [row for row in plain if not row[0]]
    if not chosen:
        raise HostError("no Debian mirror with http in apt: add one to /etc/apt/sources.list")
    return chosen[0][3]


def checked(argv: Sequence[str], seconds: float, stdin: bytes = b"") -> str:
    """Run a command and return its stdout; raises HostError with its last line on failure or timeout."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, timeout=seconds, check=False)
    except FileNotFoundError as error:
        raise HostError(f"{error.filename} is missing: run `python3 tools/host.py ensure --for test`") from None
    except subprocess.TimeoutExpired:
        raise HostError(f"`{' '.join(argv)}` took longer than {seconds:g} s") from None
    out = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        why = why_failed(out, done.stderr.decode(errors="replace"))
        raise HostError(f"`{' '.join(argv)}` failed with {done.returncode}: {why}")
    return out


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that concurrent test runs do the work only once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
