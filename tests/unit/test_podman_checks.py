"""Health checks that hang are ended at their timeout, those of others and other sessions are not."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.podman import checks, client
from agent.podman.client import Podman
from agent.podman.inspect import ContainerDetails, HealthCheck
from tests.waiting import wait_for

HANGS = [sys.executable, "-Ic", "input()"]


@contextmanager
def session(folder: Path, container: str, argv: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The pids of an exec session's conmon, which does nothing, and of its process, which hangs."""
    folder.mkdir()
    (folder / "process").write_text(json.dumps({"args": list(argv)}))
    with subprocess.Popen(HANGS, stdin=subprocess.PIPE, start_new_session=True) as process:
        (folder / "pid").write_text(str(process.pid))
        options = ["-c", container, "-p", f"{folder}/pid", "-i", "-e", "--exec-process-spec", f"{folder}/process"]
        conmon = ["/usr/bin/conmon", "-Ic", "input()", *options]
        with subprocess.Popen(conmon, executable=sys.executable, stdin=subprocess.PIPE) as monitor:
            wait_for(lambda: container in Path(f"/proc/{monitor.pid}/cmdline").read_text())
            try:
                yield monitor.pid, process.pid
            finally:
                monitor.kill()
                process.kill()


def runs(pid: int) -> bool:
    return (Path("/proc") / str(pid) / "stat").read_text().rpartition(") ")[2][0] != "Z"


def test_a_check_that_exceeds_its_timeout_is_ended(tmp_path: Path) -> None:
    command = ["CMD", "curl", "-f", "localhost"]
    with (
        session(tmp_path / "check", "id1", command[1:]) as (conmon, check),
        session(tmp_path / "shell", "id1", ["sh"]) as (_, shell),
        session(tmp_path / "other", "id2", command[1:]) as (_, other),
    ):
        assert checks.end_overdue("id1", command, 3600) == 0
        assert runs(check)
        time.sleep(0.05)
        assert checks.end_overdue("id1", command, 0.02) == 1
        wait_for(lambda: not runs(check))
        assert runs(shell), "an operator's session"
        assert runs(other), "another container's check"
        assert runs(conmon), "it tells podman of the end"


def test_one_of_another_user_is_ended_by_its_conmon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_pid: int) -> None:
        raise PermissionError

    with session(tmp_path / "check", "id1", ["true"]) as (conmon, check):
        monkeypatch.setattr(checks, "family", refuse)
        assert checks.end_overdue("id1", ["CMD", "true"], 0) == 1
        wait_for(lambda: not runs(conmon))  # the real one passes SIGTERM on
        assert runs(check)


def test_only_those_of_the_given_containers_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may belong to another user's podman, or are none of MCP's."""
    inspected: list[tuple[str, ...]] = []

    async def inspect(_podman: Podman, *names: str) -> dict[str, ContainerDetails]:
        inspected.append(names)
        check = HealthCheck(("CMD", "true"), timeout=0.0)
        return {"web": ContainerDetails("id1", "web", "running", 0, check=check)} if names else {}

    monkeypatch.setattr(Podman, "inspect", inspect)
    monkeypatch.setattr(client, "LEAST_TIMEOUT", 0.0)
    with (
        session(tmp_path / "own", "id1", ["true"]) as (_, own),
        session(tmp_path / "other", "id2", ["true"]) as (_, other),
    ):
        asyncio.run(Podman("podman", 1).end_overdue_checks(["id1"]))
        wait_for(lambda: not runs(own))
        assert runs(other)
    assert inspected == [("id1",)]


@pytest.mark.parametrize(
    ("command", "argv", "found"),
    [
        (["CMD", "curl", "-f"], ["curl", "-f"], True),
        (["CMD", "curl", "-f"], ["curl"], False),
        (["CMD-SHELL", "curl -f || exit 1"], ["/bin/sh", "-c", "curl -f || exit 1"], True),
        (["CMD-SHELL", "curl -f || exit 1"], ["sh"], False),
        (["CMD", "true"], [], False),
    ],
)
def test_a_check_is_known_by_its_arguments(command: list[str], argv: list[str], found: bool) -> None:
    assert checks.is_check(argv, command) is found


def test_a_session_that_ends_meanwhile_is_no_error(tmp_path: Path) -> None:
    with session(tmp_path / "check", "id1", ["true"]) as (_, check):
        (tmp_path / "check" / "process").unlink()
        assert checks.end_overdue("id1", ["CMD", "true"], 0) == 0
        assert runs(check)


def test_the_children_of_a_check_are_ended_with_it(tmp_path: Path) -> None:
    """Also those in another process group, as under some runtimes."""
    program = f"import subprocess, sys; subprocess.run({HANGS!r}, stdin=sys.stdin, start_new_session=True)"
    with subprocess.Popen([sys.executable, "-Ic", program], stdin=subprocess.PIPE) as parent:
        wait_for(lambda: len(checks.family(parent.pid)) == 2)
        pids = checks.family(parent.pid)
        assert pids[0] == parent.pid
        with session(tmp_path / "check", "id1", ["true"]):
            (tmp_path / "check" / "pid").write_text(str(parent.pid))
            assert checks.end_overdue("id1", ["CMD", "true"], 0) == 1
        wait_for(lambda: not runs(pids[0]))
        wait_for(lambda: not Path(f"/proc/{pids[1]}").exists() or not runs(pids[1]))
