"""Containers that end, or are started again, while podman looks at them or stops them; what it said then for real."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.podman import client as module
from agent.podman.argv import NewContainer
from agent.podman.client import Podman
from agent.podman.inspect import ContainerDetails, parse_details
from mcp.shared import proc
from mcp.shared.errors import McpError, NotReady
from mcp.shared.names import LABEL_DEPLOY, LABEL_SERVICE
from tests.unit.clocks import SetClock

ENDED = (125, "", "Error: read /proc/14691/cgroup: no such process\n")
IMPROPER = (125, "", "Error: container 9c42 is running or paused, refusing to clean up: container state improper\n")
IN_USE = (125, "", "Error: rootlessport listen tcp 127.0.0.1:38766: bind: address already in use\n")
MISSING = (125, "[]\n", "Error: inspecting object: no such container web\n")
STOPPED = (0, "web\n", "")
Answer = tuple[int, str, str]


def shown(state: str, restarts: int = 2, *, ended: str = "2026-11-22T10:00:00.25Z") -> Answer:
    times = {"StartedAt": "2026-11-22T12:00:00.123456789+02:00", "FinishedAt": ended}
    row = {"Id": "id1", "Name": "web", "State": {"Status": state, "ExitCode": 3, **times}, "RestartCount": restarts}
    return 0, json.dumps([row]), ""


LOOK = shown("running")  # at the start of a stop, for the stop timeout: podman's 10 s


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_PAUSE", 0)


def played(
    monkeypatch: pytest.MonkeyPatch,
    work: Callable[[Podman], Awaitable[object]],
    *answers: Answer,
    meanwhile: Callable[[], None] = lambda: None,
) -> tuple[object, int]:
    """What came of it where podman gives these answers, one after the other; and how many it had left.

    `meanwhile` happens while podman runs, each time.
    """
    left = list(answers)

    async def run(argv: Sequence[str], **_: object) -> proc.Completed:
        meanwhile()
        code, out, err = left.pop(0)
        return proc.Completed(tuple(argv), code, out.encode(), err.encode())

    async def go() -> object:
        try:
            return await work(Podman("podman", 1))
        except McpError as error:
            return error

    monkeypatch.setattr(proc, "run", run)
    return asyncio.run(go()), len(left)


def test_a_look_at_a_process_that_ended_just_then_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    details, left = played(monkeypatch, lambda podman: podman.details("web"), ENDED, ENDED, shown("exited"))
    assert isinstance(details, ContainerDetails)
    assert (details.state, details.exit_code, details.restarts, details.identifier) == ("exited", 3, 2, "id1")
    assert details.ended - details.started == pytest.approx(0.25 - 0.123456)
    assert left == 0


def test_a_look_that_fails_each_time_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    error, left = played(monkeypatch, lambda podman: podman.inspect("web"), ENDED, ENDED, ENDED, shown("exited"))
    assert isinstance(error, proc.CommandFailed)
    assert "no such process" in str(error)
    assert left == 1


def test_of_several_those_that_are_there_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    partly = (125, shown("running")[1], MISSING[2])
    (web,) = parse_details(partly[1].encode())
    assert played(monkeypatch, lambda podman: podman.inspect("web", "db"), partly) == ({"web": web}, 0)
    assert played(monkeypatch, lambda podman: podman.inspect("id1"), shown("running")) == ({"web": web}, 0)
    failures = [(125, "", "Error: no storage\n")] * 3
    error, left = played(monkeypatch, lambda podman: podman.inspect("web"), *failures)
    assert left == 0
    assert isinstance(error, proc.CommandFailed)


def test_nothing_is_asked_of_no_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert played(monkeypatch, lambda podman: podman.inspect()) == ({}, 0)
    assert played(monkeypatch, lambda podman: podman.inspect_objects()) == ([], 0)


@pytest.mark.parametrize("name", ["id", "we"])  # podman takes it for the beginning of an id
def test_a_container_of_another_name_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert played(monkeypatch, lambda podman: podman.inspect(name), shown("running")) == ({}, 0)
    error, _ = played(monkeypatch, lambda podman: podman.details(name), shown("running"))
    assert str(error) == f"the container {name} is gone"


def test_one_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    error, _ = played(monkeypatch, lambda podman: podman.details("web"), MISSING)
    assert isinstance(error, NotReady)
    assert str(error) == "the container web is gone"


@pytest.mark.parametrize(
    "answers",
    [
        [STOPPED, shown("exited", ended="2999-01-01T00:00:00Z")],
        [STOPPED, shown("exited"), shown("exited")],
        [STOPPED, shown("stopped"), shown("running", 3), STOPPED, shown("exited", 3), shown("exited", 3)],
        [STOPPED, shown("exited"), shown("exited", 3), STOPPED, shown("running"), STOPPED, *[shown("exited")] * 2],
        [IMPROPER, shown("stopped"), STOPPED, shown("exited"), shown("exited")],
        [IN_USE, shown("exited"), IMPROPER, shown("exited"), STOPPED, shown("exited"), shown("exited")],
        [*[IMPROPER, shown("exited", 3)] * 2 * module.STOP_FAILURES, STOPPED, shown("exited", 4), shown("exited", 4)],
    ],
    ids=[
        *("ended by podman", "ended before", "between two runs", "again and again", "started meanwhile"),
        *("fails twice", "fails often in a crash loop"),
    ],
)
def test_a_container_is_stopped_again_until_podman_has_stopped_it(
    monkeypatch: pytest.MonkeyPatch, answers: list[Answer]
) -> None:
    assert played(monkeypatch, lambda podman: podman.stop("web"), LOOK, *answers) == ("", 0)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([IMPROPER, shown("running", 0)] * module.STOP_FAILURES, "container state improper"),
        ([STOPPED, shown("running", 0)], "web restarts each time podman stops it"),
        ([STOPPED, shown("running", 3)], "web restarts each time podman stops it"),
    ],
    ids=["fails", "started again", "in a crash loop"],
)
def test_one_that_cannot_be_stopped_is_an_error(
    monkeypatch: pytest.MonkeyPatch, answers: list[Answer], said: str
) -> None:
    monkeypatch.setattr(module, "STOP_TIMEOUT", 60 if answers[0] == IMPROPER else -11)
    monkeypatch.setattr(module, "CRASH_LOOP_TIMEOUT", -11)
    error, left = played(monkeypatch, lambda podman: podman.stop("web"), LOOK, *answers)
    assert isinstance(error, McpError)
    assert said in str(error)
    assert left == 0


def setting(clock: SetClock, monkeypatch: pytest.MonkeyPatch, set_by: float) -> Callable[[], None]:
    """Each command of podman takes a second, and in the second one, the first stop, the wall clock is set."""
    monkeypatch.setattr(module, "time", clock)
    jumps = [0, set_by]

    def meanwhile() -> None:
        clock.forward(1)
        clock.set(jumps.pop(0) if jumps else 0)

    return meanwhile


SET_BY = pytest.mark.parametrize("set_by", [0.0, 86400.0, -86400.0], ids=["not set", "forward", "back"])


@SET_BY
def test_a_wall_clock_that_is_set_does_not_end_the_patience(monkeypatch: pytest.MonkeyPatch, set_by: float) -> None:
    meanwhile = setting(SetClock(), monkeypatch, set_by)
    answers = [LOOK, IMPROPER, shown("exited"), STOPPED, LOOK, STOPPED, shown("exited"), shown("exited")]
    assert played(monkeypatch, lambda podman: podman.stop("web"), *answers, meanwhile=meanwhile) == ("", 0)


@SET_BY
def test_a_wall_clock_that_is_set_does_not_prolong_the_patience(monkeypatch: pytest.MonkeyPatch, set_by: float) -> None:
    meanwhile = setting(SetClock(), monkeypatch, set_by)
    answers = [STOPPED, shown("running", 0)] * 25
    error, left = played(monkeypatch, lambda podman: podman.stop("web"), LOOK, *answers, meanwhile=meanwhile)
    assert str(error) == "web restarts each time podman stops it"
    assert left == 50 - 42, "more than STOP_TIMEOUT and the container's own 10 seconds, at two a try"


@SET_BY
def test_restarters_are_waited_for_by_the_monotonic_clock(monkeypatch: pytest.MonkeyPatch, set_by: float) -> None:
    clock = SetClock()
    meanwhile = setting(clock, monkeypatch, set_by)
    looks: list[float] = []

    def restarters(_: str) -> dict[int, bool]:
        clock.forward(1)
        looks.append(clock.monotonic())
        return {1: True}

    monkeypatch.setattr(module, "restarters", restarters)
    answers = [LOOK, STOPPED, shown("exited"), shown("exited")]
    assert played(monkeypatch, lambda podman: podman.stop("web"), *answers, meanwhile=meanwhile) == ("", 0)
    assert len(looks) == 39, "with the two commands before, 41 seconds"


def test_a_run_that_seems_long_because_the_wall_clock_was_set_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    long_run = shown("exited", ended="2999-01-01T00:00:00Z")
    meanwhile = setting(SetClock(), monkeypatch, 0)
    stop = [LOOK, STOPPED, long_run]
    assert played(monkeypatch, lambda podman: podman.stop("web"), *stop, meanwhile=meanwhile) == ("", 0)
    meanwhile = setting(SetClock(), monkeypatch, 86400)
    answers = [*stop, shown("running", 3), STOPPED, shown("exited", 3), shown("exited", 3)]
    assert played(monkeypatch, lambda podman: podman.stop("web"), *answers, meanwhile=meanwhile) == ("", 0)


@contextmanager
def keeper(program: str, *more: str) -> Iterator[int]:
    """A process with the arguments of one that looks after a container; it does nothing."""
    argv = [program, "-Ic", "input()", *more, "--exit-command-arg", "cleanup", "id1"]
    with subprocess.Popen(argv, executable=sys.executable, stdin=subprocess.PIPE) as child:
        while b"id1" not in Path(f"/proc/{child.pid}/cmdline").read_bytes():
            time.sleep(0.01)
        try:
            yield child.pid
        finally:
            child.kill()


def test_the_processes_that_could_start_it_again() -> None:
    with keeper("/usr/bin/podman") as cleanup, keeper("/usr/bin/conmon") as conmon:
        assert module.restarters("id1") == {cleanup: False, conmon: True}
        assert module.restarters("id") == {}
    assert module.restarters("id1") == {}


def test_the_process_that_ends_with_a_container() -> None:
    name = f"web-{os.getpid()}"  # other tests have containers, too
    with keeper("/usr/bin/conmon", "-n", name) as conmon, keeper("/usr/bin/conmon", "-n", name, "-e"):
        assert module.conmons([name, "api-of-nobody"]) == {conmon}
        assert module.conmons([name[:-1], "id1", "-n"]) == set()
    assert module.conmons([name]) == set()


GONE = 2**22 + 1  # no process has this number, which is above the kernel's highest


def listed(pid: int, *more: int, state: str = "running", labels: dict[str, str] | None = None) -> Answer:
    """The containers id1, id2 … of `podman ps`, whose main processes have these numbers."""
    rows = [
        {"Id": f"id{number}", "Names": [f"web{number}"], "State": state, "Pid": each, "Labels": labels or {}}
        for number, each in enumerate((pid, *more), start=1)
    ]
    return 0, json.dumps(rows), ""


def seen(identifier: str, pid: int, state: str = "running") -> Answer:
    """The container as `podman inspect` has it."""
    row = {"Id": identifier, "Name": "web", "State": {"Status": state, "ExitCode": 0, "Pid": pid}}
    return 0, json.dumps([row]), ""


def lost(monkeypatch: pytest.MonkeyPatch, *answers: Answer) -> list[bool]:
    """Which of the listed containers are called lost; podman was asked no more than that."""
    found, left = played(monkeypatch, lambda podman: podman.containers(), *answers)
    assert isinstance(found, list), found
    assert left == 0
    return [each.orphaned for each in found]


def test_podman_is_asked_only_about_containers_without_conmon(monkeypatch: pytest.MonkeyPatch) -> None:
    with keeper("/usr/bin/conmon", "-c", "id1"):
        assert lost(monkeypatch, listed(GONE)) == [False], "its process has ended, and conmon has not written that down"
        assert lost(monkeypatch, listed(GONE, GONE), seen("id2", GONE)) == [False, True]
    assert lost(monkeypatch, listed(GONE), seen("id1", GONE)) == [True]
    assert lost(monkeypatch, listed(os.getpid()), seen("id1", os.getpid())) == [True], "conmon is not its parent"
    assert lost(monkeypatch, listed(GONE, state="exited")) == [False]
    assert lost(monkeypatch, listed(0)) == [False], "podman says no number"


@pytest.mark.parametrize("other", [["-c", "id11"], ["-n", "id1"], ["-c", "id1", "-e"], ["-c", "id2", "-u", "id1"]])
def test_another_conmon_is_not_its_own(monkeypatch: pytest.MonkeyPatch, other: list[str]) -> None:
    with keeper("/usr/bin/conmon", *other):
        assert lost(monkeypatch, listed(GONE), seen("id1", GONE)) == [True]


@pytest.mark.parametrize("now", [seen("id1", 0, "exited"), seen("id1", GONE + 1), MISSING, seen("id2", GONE)])
def test_one_that_ended_or_began_anew_meanwhile_is_not_lost(monkeypatch: pytest.MonkeyPatch, now: Answer) -> None:
    assert lost(monkeypatch, listed(GONE), now) == [False]


# --- podman that fails before, in or after a start ---

NEW = NewContainer("web1", "localhost/web:1", "web", "api", "always", deploy=7)
OURS = {LABEL_SERVICE: "web", LABEL_DEPLOY: "7"}
BROKE = (125, "", "Error: it broke\n")
NONE = [(0, "[]", ""), (0, '{"store": {"containerStore": {"number": 0}}}', "")]  # no container, and podman counts none


def storage(name: str) -> Answer:
    return 0, json.dumps([{"Id": "id9", "Names": [name], "State": "storage"}]), ""


def begun(pid: int, **labels: str) -> Answer:
    return listed(pid, labels={**OURS, **labels})


def of_state(state: str, *, exited: bool = False) -> Answer:
    (row,) = json.loads(begun(0)[1])
    return 0, json.dumps([{**row, "State": state, "Exited": exited}]), ""


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([STOPPED], ""),
        ([BROKE, begun(0)], ""),
        ([BROKE, of_state("exited", exited=True)], ""),
        ([BROKE, *NONE, storage("web1"), STOPPED, STOPPED], ""),
        ([BROKE, *NONE, storage("web11")], "it broke"),
        ([BROKE, of_state("created"), (0, "[]", "")], "it broke"),
        ([BROKE, begun(0, **{LABEL_DEPLOY: "6"}), (0, "[]", "")], "it broke"),
        ([BROKE, begun(0, **{LABEL_SERVICE: "other"}), (0, "[]", "")], "it broke"),
        ([BROKE, *NONE, storage("web1"), STOPPED, BROKE], "it broke"),
    ],
    ids=[
        *("succeeds", "runs", "has ended", "was killed", "before it created it", "before it started it"),
        *("of another deploy", "of another service", "twice"),
    ],
)
def test_a_run_that_fails_is_judged_by_what_it_has_done(
    monkeypatch: pytest.MonkeyPatch, answers: list[Answer], said: str
) -> None:
    error, left = played(monkeypatch, lambda podman: podman.run(NEW), *answers)
    assert left == 0
    assert (str(error) if error else "").rpartition(": ")[2] == said


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([STOPPED], ""),
        ([BROKE, shown("running")], ""),
        ([BROKE, shown("created"), shown("created")], "it broke"),
        ([BROKE, *[shown("stopping")] * 2, LOOK, STOPPED, shown("exited", ended="2999-01-01T00:00:00Z"), STOPPED], ""),
    ],
    ids=["succeeds", "runs", "does not run", "its stop was killed"],
)
def test_a_start_that_fails_is_judged_by_what_it_has_done(
    monkeypatch: pytest.MonkeyPatch, answers: list[Answer], said: str
) -> None:
    error, left = played(monkeypatch, lambda podman: podman.start("web"), *answers)
    assert left == 0
    assert (str(error) if error else "").rpartition(": ")[2] == said


def test_they_are_waited_for_until_there_is_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [{1: True}, {1: True, 2: False}, {2: False}, {2: False, 3: True}, {3: True}, {3: True, 4: False}, {}]
    monkeypatch.setattr(module, "restarters", lambda _: looks.pop(0))
    answers = [LOOK, STOPPED, shown("stopped"), STOPPED, shown("exited"), shown("exited")]
    assert played(monkeypatch, lambda podman: podman.stop("web"), *answers) == ("", 0)
    assert looks == []


def own(seconds: int, signal: int | str, state: str = "exited", code: int = 137) -> Answer:
    """A container with a stop timeout and signal of its own, as podman 4 (a number) or 5 (a name) shows them."""
    (row,) = json.loads(shown(state, ended="2999-01-01T00:00:00Z")[1])
    row["State"]["ExitCode"] = code
    return 0, json.dumps([{**row, "Config": {"StopTimeout": seconds, "StopSignal": signal}}]), ""


@pytest.mark.parametrize(
    ("seconds", "signal", "code", "took", "note"),
    [
        (10, 15, 137, 10.1, "had to be killed: still running 10 s after SIGTERM; raise stop_timeout in its definition"),
        (2, "SIGINT", 137, 2, "had to be killed: still running 2 s after SIGINT; raise stop_timeout in its definition"),
        (2, 37, 137, 3, "had to be killed: still running 2 s after SIGRTMIN+3; raise stop_timeout in its definition"),
        (2, 15, 137, 0.5, ""),
        (2, 15, 0, 2.5, ""),
        (0, 15, 137, 0.5, ""),
    ],
    ids=["podman 4", "podman 5", "real-time", "killed itself", "ended in time", "asked for"],
)
def test_it_is_said_when_one_had_to_be_killed(
    monkeypatch: pytest.MonkeyPatch, seconds: int, signal: int | str, code: int, took: float, note: str
) -> None:
    clock = SetClock()
    monkeypatch.setattr(module, "time", clock)
    steps = [0.0, took]
    done = own(seconds, signal, code=code)
    answers = [own(seconds, signal, "running", 0), STOPPED, *[done] * 2]
    said, _ = played(
        monkeypatch,
        lambda podman: podman.stop("web"),
        *answers,
        meanwhile=lambda: clock.forward(steps.pop(0) if steps else 0),
    )
    assert said == note


def test_podman_has_the_time_that_a_container_has(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[Sequence[str], float]] = []
    answers = [own(3600, 15, "running", 0), STOPPED, own(3600, 15, code=0)]

    async def run(argv: Sequence[str], *, seconds: float, **_: object) -> proc.Completed:
        given.append((argv, seconds))
        return proc.Completed(tuple(argv), 0, answers.pop(0)[1].encode(), b"")

    monkeypatch.setattr(proc, "run", run)
    assert asyncio.run(Podman("podman", 1).stop("web")) == ""
    ((argv, seconds),) = [call for call in given if "stop" in call[0]]
    assert argv == ["podman", "stop", "web"], "with its own timeout, not ours"
    assert seconds > 3600
