"""What debootstrap needs: the mirror, a cache outside the tree, and one maker at a time."""

import fcntl
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tools.hostlib.machine import HostError, why_failed


def cache() -> Path:
    """Where the test runs keep what is costly to make: $XDG_CACHE_HOME/mcp-test, or ~/.cache/mcp-test."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mcp-test"


def mirror() -> str:
    """The URL of the Debian archive that this machine's apt is configured for."""
    columns = "$(ORIGIN)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)"
    argv = ["apt-get", "indextargets", "--format", columns, "Created-By: Packages"]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    rows = [line.split("|") for line in listed.splitlines()]
    # the origin is known only after `apt-get update`
    plain = [row for row in rows if "-" not in row[1] and row[2] == "main" and row[3].startswith(("http", "file"))]
    chosen = [row for row in plain if row[0] == "Debian"] or [row for row in plain if not row[0]]
    if not chosen:
        raise HostError("apt knows no Debian mirror by http: /etc/apt/sources.list has to name one")
    return chosen[0][3]


def checked(argv: Sequence[str], seconds: float, stdin: bytes = b"") -> str:
    """Run a command to its end and return its stdout; HostError with its last words if it fails or takes too long."""
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
    """Two test runs at once make a thing only once; the second waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
