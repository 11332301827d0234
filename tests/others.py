"""Another user of the machine, and folders that are shared with them."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

OTHER = 65534  # nobody

Foreign = Callable[[Path], Path]


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> Foreign:
    """Give a file or link to another user: in truth as root, else by taking ourselves for another one."""

    def give(path: Path) -> Path:
        if os.geteuid() == 0:
            os.chown(path, OTHER, OTHER, follow_symlinks=False)
        elif os.geteuid() == os.getuid():
            monkeypatch.setattr(os, "geteuid", lambda: 54321)
        return path

    return give


@contextmanager
def running_as_other(script: str, arguments: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a Python script as another user while inside; as ourselves if we are not root."""
    drop = ["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups"] if os.geteuid() == 0 else []
    with subprocess.Popen([*drop, sys.executable, "-I", "-S", "-c", script, *arguments], cwd="/") as process:
        try:
            yield process
        finally:
            process.kill()
