"""Processes: a rebuilt environment, limits on time and output, and nothing left behind."""

import asyncio
import gc
import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from mcp.shared import proc
from mcp.shared.errors import McpError, NotReady, Unavailable
from mcp.shared.proc import CommandFailed, Completed


def run(*argv: str, seconds: float = 10, stdin: bytes | None = None) -> Completed:
    """Run a command to its end."""
    return asyncio.run(proc.run(argv, seconds=seconds, stdin=stdin))


def shell(script: str, seconds: float = 10, stdin: bytes | None = None) -> Completed:
    """Run a shell script to its end."""
    return run("sh", "-c", script, seconds=seconds, stdin=stdin)


def test_both_streams_and_the_status() -> None:
    done = shell("echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    assert shell("kill -9 $$").returncode == -9


def test_stdin_is_empty_unless_given() -> None:
    assert shell("cat").stdout == b""
    assert shell("cat", stdin=b"a" * 200_000).stdout == b"a" * 200_000
    many = bytes(range(256)) * 10_000
    done = asyncio.run(proc.run(["cat"], seconds=10, stdin=(b"first ", b"", many)))
    assert done.stdout == b"first " + many
    assert shell("exit 0", stdin=b"a" * 2_000_000).returncode == 0  # it never reads


def test_what_a_command_does_not_read_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    done = asyncio.run(proc.run(["sh", "-c", "sleep 0.2; exec >&- 2>&-; exit 3"], seconds=10, stdin=bytes(8_000_000)))
    gc.collect()  # a future whose exception nobody asked for says so when it goes
    assert (done.returncode, caplog.text) == (3, "")


def test_arguments_are_no_shell_s() -> None:
    argument = "$(id) 'a' \"b\" ; # * \n"
    assert run("printf", "%s", argument).stdout == argument.encode()


def test_the_environment_is_rebuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_TOKEN", "hunter2")
    monkeypatch.setenv("LD_PRELOAD", "/nonexistent.so")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    environment = dict(line.split("=", 1) for line in run("env").stdout.decode().splitlines())
    assert environment["LC_ALL"] == "C.UTF-8"
    assert environment["PATH"] == os.environ["PATH"]
    assert environment.keys() <= {*proc._PASSED_ON, "LC_ALL"}
    assert proc.environment({"A": "1", "LC_ALL": "C"})["A"] == "1"


def test_what_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(Unavailable, match=r"^sh -c .*: did not end within 2 s$"):
        shell(f"sleep 60 & echo $! >{tmp_path}/pid; wait", seconds=2)
    assert time.monotonic() - started < 30
    assert ends(int((tmp_path / "pid").read_text()))


def test_children_that_outlive_a_command_and_hold_its_output_are_killed_and_no_descriptor_is_lost(
    tmp_path: Path,
) -> None:
    async def descriptors() -> int:
        with pytest.raises(Unavailable, match="did not end within"):
            await proc.run(["sh", "-c", f"sleep 60 & echo $! >{tmp_path}/pid"], seconds=2)
        await asyncio.sleep(0.1)
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    async def twice() -> tuple[int, int]:
        return await descriptors(), await descriptors()

    first, second = asyncio.run(twice())
    assert second == first
    assert ends(int((tmp_path / "pid").read_text()))


def ends(pid: int) -> bool:
    """Whether a process that was sent a signal ends of it; that takes a moment."""
    end = time.monotonic() + 30
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return not alive(pid)


def alive(pid: int) -> bool:
    """Whether a process runs still; one that waits for its parent to take notice does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "KILL_GRACE", 0.2)
    started = time.monotonic()
    with pytest.raises(Unavailable, match="did not end within"):
        shell("trap '' TERM; while :; do sleep 0.05; done", seconds=0.3)
    assert time.monotonic() - started < 30


def test_what_prints_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "OUTPUT_LIMIT", 1024 * 1024)
    with pytest.raises(Unavailable, match="printed more than 1 MiB"):
        shell("yes")


def test_programs_that_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="no-such-program was not found on PATH; install no-such-program on the node"):
        run("no-such-program")
    (tmp_path / "data").write_text("x")
    with pytest.raises(Unavailable, match="data cannot be started: Permission denied"):
        run(str(tmp_path / "data"))


def test_check_fails_with_the_last_words() -> None:
    async def check(script: str) -> bytes:
        return await proc.check(["sh", "-c", script], seconds=10)

    assert asyncio.run(check("echo out; echo err >&2")) == b"out\n"
    with pytest.raises(CommandFailed, match=r"sh -c .*: second line$") as caught:
        asyncio.run(check("echo first >&2; echo 'second line' >&2; echo >&2; exit 125"))
    assert caught.value.completed.returncode == 125
    with pytest.raises(CommandFailed, match=r"exit status 7$"):
        asyncio.run(check("exit 7"))


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        (b"", "exit status 1"),
        (b" \n\n", "exit status 1"),
        (b"one\ntwo\n", "two"),
        (b"\xff\x1b[2J", "\N{REPLACEMENT CHARACTER}\\x1b[2J"),
        (b"x" * 900, "x" * 500),
    ],
)
def test_last_words(stderr: bytes, words: str) -> None:
    assert Completed(("podman",), 1, b"", stderr).last_words() == words


def test_a_failure_shows_no_more_than_the_beginning_of_the_command() -> None:
    failed = CommandFailed(Completed(("podman", "run", "--name=a b", "--user=secret"), 1, b"", b"no"))
    assert str(failed) == "podman run '--name=a b': no"


def test_a_full_disk_is_called_that() -> None:
    said = b"Error: mkdir /srv/mcp/x: no space left on device\n"
    failed = CommandFailed(Completed(("podman", "run"), 125, b"", said))
    assert str(failed).endswith("no space left on device; the disk is full: make room on the node")


def test_work_in_a_child(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    proc.in_child(lambda: (tmp_path / "made").touch())
    assert (tmp_path / "made").exists()

    def fail(error: BaseException) -> None:
        raise error

    with pytest.raises(McpError, match=r"^no room; make some$") as caught:
        proc.in_child(lambda: fail(McpError("no room", "make some")))
    assert (caught.value.what, caught.value.hint) == ("no room", "make some")
    with pytest.raises(McpError, match=r"^xä"):
        proc.in_child(lambda: fail(McpError("x" + "ä" * 4095)))
    with pytest.raises(McpError, match=r"^a child process failed$"):
        proc.in_child(lambda: fail(ValueError("bug")))
    assert "ValueError: bug" in capfd.readouterr().err


def test_an_interrupted_command_that_reads_nothing_is_ended_without_a_word() -> None:
    complaints: list[object] = []

    async def interrupted() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        task = asyncio.create_task(proc.run(["sleep", "600"], seconds=60, stdin=b"x" * 10_000_000))
        await asyncio.sleep(0.3)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        del task
        gc.collect()

    asyncio.run(interrupted())
    gc.collect()
    assert complaints == []
