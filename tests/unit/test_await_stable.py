"""How long a deploy waits for a health check: each attempt for its own timeout, until all its terms are over."""

import asyncio
import selectors
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from agent.files.files import ServiceFiles
from agent.podman.client import Podman
from agent.podman.inspect import ContainerDetails, HealthCheck
from agent.podman.states import CheckResult
from agent.services import steps
from agent.services.steps import AwaitStable, DidNotStayUpError, StepContext, unhealthy
from agent.store.registry import AsyncRegistry
from mcp.shared.errors import McpError

CHECK = HealthCheck(("CMD", "true"), interval=0.1, timeout=0.3, retries=2)
RUNNING = ContainerDetails("id1", "web", "running", 0, check=CHECK, check_output="no such table\n", log_driver="none")


class ScriptedPodman(Podman):
    """A container with a health check whose attempts come to these results; a hanging one takes its timeout."""

    def __init__(self, details: ContainerDetails, results: Sequence[CheckResult], slow: float = 0.0) -> None:
        super().__init__("no-podman", 1)
        self.now = details
        self.results = list(results)
        self.slow = slow
        self.attempts = 0

    async def inspect(self, *_names: str) -> dict[str, ContainerDetails]:
        return {self.now.name: self.now}

    async def check_health(self, identifier: str, check: HealthCheck) -> CheckResult:
        assert (identifier, check) == (self.now.identifier, CHECK)
        self.attempts += 1
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        await asyncio.sleep(check.timeout if result is CheckResult.TIMED_OUT else self.slow)
        return result


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock skips what it would wait for."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__(SkippingSelector(self))

    def time(self) -> float:
        return self.now


class SkippingSelector(selectors.SelectSelector):
    """Lets the time of its loop pass instead of waiting."""

    def __init__(self, loop: SkippingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.now += timeout or 0.0
        return super().select(0)


def waited(podman: Podman, settle: float = 0.0) -> tuple[str, float]:
    """The failure of the step (or nothing) and the seconds until then."""

    async def wait() -> tuple[str, float]:
        began = asyncio.get_running_loop().time()
        context = StepContext(podman, cast(AsyncRegistry, None), "web", "web", 1, settle, cast(ServiceFiles, None))
        try:
            await AwaitStable("web").do(context)
        except DidNotStayUpError as error:
            return error.what, asyncio.get_running_loop().time() - began
        return "", asyncio.get_running_loop().time() - began

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        return runner.run(wait())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "HEALTH_POLL", 0.01)


def test_one_that_hangs_once_is_tried_again() -> None:
    podman = ScriptedPodman(RUNNING, [CheckResult.TIMED_OUT, CheckResult.HEALTHY])
    assert waited(podman)[0] == ""
    assert podman.attempts == 2


def test_one_that_always_hangs_fails_when_its_terms_are_over() -> None:
    podman = ScriptedPodman(RUNNING, [CheckResult.TIMED_OUT])
    error, seconds = waited(podman)
    what = "the new container did not become healthy within 0.8 s: its check did not end within 0.3 s and printed"
    assert error == f"{what} no such table"
    assert podman.attempts == CHECK.retries + 1
    assert seconds == pytest.approx(0.9, abs=0.05)


def test_one_that_always_fails_says_what_it_printed() -> None:
    error, seconds = waited(ScriptedPodman(RUNNING, [CheckResult.UNHEALTHY]))
    assert error == "the new container did not become healthy within 0.2 s: its check printed no such table"
    assert seconds == pytest.approx(0.2, abs=0.02)


def test_one_that_takes_longer_than_all_intervals_may_still_succeed() -> None:
    podman = ScriptedPodman(RUNNING, [CheckResult.HEALTHY], slow=0.25)
    assert waited(podman)[0] == ""
    assert podman.attempts == 1


def test_the_start_period_counts() -> None:
    check = replace(CHECK, start_period=0.2)
    assert [round(each.patience, 3) for each in (CHECK, check)] == [0.2, 0.4]


def test_one_that_ends_during_its_check_is_not_unhealthy() -> None:
    podman = ScriptedPodman(RUNNING, [CheckResult.UNHEALTHY])

    async def ends(_identifier: str, _check: HealthCheck) -> CheckResult:
        podman.now = replace(RUNNING, state="exited", exit_code=3)
        return CheckResult.UNHEALTHY

    podman.check_health = ends  # type: ignore[assignment,method-assign]  # for this one
    assert waited(podman)[0] == "the new container ended with exit code 3 soon after its start"


@pytest.mark.parametrize(
    ("output", "said"),
    [("", "nothing"), ("a\n\n b \n", "a | b"), ("x" * 500, "x" * 300)],
    ids=["nothing", "lines", "too much"],
)
def test_what_it_printed_is_one_short_line(output: str, said: str) -> None:
    shown = unhealthy(replace(RUNNING, check_output=output), 5, CheckResult.UNHEALTHY)
    assert shown == f"did not become healthy within 5 s: its check printed {said}"


def test_without_a_check_it_must_stay_up() -> None:
    podman = ScriptedPodman(replace(RUNNING, check=None), [])
    error, seconds = waited(podman, settle=0.1)
    assert (error, podman.attempts) == ("", 0)
    assert 0.1 <= seconds < 0.1 + 2 * steps.POLL


@pytest.mark.parametrize(
    ("script", "result"),
    [
        ("exit 0", CheckResult.HEALTHY),
        ("echo unhealthy; exit 1", CheckResult.UNHEALTHY),
        ("sleep 0.4; exit 125", CheckResult.TIMED_OUT),
        ("sleep 100", CheckResult.TIMED_OUT),
    ],
)
def test_an_attempt(tmp_path: Path, script: str, result: CheckResult) -> None:
    """The last one stands for a podman that hangs: it is given up, too."""
    program = tmp_path / "podman"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    client = Podman(str(program), 0.5)
    assert asyncio.run(client.check_health("id1", CHECK)) is result


def test_an_attempt_may_take_longer_than_other_calls_of_podman(tmp_path: Path) -> None:
    program = tmp_path / "podman"
    program.write_text("#!/bin/sh\nsleep 1.2\n")
    program.chmod(0o755)
    client, check = Podman(str(program), 0.2), replace(CHECK, timeout=60)
    assert asyncio.run(client.check_health("id1", check)) is CheckResult.HEALTHY


def test_without_podman_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(McpError, match="was not found"):
        asyncio.run(Podman(str(tmp_path / "podman"), 1).check_health("id1", CHECK))
