"""The previous release, built from git's history: what the programs of this tree must get along with.

tests/previous_release.txt names its commit ("Releases" in CONTRIBUTING.md). It is built once, outside of the tree,
by its own build.py.
"""

import functools
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from mcp.shared.resources import ROOT
from tests.zipapps import build
from tools.hostlib import bootstrap
from tools.hostlib.bootstrap import locked

NAMED_IN = Path(__file__).parent / "previous_release.txt"
GIT = ["git", "-c", f"safe.directory={ROOT}", "-c", f"safe.directory={ROOT / '.git'}"]
FAKE_PODMAN = "tests/component/fake_podman.py"


@dataclass(frozen=True)
class Previous:
    """Its programs, the fake podman that knows what its agent asks for, and what `version` of both says."""

    mcp: Path
    agent: Path
    fake_podman: Path
    version: str


@functools.cache
def previous() -> Previous:
    """The previous release; fails the test, in one line, where git does not have it."""
    named = f"{NAMED_IN.read_text().strip()}^{{commit}}"
    commit = _done([*GIT, "-C", str(ROOT), "rev-parse", "--verify", named]).strip()
    folder = bootstrap.cache() / "previous" / commit
    with locked(bootstrap.cache() / "previous.lock"):
        if not folder.is_dir():
            _make(commit, folder)
    version = _done([str(folder / "mcp.pyz"), "version"]).split()[-1]
    return Previous(folder / "mcp.pyz", folder / "mcp-agent.pyz", folder / "fake_podman.py", version)


def _make(commit: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        tree, made = Path(scratch, "tree"), Path(scratch, "made")
        _done([*GIT, "clone", "--quiet", "--no-checkout", str(ROOT), str(tree)])
        _done([*GIT, "-C", str(tree), "checkout", "--quiet", "--detach", commit])
        done = build("--arch", "own", "--out", str(made), root=tree)
        if done.returncode != 0:
            pytest.fail(f"the previous release ({commit[:12]}) cannot be built: {done.stderr.strip()}", pytrace=False)
        shutil.copy(tree / FAKE_PODMAN, made / "fake_podman.py")
        with suppress(OSError):  # another run may have been first
            made.rename(folder)


def _done(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        hint = f"{NAMED_IN.name} names a commit, which a full clone has"
        pytest.fail(f"there is no previous release to test with: {why}; {hint}", pytrace=False)
    return done.stdout
