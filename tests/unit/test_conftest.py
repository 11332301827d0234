"""The rule that CI has no skipped tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcp.shared.resources import ROOT

SKIPS = """
import pytest
import unittest

def test_inside():
    pytest.skip("inside")

@pytest.mark.skipif(True, reason="by mark")
def test_mark():
    raise AssertionError("never runs")

@pytest.mark.xfail(reason="known")
def test_xfail():
    raise AssertionError("expected")
"""

SKIPS_WHOLE = """
import pytest
pytest.skip("the whole file", allow_module_level=True)
"""


def run_pytest(folder: Path, ci: str) -> subprocess.CompletedProcess[str]:
    """Run pytest over `folder` with our hooks and CI set to `ci`."""
    options = ["-p", "tests.conftest", "-p", "no:cacheprovider", "-q", "-c", "/dev/null", f"--rootdir={folder}"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(folder)],
        cwd=ROOT,
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("content", "failures"), [(SKIPS, "1 failed, 1 xfailed, 1 error"), (SKIPS_WHOLE, "1 error")])
def test_ci_makes_a_skip_a_failure(tmp_path: Path, content: str, failures: str) -> None:
    (tmp_path / "test_skips.py").write_text(content)
    done = run_pytest(tmp_path, "true")
    assert done.returncode != 0
    assert failures in done.stdout, done.stdout
    assert "was skipped, which CI=true forbids" in done.stdout


def test_elsewhere_a_skip_is_a_skip(tmp_path: Path) -> None:
    (tmp_path / "test_skips.py").write_text(SKIPS)
    done = run_pytest(tmp_path, "")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 skipped, 1 xfailed" in done.stdout
