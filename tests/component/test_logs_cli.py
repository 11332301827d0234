"""mcp logs against stand-ins for agents (log_agents.py): what is asked, shown, merged and taken up again."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from proto.mcp.v1 import mcp_pb2 as pb
from tests.agents import Cli, Home
from tests.component.conftest import copy_home
from tests.component.definitions import component, service
from tests.component.log_agents import (
    ERR,
    OUT,
    STOP,
    Call,
    LogAgent,
    Served,
    block,
    caught_up,
    define,
    runs,
    sends,
    serving,
    stamp,
    stays,
    timed,
    together,
)
from tests.waiting import wait_for

TWO = service("web", component("api"), component("worker"))
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def home(tmp_path: Path, template: Home) -> Home:
    """Certificates and a token."""
    return copy_home(template, tmp_path / "home")


@contextmanager
def fleet(home: Home, *calls: list[Call]) -> Iterator[tuple[Cli, list[Served]]]:
    """A stand-in for each list of calls; `web` is defined on the first, `more` on the second."""
    with serving(home, [LogAgent(*each) for each in calls]) as (cli, served):
        define(cli, "web", TWO)
        define(cli, "more", service("more", component("job"), node="rift2"))
        yield cli, served


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Wait for the end; status, stdout, stderr."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


# --- one node ---


def test_what_is_asked(home: Home) -> None:
    with fleet(home, [sends(block(b"x\n"))]) as (cli, served):
        line = (
            "logs web/api -n 5 worker/job --since 2026-01-31T12:00:00+02:00 --until 90s --grep a --grep b --exclude c"
        )
        assert cli.run(*line.split(), "-i", "-p", "-t", "--node", "rift").code == 0
        assert served[0].agent.requests == [
            pb.LogsRequest(
                targets=[
                    pb.LogsTarget(service="web", component="api"),
                    pb.LogsTarget(service="worker", component="job"),
                ],
                tail=5,
                timestamps=True,
                since="2026-01-31T10:00:00Z",
                until="90s",
                grep=["a", "b"],
                exclude=["c"],
                ignore_case=True,
                previous=True,
                runs=True,
            )
        ]
        assert cli.run("logs", "web", "web/api", "web", "-n", "0").code == 0
        assert served[0].agent.requests[1] == pb.LogsRequest(service="web", tail=-1, runs=True)
        assert cli.run("logs", "--all", "--node", "rift", "--since", "deploy", "-n", "all").code == 0
        assert served[0].agent.requests[2] == pb.LogsRequest(all=True, since="deploy", runs=True)


def test_one_component_comes_byte_for_byte(home: Home) -> None:
    raw = b"a\n\xff\0\r\nno newline"
    with fleet(home, [sends(block(raw), block(b"err", stream=ERR))]) as (cli, _):
        argv = [*cli.command, "logs", "web/api"]
        done = subprocess.run(argv, env=cli.environment(), capture_output=True, text=False, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, raw, b"err")


def test_runs_of_several_components_get_prefixes(home: Home) -> None:
    mixed = runs(("api", OUT, b"1\n2\n"), ("worker", OUT, b"3\n"), ("api", ERR, b"4\n"), ("api", OUT, b"5\n"))
    with fleet(home, [sends(mixed)]) as (cli, _):
        done = cli.run("logs", "web")
        assert (done.code, done.stderr) == (0, "api    | 4\n")
        assert done.stdout == "api    | 1\napi    | 2\nworker | 3\napi    | 5\n"
        done = cli.run("logs", "web", "--no-prefix")
        assert (done.stdout, done.stderr) == ("1\n2\n3\n5\n", "4\n")


def test_several_services_and_all_name_the_service(home: Home) -> None:
    what = sends(block(b"a\n"), block(b"b\n", "job", service="batch"), block(b"c\n"))
    with fleet(home, [what]) as (cli, _):
        assert cli.run("logs", "--node", "rift", "web/api", "batch/job").stdout == (
            "web/api   | a\nbatch/job | b\nweb/api   | c\n"
        )
        assert cli.run("logs", "--node", "rift", "--all").stdout == "web/api | a\nbatch/job | b\nweb/api   | c\n"


def test_a_line_that_somebody_breaks_off_goes_on_with_its_prefix(home: Home) -> None:
    what = sends(block(b"begun "), block(b"other\n", "worker"), block(b"ended\n"))
    with fleet(home, [what]) as (cli, _):
        assert cli.run("logs", "web").stdout == "api    | begun \nworker | other\napi    | ended\n"


def test_notices_are_markers_on_stderr(home: Home) -> None:
    exited = block(b"", notice="exited with code 137\n")
    with fleet(home, [sends(block(timed((1, "x"))), exited)]) as (cli, _):
        done = cli.run("logs", "web/api")
        assert (done.stdout, done.stderr) == (f"{stamp(1)} x\n", "--- web/api: exited with code 137\\n ---\n")
        done = cli.run("logs", "web/api", "--json")
        assert json.loads(done.stdout)["message"] == "x"
        assert done.stderr == "--- web/api: exited with code 137\\n ---\n"


def test_json(home: Home) -> None:
    parts = [
        block(timed((1, 'say "ä"'))[:-1]),
        block(timed((2, "err")), stream=ERR),
        block(b" more\n" + stamp(3).encode() + b" \xff\0\n", "api"),
    ]
    with fleet(home, [sends(*parts)]) as (cli, served):
        done = cli.run("logs", "web", "--json")
        assert (done.code, done.stderr) == (0, "")
        where = {"node": "rift", "service": "web", "component": "api"}
        assert [json.loads(line) for line in done.stdout.splitlines()] == [
            {"time": stamp(2), **where, "stream": "stderr", "message": "err"},
            {"time": stamp(1), **where, "stream": "stdout", "message": 'say "ä" more'},
            {"time": stamp(3), **where, "stream": "stdout", "message": "\ufffd\0"},
        ]
        assert done.stdout.isascii()
        assert served[0].agent.requests == [pb.LogsRequest(service="web", timestamps=True, runs=True)]


# --- mistakes ---

MISTAKES = {
    ("logs", "web", "--all"): "--all cannot be combined with services",
    ("logs", "web", "-f", "-p"): "--previous cannot be followed: that container has ended",
    ("logs", "web", "--since", "1h", "--until", "2h"): "--until is before --since",
    ("logs", "web", "--since", "2026-01-02", "--until", "2026-01-01"): "--until is before --since",
    ("logs", "web", "--since", "tomorrow"): 'argument --since: "tomorrow": expected a duration',
    ("logs", "web", "--grep", "a("): 'argument --grep: "a(": is not a regular expression: missing )',
    ("logs", "web", "--exclude", "(?P<ü>a"): "argument --exclude: ",
    ("logs", "web", "-n", "5", "x y"): 'argument SERVICE[/COMPONENT]: service: "x y" is not a valid name',
    ("logs", "web", "-n", "5", "--nope", "x"): 'unknown option "--nope"',
    ("logs", "--all", "--node", "nope"): "nope",
}


@pytest.mark.parametrize("argv", MISTAKES, ids=" ".join)
def test_mistakes_are_one_line_and_nothing_is_asked(home: Home, argv: tuple[str, ...]) -> None:
    with fleet(home, [sends(block(b"x\n"))]) as (cli, served):
        done = cli.run(*argv)
        assert done.code == (1 if "nope" in argv[-1] else 2)
        assert MISTAKES[argv] in done.stderr
        assert (len(done.errors), done.stdout) == (1, "")
        assert served[0].agent.requests == []


NOTHING_NAMED = "mcp: nothing to show; name a service, or give --all; see mcp logs --help\n"


def test_without_a_service_there_is_a_list_on_stderr(home: Home) -> None:
    with fleet(home, [sends(block(b"x\n"))], [sends(block(b"x\n"))]) as (cli, served):
        done = cli.run("logs")
        listed = "web/api     rift\nweb/worker  rift\nweb/api     rift2\nweb/worker  rift2\n"
        assert (done.code, done.stdout, done.stderr) == (2, "", listed + NOTHING_NAMED)
        done = cli.run("logs", "--node", "rift")
        assert (done.code, done.stdout, done.stderr) == (2, "", listed[:34] + NOTHING_NAMED)
        served[1].stop()
        done = cli.run("logs", "-f")
        assert (done.code, done.stdout) == (2, "")
        assert done.stderr.startswith(f"{listed[:34]}mcp: rift2: ")
        assert done.stderr.endswith(NOTHING_NAMED)
        assert served[0].agent.requests == []


def test_without_a_service_and_a_token_the_exit_code_is_the_same(home: Home) -> None:
    with fleet(home, [sends(block(b"x\n"))]) as (cli, _):
        done = cli.run("logs", env={"MCP_TOKEN": "a b"})
        assert (done.code, done.stdout, len(done.errors)) == (2, "", 2)
        assert done.stderr.endswith(NOTHING_NAMED)


# --- lost connections ---


def test_a_follower_goes_on_where_the_agent_stopped(home: Home) -> None:
    first = sends(
        block(b"1\n", place="a"), block(b"w\n", "worker", place="b"), block(b"2\n", place="c"), (UNAVAILABLE, STOP)
    )
    with fleet(home, [first, sends((UNAVAILABLE, STOP)), sends(block(b"3\n", place="d"))]) as (cli, served):
        done = cli.run("logs", "web", "--follow", "-n", "7")
        assert (done.code, done.stdout) == (0, "api    | 1\nworker | w\napi    | 2\napi    | 3\n")
        assert done.stderr == "--- rift: connection lost, reconnecting ---\n--- rift: reconnected ---\n"
        one, two, three = served[0].agent.requests
        assert (one.tail, list(one.cursors)) == (7, [])
        cursors = [
            pb.LogCursor(service="web", component="api", place="c"),
            pb.LogCursor(service="web", component="worker", place="b"),
        ]
        assert list(two.cursors) == list(three.cursors) == cursors
        assert (two.tail, two.follow, two.service, two.runs) == (7, True, "web", True)


def test_a_follower_outlives_an_agent_that_dies_and_comes_back(home: Home) -> None:
    calls = [stays(block(b"1\n", place="a"), caught_up()), stays(caught_up(), block(b"2\n", place="b"))]
    with fleet(home, calls) as (cli, served):
        follower = cli.popen("logs", "web/api", "-f")
        assert follower.stdout is not None
        assert follower.stdout.readline() == "1\n"
        served[0].stop()
        time.sleep(0.5)
        served[0].start()
        assert follower.stdout.readline() == "2\n"
        follower.send_signal(signal.SIGINT)
        code, out, err = finish(follower)
        assert (code, out) == (130, "")
        assert err == "--- rift: connection lost, reconnecting ---\n--- rift: reconnected ---\n"
        assert served[0].agent.requests[1].cursors[0].place == "a"


def test_a_call_that_is_cancelled_on_the_way_is_a_lost_connection(home: Home) -> None:
    def cancelled(_: pb.LogsRequest, context: grpc.ServicerContext) -> Iterator[pb.LogsResponse]:
        yield block(b"1\n", place="a")
        context.cancel()

    with fleet(home, [cancelled, sends(block(b"2\n", place="b"))]) as (cli, _):
        done = cli.run("logs", "web/api", "-f")
        assert (done.code, done.stdout) == (0, "1\n2\n")
        assert done.stderr == "--- rift: connection lost, reconnecting ---\n--- rift: reconnected ---\n"


@pytest.mark.parametrize("options", [["-f", "--no-reconnect"], []], ids=str)
def test_a_broken_stream_is_an_error_otherwise(home: Home, options: list[str]) -> None:
    with fleet(home, [sends(block(b"12345\n", place="a"), (UNAVAILABLE, STOP))]) as (cli, served):
        done = cli.run("logs", "web/api", *options)
        assert (done.code, done.stdout) == (4, "12345\n")
        assert done.stderr.startswith("mcp: rift: connection lost after 6 B of logs; the output is incomplete")
        assert len(served[0].agent.requests) == 1


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.NOT_FOUND, 1),
        (grpc.StatusCode.INVALID_ARGUMENT, 2),
        (grpc.StatusCode.UNAUTHENTICATED, 3),
    ],
)
def test_other_errors_end_a_follower(home: Home, code: grpc.StatusCode, status: int) -> None:
    broken = sends(block(b"1\n", place="a"), (UNAVAILABLE, STOP))
    with fleet(home, [broken, sends((code, "it is so"))]) as (cli, served):
        done = cli.run("logs", "web/api", "-f")
        assert (done.code, done.stdout) == (status, "1\n")
        assert done.errors[0] == "--- rift: connection lost, reconnecting ---"
        assert done.errors[1].startswith("mcp: rift: it is so")
        assert (len(done.errors), len(served[0].agent.requests)) == (2, 2)


def test_a_node_that_never_answered_is_an_error(home: Home) -> None:
    with fleet(home, [stays()]) as (cli, served):
        served[0].stop()
        done = cli.run("logs", "web/api", "-f")
        assert (done.code, done.stdout, len(done.errors)) == (4, "", 1)
        assert "refuses the connection" in done.stderr


def test_a_reader_that_goes_away_ends_it_quietly(home: Home) -> None:
    with fleet(home, [stays(*(block(b"x\n" * 50_000) for _ in range(50)))]) as (cli, _):
        follower = cli.popen("logs", "web/api", "-f")
        assert follower.stdout is not None
        follower.stdout.readline()
        follower.stdout.close()
        assert follower.wait(30) == 141
        assert follower.stderr is not None
        assert follower.stderr.read() == ""
        follower.stderr.close()


# --- several nodes ---


def test_lines_of_several_nodes_come_by_time(home: Home) -> None:
    one = [block(timed((1, "a"), (4, "d"))), block(timed((5, "e")), "worker"), caught_up()]
    two: list[pb.LogsResponse | float] = [
        0.1,
        block(timed((2, "b"), (3, "c"), (6, "f")), "job", service="more"),
        caught_up(),
    ]
    with fleet(home, *together(one, two)) as (cli, served):
        done = cli.run("logs", "web", "more")
        assert (done.code, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [
            "rift web/api    | a",
            "rift2 more/job  | b",
            "rift2 more/job  | c",
            "rift web/api    | d",
            "rift web/worker | e",
            "rift2 more/job  | f",
        ]
        assert served[0].agent.requests == [pb.LogsRequest(service="web", timestamps=True, runs=True)]
        assert served[1].agent.requests == [pb.LogsRequest(service="more", timestamps=True, runs=True)]
        stamped = cli.run("logs", "--all", "-t", "--no-prefix").stdout.splitlines()
        assert stamped == [f"{stamp(second)} {text}" for second, text in enumerate("abcdef", 1)]
        assert served[0].agent.requests[1] == pb.LogsRequest(all=True, timestamps=True, runs=True)
        objects = [json.loads(line) for line in cli.run("logs", "--all", "--json").stdout.splitlines()]
        assert [(each["node"], each["message"]) for each in objects[:2]] == [("rift", "a"), ("rift2", "b")]
        assert [each["time"] for each in objects] == [stamp(second) for second in range(1, 7)]


def test_the_whole_fleet_is_asked(home: Home) -> None:
    with fleet(home, *together(*([block(timed((node, "x"))), caught_up()] for node in range(5)))) as (cli, served):
        done = cli.run("logs", "--all")
        nodes = [f"rift{number or ''}" for number in (0, 2, 3, 4, 5)]
        assert [line.split()[0] for line in done.stdout.splitlines()] == nodes
        assert all(each.agent.requests[0].all for each in served)


def test_a_quiet_node_holds_nobody_back(home: Home) -> None:
    live: list[pb.LogsResponse | float] = [block(timed((1, "a"))), caught_up(), 2.0, block(timed((2, "b")))]
    with fleet(home, [stays(*live)], [stays()]) as (cli, _):
        follower = cli.popen("logs", "--all", "-f")
        began = time.monotonic()
        assert follower.stdout is not None
        assert follower.stdout.readline() == "rift web/api | a\n"
        assert follower.stdout.readline() == "rift web/api | b\n"
        assert time.monotonic() - began < 25, "the quiet one goes after 30 s"
        follower.send_signal(signal.SIGINT)
        assert finish(follower) == (130, "", "")


def test_a_node_that_is_lost_holds_nobody_back_and_comes_back(home: Home) -> None:
    gone, came_back = threading.Event(), threading.Event()

    def here(request: pb.LogsRequest, context: grpc.ServicerContext) -> Iterator[pb.LogsResponse]:
        yield from (block(timed((1, "a")), place="a"), caught_up())
        assert gone.wait(60)
        yield block(timed((3, "c")))
        assert came_back.wait(60)
        yield from stays(block(timed((5, "e"))))(request, context)

    there = [
        stays(block(timed((2, "b")), "job", service="more", place="x"), caught_up()),
        stays(caught_up(), block(timed((4, "d")), "job", service="more", place="y")),
    ]
    with fleet(home, [here], there) as (cli, served):
        follower = cli.popen("logs", "web", "more", "-f", "--no-prefix")
        assert follower.stdout is not None
        assert [follower.stdout.readline() for _ in "ab"] == ["a\n", "b\n"]
        served[1].stop()
        gone.set()
        assert follower.stdout.readline() == "c\n"
        served[1].start()
        assert follower.stdout.readline() == "d\n"
        came_back.set()
        assert follower.stdout.readline() == "e\n"
        follower.send_signal(signal.SIGINT)
        code, _, err = finish(follower)
        assert code == 130
        assert err == "--- rift2: connection lost, reconnecting ---\n--- rift2: reconnected ---\n"
        assert served[1].agent.requests[1].cursors[0].place == "x"


def test_a_node_that_cannot_be_reached_is_a_line_and_the_others_go_on(home: Home) -> None:
    with fleet(home, [sends(block(timed((1, "a"))))], [stays()]) as (cli, served):
        served[1].stop()
        done = cli.run("logs", "--all")
        assert (done.code, done.stdout, len(done.errors)) == (1, "rift web/api | a\n", 1)
        assert done.errors[0].startswith("mcp: rift2: ")
        served[0].stop()
        done = cli.run("logs", "--all")
        assert (done.code, done.stdout, len(done.errors)) == (4, "", 2)


def test_a_token_that_is_refused_everywhere_is_one_error(home: Home) -> None:
    refuses = sends((grpc.StatusCode.UNAUTHENTICATED, "invalid token"))
    with fleet(home, [refuses], [refuses]) as (cli, _):
        done = cli.run("logs", "--all", "-f")
        assert (done.code, done.stdout, len(done.errors)) == (3, "", 1)
    with fleet(home, [refuses], [sends(block(timed((1, "a"))))]) as (cli, _):
        done = cli.run("logs", "--all")
        assert (done.code, done.stdout, len(done.errors)) == (1, "rift2 web/api | a\n", 1)


def test_a_node_far_ahead_waits_for_one_that_is_slow(home: Home) -> None:
    ahead = [block(timed(*((100 + i / 1000, "x" * 1000) for i in range(1000)))) for _ in range(30)]
    slow = [*(each for i in range(10) for each in (0.1, block(timed((i, f"slow {i}")), "job", service="more")))]
    with fleet(home, *together([*ahead, caught_up()], [*slow, caught_up()])) as (cli, _):
        lines = cli.run("logs", "--all", "--no-prefix").stdout.splitlines()
        assert lines[:10] == [f"slow {i}" for i in range(10)]
        assert len(lines) == 30_010


def test_nothing_is_left_when_it_ends(home: Home) -> None:
    gone: list[str] = []

    def call(_: pb.LogsRequest, context: grpc.ServicerContext) -> Iterator[pb.LogsResponse]:
        context.add_callback(lambda: gone.append("gone"))
        yield from stays(caught_up())(_, context)

    with fleet(home, [call], [call]) as (cli, served):
        follower = cli.popen("logs", "--all", "-f")
        wait_for(lambda: all(each.agent.requests for each in served))
        follower.send_signal(signal.SIGINT)
        assert finish(follower)[0] == 130
        wait_for(lambda: len(gone) == 2)
