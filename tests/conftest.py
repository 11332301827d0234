"""What every test run starts from: the shared fixtures, a clean environment, and no skipped test in CI."""

import os
import signal
from collections.abc import Generator

import pytest
import xdist.workermanage
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.nodes", "tests.rootless", "tests.roots", "tests.zipapps"]

# Settings of the caller's shell that would change what the programs under test do, or how fast they start.
_NOISE = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONPATH", "PIP_FIND_LINKS", "MCP_CONFIG", "MCP_TOKEN")

for _name in _NOISE:
    os.environ.pop(_name, None)


# A shell lets what it starts in the background ignore ^C, and children inherit that; ours are sent ^C in tests.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# An interrupted run lets its workers remove nodes and containers before it kills them; 10 s are not enough for that.
xdist.workermanage.NodeManager.EXIT_TIMEOUT = 60

# How long an example takes says nothing on a machine that does other things as well.
settings.register_profile("mcp", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mcp")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI=true, a skipped test has failed: nobody would read that it was skipped."""
    report = yield
    if _in_ci() and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = _complaint(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for whole files that skip themselves."""
    report = yield
    if _in_ci() and report.skipped:
        report.outcome = "failed"
        report.longrepr = _complaint(report)
    return report


def _complaint(report: pytest.TestReport | pytest.CollectReport) -> str:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return f"{report.nodeid} was skipped, which CI=true forbids: {reason}"


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() == "true"
