"""Run test tiers concurrently, as they mostly wait.

    python -m tools.tiers [--coverage] [--full] [TIER ...]    (default: all tiers)

Each tier is a pytest with its own temporary folder, log and JUnit file (build/tests). A single tier has the terminal;
with several, the output of failed tiers is printed, and a summary in the form of pytest. The exit status is 1 if
anything failed. --coverage prints the lines that were run, also in the programs that tests start.
--full repeats the attacks of tests/torture as often as docs/reliability.md says, and prints their figures.
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

TREE = Path(__file__).parents[1]
REPORTS = TREE / "build/tests"
COVERAGE = TREE / "build/coverage"
MEASURED = "COVERAGE_FILE"  # in the environment where coverage is measured
POLL = 0.2  # seconds
NEWS = 60.0  # seconds between progress lines
END_SECONDS = 90.0  # for an interrupted tier to remove its nodes and containers; see tests/conftest.py
INTERRUPTED = 130
FIGURES = REPORTS / "figures.tsv"  # of tests/torture: name, tab, value
FULL = "MCP_TORTURE_FULL"  # in the environment of a run with --full
AGAINST_PODMAN = "tests/component/test_fake_podman.py"


@dataclass(frozen=True)
class Tier:
    """Tests of similar cost, run in `workers` processes with scheduling priority `nice`."""

    name: str
    paths: tuple[str, ...]
    without: tuple[str, ...] = ()
    workers: int = 2
    nice: int = 0

    def argv(self, scratch: Path) -> list[str]:
        """Return the argv of its pytest."""
        options = [f"--junit-xml={REPORTS / self.name}.xml", f"--basetemp={scratch / self.name}"]
        options += ["-o", f"cache_dir=.pytest_cache/{self.name}", "-n", str(self.workers), "--dist=loadfile"]
        options += [f"--ignore={path}" for path in self.without]
        measured = ["-m", "coverage", "run"] if MEASURED in os.environ else []
        return ["nice", "-n", str(self.nice), sys.executable, *measured, "-m", "pytest", *options, *self.paths]


# The longest and most waiting first; those that only compute use the remaining processor time.
TIERS = {
    tier.name: tier
    for tier in (
        Tier("fleet", ("tests/fleet",)),
        Tier("podman", ("tests/podman", AGAINST_PODMAN), workers=1),
        Tier("built", ("tests/build", "tests/e2e", "tests/nixos"), workers=1),
        Tier("torture", ("tests/torture",), workers=1, nice=5),
        Tier("component", ("tests/component", "tests/platform"), without=(AGAINST_PODMAN,), nice=5),
        Tier("fast", ("tests/test_house.py", "tests/unit"), nice=10),
    )
}


@dataclass
class Running:
    """A running tier."""

    tier: Tier
    process: "subprocess.Popen[bytes]"
    log: Path
    began: float

    def progress(self) -> str:
        """Return the tier's name with the last percentage printed by pytest."""
        percents = [part for part in self.log.read_text(errors="replace").split() if part.endswith("%]")]
        return f"{self.tier.name} {percents[-1].rstrip(']').lstrip('[') if percents else '0%'}"

    def report(self) -> Counter[str]:
        """Print the outcome, with the full output on failure; return the number of tests by result."""
        text = self.log.read_text(errors="replace").rstrip()
        counts, failed = count(REPORTS / f"{self.tier.name}.xml"), self.process.returncode != 0
        if failed:
            say(f"{f' {self.tier.name} ':=^100}\n{text}")
            counts["error"] += not (counts["failed"] or counts["error"])  # of pytest itself
        last = (text.splitlines() or [""])[-1].strip("= ")
        say(f"--- {self.tier.name}: {'FAILED' if failed else 'passed'}: {last}")
        return counts


def count(report: Path) -> Counter[str]:
    """Return the number of tests in a JUnit file by result; none if the file is missing."""
    found: Counter[str] = Counter()
    if report.exists():
        for suite in ET.parse(report).getroot().iter("testsuite"):  # noqa: S314 - our own pytest wrote it
            numbers = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
            found += Counter(failed=numbers["failures"], error=numbers["errors"], skipped=numbers["skipped"])
            found["passed"] += numbers["tests"] - numbers["failures"] - numbers["errors"] - numbers["skipped"]
    return found


def summary(counts: Counter[str], seconds: float) -> str:
    """Return the summary line in the form of pytest."""
    parts = [f"{counts['passed']} passed"]
    parts += [f"{counts[result]} {result}" for result in ("failed", "error", "skipped") if counts[result]]
    minutes, rest = divmod(round(seconds), 60)
    return f"{', '.join(parts)} in {seconds:.2f}s ({minutes // 60}:{minutes % 60:02}:{rest:02})"


