"""Running the tests by tier: every test is in one tier, and what the last line says."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from mcp.shared.resources import ROOT
from tests.waiting import wait_for
from tools import tiers
from tools.tiers import TIERS, Tier

PASSES = "def test_good():\n    pass\n"
FAILS = "def test_bad():\n    raise AssertionError('this is what is wrong')\n"
WAITS = """
import pathlib, time
def test_long(tmp_path):
    try:
        pathlib.Path({folder!r}, "waits").touch()
        time.sleep(600)
    finally:
        pathlib.Path({folder!r}, "cleaned").touch()
"""


def files(tier: Tier) -> set[Path]:
    """The files of tests that are a tier's."""
    found = {file for path in tier.paths for file in [ROOT / path, *(ROOT / path).rglob("test_*.py")]}
    return {file for file in found if file.is_file()} - {ROOT / path for path in tier.without}


def test_every_test_is_in_one_tier() -> None:
    counts = Counter(file for tier in TIERS.values() for file in files(tier))
    assert set(counts) == set((ROOT / "tests").rglob("test_*.py"))
    assert set(counts.values()) == {1}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the tests, logs and reports of tiers of a test's own."""
    monkeypatch.setattr(tiers, "TREE", tmp_path)
    monkeypatch.setattr(tiers, "REPORTS", tmp_path / "reports")
    (tmp_path / "reports").mkdir()
    return tmp_path


def tier(folder: Path, name: str, content: str) -> Tier:
    """A tier of one file."""
    (folder / f"test_{name}.py").write_text(content)
    return Tier(name, (str(folder / f"test_{name}.py"),), workers=1)


def test_what_failed_is_shown_and_the_last_line_sums_up(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    chosen = [tier(folder, "good", PASSES), tier(folder, "bad", FAILS), tier(folder, "broken", "import nothing")]
    assert tiers.run_all(chosen, folder) == 1
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if "this is what is wrong" in line]
    assert {line.rpartition(": ")[0] for line in lines if line.startswith("--- ")} == {
        *("--- good: passed", "--- bad: FAILED", "--- broken: FAILED")
    }
    assert lines[-1].startswith("1 passed, 1 failed, 1 error in ")


def test_when_all_is_well_it_is_short(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert tiers.run_all([tier(folder, "good", PASSES), tier(folder, "fine", PASSES)], folder) == 0
    first, *ends, last = capfd.readouterr().out.splitlines()
    assert first == "running good, fine; logs are in reports"
    assert {line.partition(": 1 passed")[0] for line in ends} == {"--- good: passed", "--- fine: passed"}
    assert last.startswith("2 passed in ")


def test_a_pytest_that_ends_without_a_report_is_an_error() -> None:
    assert tiers.count(Path("/proc/nowhere")) == Counter()


def test_an_interrupted_run_lets_its_tests_clean_up(folder: Path) -> None:
    (folder / "test_waits.py").write_text(WAITS.format(folder=str(folder)))
    code = (
        "import sys; from pathlib import Path; from tools import tiers\n"
        f"tiers.REPORTS = tiers.TREE = Path({str(folder)!r})\n"
        f"tiers.TIERS = {{n: tiers.Tier(n, ({str(folder / 'test_waits.py')!r},), workers=1) for n in 'ab'}}\n"
        "sys.exit(tiers.main([]))"
    )
    run = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_for((folder / "waits").exists)
    os.kill(run.pid, signal.SIGTERM)
    assert run.wait(60) == tiers.INTERRUPTED
    assert (folder / "cleaned").exists()