def say(text: str) -> None:
    """Print unbuffered, for CI logs."""
    print(text, flush=True)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Provide a temporary folder; all tiers share the zipapps built in it (tests/zipapps.py)."""
    folder = Path(tempfile.mkdtemp(prefix="mcp-tests-"))
    folder.chmod(0o755)  # the users of tests run the zipapps
    (folder / "built").mkdir()
    os.environ.setdefault("MCP_TEST_BUILT", str(folder / "built"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start(tier: Tier, scratch: Path) -> Running:
    """Start the pytest of a tier in its own process group."""
    log = REPORTS / f"{tier.name}.log"
    (REPORTS / f"{tier.name}.xml").unlink(missing_ok=True)
    with log.open("wb") as file:
        process = subprocess.Popen(
            tier.argv(scratch), cwd=TREE, stdin=subprocess.DEVNULL, stdout=file, stderr=file, process_group=0
        )
    return Running(tier, process, log, time.monotonic())


def run_all(tiers: Sequence[Tier], scratch: Path) -> int:
    """Run tiers concurrently; return the exit status."""
    began, counts, failed = time.monotonic(), Counter[str](), False
    running = [start(tier, scratch) for tier in tiers]
    say(f"running {', '.join(tier.name for tier in tiers)}; logs are in {REPORTS.relative_to(TREE)}")
    try:
        for ended in ends(running):
            counts += ended.report()
            failed = failed or ended.process.returncode != 0
    except BaseException:
        end(running)
        raise
    say(summary(counts, time.monotonic() - began))
    return 1 if failed else 0


def ends(running: Sequence[Running]) -> Iterator[Running]:
    """Yield tiers as they end, and print progress meanwhile."""
    left, told = list(running), time.monotonic()
    while left:
        for each in [each for each in left if each.process.poll() is not None]:
            left.remove(each)
            yield each
        if left and time.monotonic() - told > NEWS:
            told = time.monotonic()
            say(", ".join(each.progress() for each in left))
        time.sleep(POLL)


def end(running: Sequence[Running]) -> None:
    """Interrupt running tiers, which clean up, and kill those that do not end."""
    for number in (signal.SIGINT, signal.SIGKILL):
        deadline = time.monotonic() + END_SECONDS
        for each in running:
            if each.process.poll() is None:
                os.killpg(each.process.pid, number)
        for each in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                each.process.wait(max(0.0, deadline - time.monotonic()))


def run_one(tier: Tier, scratch: Path) -> int:
    """Run one tier on the terminal; its pytest handles Ctrl-C."""
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        return subprocess.run(tier.argv(scratch), cwd=TREE, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def measured() -> Iterator[None]:
    """Measure the coverage of what runs meanwhile, and print it."""
    shutil.rmtree(COVERAGE, ignore_errors=True)
    COVERAGE.mkdir(parents=True)
    os.environ[MEASURED] = str(COVERAGE / "data")
    yield
    for command in (["combine", "--quiet"], ["html", "--quiet", "--directory", str(COVERAGE)], ["report"]):
        subprocess.run([sys.executable, "-m", "coverage", *command], cwd=TREE, check=False)


@contextlib.contextmanager
def figures() -> Iterator[None]:
    """Repeat attacks in full meanwhile; print their figures at the end."""
    os.environ[FULL] = "1"
    yield
    rows = [line.split("\t") for line in FIGURES.read_text().splitlines()] if FIGURES.exists() else []
    for name, value in rows:
        say(f"{name:<70} {value}")


def interrupt(_number: int, _frame: FrameType | None) -> None:
    """Handle SIGTERM as Ctrl-C."""
    raise KeyboardInterrupt


def main(argv: Sequence[str]) -> int:
    """Run the tiers on the command line."""
    parser = argparse.ArgumentParser(prog="tiers", description="Run the tests by tier.")
    parser.add_argument("tiers", nargs="*", metavar="TIER", help=f"one of {', '.join(TIERS)}; default: all")
    parser.add_argument("--coverage", action="store_true", help="measure and print coverage")
    parser.add_argument("--full", action="store_true", help="repeat attacks in full, and print their figures")
    options = parser.parse_args(argv)
    names = dict.fromkeys(options.tiers or TIERS)
    if unknown := [name for name in names if name not in TIERS]:
        parser.error(f"unknown tier: {', '.join(unknown)}; known: {', '.join(TIERS)}")
    REPORTS.mkdir(parents=True, exist_ok=True)
    FIGURES.unlink(missing_ok=True)
    signal.signal(signal.SIGTERM, interrupt)
    tiers = [TIERS[name] for name in names]
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(scratch_folder())
        if options.coverage:
            stack.enter_context(measured())
        if options.full:
            stack.enter_context(figures())
        try:
            return run_one(tiers[0], scratch) if len(tiers) == 1 else run_all(tiers, scratch)
        except KeyboardInterrupt:
            return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
