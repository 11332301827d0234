"""mcp push and mcp pull through the real CLI and a real agent: whole files or nothing, of any size."""

import dataclasses
import hashlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.store.registry import Registry
from proto.mcp.v1 import mcp_pb2 as pb
from tests.agents import Agent, Home, Outcome, Wrap, agent_env
from tests.component.conftest import Rig, copy_home
from tests.component.definitions import service
from tests.component.fakes import FakePodman
from tests.component.processes import resident_bytes
from tests.component.wire import connected, request_for
from tests.waiting import wait_for

MB = 1_000_000
CHUNK = 512 * 1024
LARGE = 300 * MB
ALLOWED = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
}


@pytest.fixture
def agent(shared: Rig) -> Agent:
    """An agent with a definition of the service web."""
    shared.agent.define("web", service())
    return shared.agent


def web(agent: Agent) -> Path:
    """The folder of the service web on the node."""
    return agent.home.srv / "web"


def everything(folder: Path) -> set[str]:
    """Every file and folder below, hidden ones as well."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def good(done: Outcome) -> str:
    """The output of a run that has succeeded without a word on stderr."""
    assert (done.code, done.stderr) == (0, ""), done
    return done.stdout


def bad(done: Outcome, code: int, *words: str) -> None:
    """A run that has failed with one line that has these words."""
    assert (done.code, len(done.errors), done.stdout) == (code, 1, ""), done
    assert done.stderr.startswith("mcp: ")
    for word in words:
        assert word in done.stderr, done.stderr


def held(agent: Agent) -> list[str]:
    """What the agent has open in the folder of the service web."""
    found = []
    for entry in Path(f"/proc/{agent.process.pid}/fd").iterdir():
        with suppress(OSError):
            found.append(str(entry.readlink()))
    return [path for path in found if path.startswith(f"{web(agent)}/")]


def large_file(path: Path, size: int = LARGE) -> Path:
    """A file whose blocks all differ, made quickly."""
    block = os.urandom(MB)
    with path.open("wb") as file:
        for number in range(size // MB):
            file.write(number.to_bytes(8, "big") + block[8:])
    return path


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- what works ---


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * MB])
def test_there_and_back(agent: Agent, tmp_path: Path, size: int) -> None:
    here, back = tmp_path / "here", tmp_path / "back"
    here.write_bytes(os.urandom(size))
    here.chmod(0o751)
    shown = {0: "0 B", 1: "1 B", 5 * MB: "5.0 MB"}.get(size, f"{size / 1000:.1f} kB")
    assert good(agent.cli.run("push", str(here), f"web/data/{size}")) == f"web/data/{size}: pushed {shown} to rift\n"
    assert good(agent.cli.run("pull", f"web/data/{size}", str(back))) == f"{back}: pulled {shown} from rift\n"
    assert back.read_bytes() == here.read_bytes()
    assert oct((web(agent) / f"data/{size}").stat().st_mode) == oct(back.stat().st_mode) == "0o100751"


def test_modes(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    (tmp_path / "x").chmod(0o644)
    there = web(agent) / "modes"
    for options, mode in (([], 0o644), (["--mode", "0600"], 0o600), (["--mode", "640"], 0o640)):
        good(agent.cli.run("push", str(tmp_path / "x"), "web/modes", *options))
        assert there.stat().st_mode & 0o7777 == mode
    there.chmod(0o4755)
    good(agent.cli.run("pull", "web/modes", str(tmp_path / "back")))
    assert (tmp_path / "back").stat().st_mode & 0o7777 == 0o755


def test_names_that_are_left_out(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "app.toml").write_text("x = 1\n")
    cli = dataclasses.replace(agent.cli, cwd=tmp_path, env={"PYTHONPATH": str(Path.cwd())})
    assert "web/conf/app.toml: " in good(cli.run("push", "app.toml", "web/conf/"))
    assert "web/app.toml: " in good(cli.run("push", "./app.toml", "web/"))
    (tmp_path / "app.toml").unlink()
    assert good(cli.run("pull", "web/conf/app.toml")) == "app.toml: pulled 6 B from rift\n"
    (tmp_path / "folder").mkdir()
    for option in ("folder", "folder/"):
        assert good(cli.run("pull", "web/app.toml", option)) == "folder/app.toml: pulled 6 B from rift\n"
    assert everything(tmp_path) == {"app.toml", "folder", "folder/app.toml"}


def test_standard_input_and_output(agent: Agent) -> None:
    argv = [*agent.cli.command, "push", "-", "web/piped"]
    content = os.urandom(3 * MB)
    done = subprocess.run(argv, input=content, env=agent.cli.environment(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (web(agent) / "piped").stat().st_mode & 0o7777 == 0o600
    argv = [*agent.cli.command, "pull", "web/piped", "-"]
    done = subprocess.run(argv, env=agent.cli.environment(), capture_output=True, check=False)
    assert (done.returncode, done.stderr, done.stdout == content) == (0, b"", True)


def test_standard_input_and_output_that_are_not_to_be_had(agent: Agent) -> None:
    def run(*args: str) -> tuple[int, str]:
        """Through a shell: only there can a stream be closed."""
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {args[0]}', "sh", *agent.cli.command, *args[1:]],
            env=agent.cli.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr

    web(agent).mkdir(exist_ok=True)
    (web(agent) / "some").write_text("some")
    closed = "mcp: standard input is closed; name a file, or pipe something in\n"
    assert run("<&-", "push", "-", "web/closed") == (1, closed)
    assert not (web(agent) / "closed").exists()
    full = "mcp: input or output: No space left on device\n"
    assert run(">/dev/full", "pull", "web/some", "-") == (1, full)
    shut = "mcp: input or output: Bad file descriptor\n"
    assert run(">&-", "pull", "web/some", "-") == run(">&-", "version") == (1, shut)
    assert run("2>&-", "pull", "web/none", "-") == (1, "")
    assert run(">/dev/full", "--help") == run(">/dev/full", "help", "pull") == (1, full)


def test_a_link_here_is_kept_and_its_file_replaced(agent: Agent, tmp_path: Path) -> None:
    web(agent).mkdir(exist_ok=True)
    (web(agent) / "linked").write_text("new")
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    good(agent.cli.run("pull", "web/linked", str(tmp_path / "link")))
    assert ((tmp_path / "link").is_symlink(), (tmp_path / "real").read_text()) == (True, "new")


def test_large_files_in_little_memory(rig: Rig, tmp_path: Path) -> None:
    agent = rig.agent
    agent.define("web", service())
    here, back = large_file(tmp_path / "here"), tmp_path / "back"
    good(agent.cli.run("push", str(here), "web/first", timeout=120))  # what the first call loads stays
    with most_memory(agent.process.pid) as most:
        good(agent.cli.run("push", str(here), "web/large", timeout=120))
        good(agent.cli.run("pull", "web/large", str(back), timeout=120))
    assert digest(back) == digest(here)
    assert most[0] - most[1] < 32 * MB, most
    assert most[0] < 160 * MB, most


@contextmanager
def most_memory(pid: int) -> Iterator[list[int]]:
    """The most memory that a process holds while inside, and what it held before, in bytes."""
    before = resident_bytes(pid)
    found, done = [before, before], threading.Event()

    def look() -> None:
        while not done.wait(0.01):
            found[0] = max(found[0], resident_bytes(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


# --- what does not ---

BAD = {
    "no path": (["push", "HERE", "web"], 2, "no file given; write SERVICE/PATH"),
    "a path that leads up": (["push", "HERE", "web/../x"], 2, 'contains ".."; expected a path inside'),
    "a path that leads up, back": (["pull", "web/../x"], 2, 'contains ".."; expected a path inside'),
    "an absolute path": (["push", "HERE", "/srv/web/x"], 2, "service: is missing"),
    "two slashes": (["push", "HERE", "web//x"], 2, "is absolute"),
    "a bad service": (["push", "HERE", "Web/x"], 2, '"Web" is not a valid name'),
    "no definition": (["push", "HERE", "other/x"], 1, "no definition for other"),
    "the agent's files": (["pull", "mcp/mcp.db", "--node", "rift"], 2, "mcp is the agent itself"),
    "nothing here": (["push", "/nothing", "web/x"], 1, "/nothing: cannot be read: No such file"),
    "a folder here": (["push", "/tmp", "web/x"], 2, "/tmp: is a folder"),
    "a folder there": (["push", "HERE", "web/folder"], 1, "rift: web/folder: is a folder"),
    "a folder there, back": (["pull", "web/folder"], 1, "rift: web/folder: is a folder"),
    "a folder by its name": (["pull", "web/folder/"], 2, "web/folder/ is a folder"),
    "a link there": (["push", "HERE", "web/link"], 1, "web/link: is a symbolic link, which is not followed"),
    "a link there, back": (["pull", "web/link"], 1, "web/link: is a symbolic link, which is not followed"),
    "a link on the way": (["pull", "web/etc/passwd"], 1, "web/etc: is a symbolic link, which is not followed"),
    "a pipe there": (["pull", "web/pipe"], 1, "web/pipe: is a device, pipe or socket"),
    "a pipe there, forth": (["push", "HERE", "web/pipe"], 1, "web/pipe: is a device, pipe or socket"),
    "nothing there": (["pull", "web/nothing"], 1, "rift: web/nothing: there is no such file on this node"),
    "no such service there": (["pull", "none/x", "--node", "rift"], 1, "none/x: there is no such file"),
    "a bad mode": (["push", "HERE", "web/x", "--mode", "rw-r--r--"], 2, "is not a mode of three octal digits"),
    "a mode with setuid": (["push", "HERE", "web/x", "--mode", "4755"], 2, "is not a mode of three octal digits"),
    "no mode at all": (["push", "HERE", "web/x", "--mode", "000"], 2, "is not a mode of three octal digits"),
    "no name for standard input": (["push", "-", "web/"], 2, "standard input has no file name"),
    "no folder here": (["pull", "web/file", "TMP/none/"], 1, "none/: no such folder"),
    "no folder here either": (["pull", "web/file", "TMP/none/x"], 1, "cannot be written: No such file or directory"),
    "a folder in the way": (["pull", "web/file", "TMP"], 1, "file: is a folder, expected a file"),
    "a device here": (["pull", "web/file", "/dev/null"], 1, "/dev/null: is not a regular file; use - for"),
    "a name too long here": (["pull", "web/file", f"TMP/{'x' * 300}"], 1, "cannot be written: File name too long"),
}


@pytest.mark.parametrize("what", BAD)
def test_mistakes(agent: Agent, tmp_path: Path, what: str) -> None:
    folder = web(agent)
    (folder / "folder").mkdir(parents=True, exist_ok=True)
    (folder / "file").write_text("x")
    for name, leads in (("link", "file"), ("etc", "/etc")):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(leads)
    (folder / "pipe").unlink(missing_ok=True)
    os.mkfifo(folder / "pipe")
    (tmp_path / "here").write_text("here")
    (tmp_path / "file").mkdir()
    before = everything(folder)
    argv, code, words = BAD[what]
    here = [word.replace("HERE", str(tmp_path / "here")).replace("TMP", str(tmp_path)) for word in argv]
    bad(agent.cli.run(*here), code, words)
    assert everything(folder) == before
    assert everything(tmp_path) == {"here", "file"}


def test_a_node_that_is_not_there(agent: Agent, tmp_path: Path) -> None:
    config = tmp_path / "mcp.toml"
    config.write_text(agent.mcp_toml.read_text().replace(agent.address, "127.0.0.1:1"))
    (tmp_path / "token").write_text(agent.token)
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "x").write_text("x")
    cli = dataclasses.replace(agent.cli, config=config)
    bad(cli.run("push", str(tmp_path / "x"), "web/x", "--node", "rift"), 4, "refuses the connection")
    bad(cli.run("pull", "web/x", str(tmp_path / "y"), "--node", "rift"), 4, "refuses the connection")
    assert not (tmp_path / "y").exists()


@contextmanager
def wrapped(tmp_path: Path, template: Home, wrap: Wrap) -> Iterator[Agent]:
    """An agent that is started with something in front of it."""
    fake = FakePodman.install(tmp_path / "bin")
    home = dataclasses.replace(copy_home(template, tmp_path / "agent"), wrap=wrap)
    home.srv.mkdir(exist_ok=True)
    with Agent.start(home, env=agent_env(home.folder, fake.folder)) as agent:
        agent.define("web", service())
        yield agent


def test_a_full_disk(tmp_path: Path, template: Home) -> None:
    mount = 'mount -t tmpfs -o size=4m tmpfs "$0" && exec "$@"'
    srv = tmp_path / "agent" / "srv"
    here = large_file(tmp_path / "here", 6 * MB)
    with wrapped(tmp_path, template, lambda argv: ["unshare", "-Urm", "sh", "-c", mount, str(srv), *argv]) as agent:
        seen = Path(f"/proc/{agent.process.pid}/root{srv}")
        announced = agent.cli.run("push", str(here), "web/x")
        bad(announced, 1, "web/x: has 6000000 bytes, and the node's disk has ", "make room there")
        with here.open("rb") as file:  # from a pipe nobody knows how much will come
            argv = [*agent.cli.command, "push", "-", "web/deep/x"]
            cat = subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE)
            env = agent.cli.environment()
            done = subprocess.run(argv, stdin=cat.stdout, env=env, capture_output=True, text=True, check=False)
            assert cat.stdout is not None
            cat.stdout.close()
            cat.wait()
        assert done.returncode == 1
        assert done.stderr == ("mcp: rift: web/deep/x: the node's disk is full; nothing was changed; make room there\n")
        assert everything(seen) == set()
        here.write_bytes(b"small")
        good(agent.cli.run("push", str(here), "web/x"))
        assert (seen / "web" / "x").read_bytes() == b"small"


def test_files_that_are_not_the_agents(tmp_path: Path, template: Home) -> None:
    """In a user namespace without a mapping even root is nobody special."""
    with wrapped(tmp_path, template, lambda argv: ["unshare", "-U", *argv]) as agent:
        folder = web(agent)
        (folder / "closed").mkdir(parents=True)
        for name in ("file", "closed/file"):
            (folder / name).write_text("x")
        (folder / "file").chmod(0)
        (folder / "closed").chmod(0o500)
        (tmp_path / "here").write_text("here")
        bad(agent.cli.run("pull", "web/file", str(tmp_path / "back")), 1, "web/file: the agent's user may not read it")
        pushed = agent.cli.run("push", str(tmp_path / "here"), "web/closed/x")
        bad(pushed, 1, "web/closed/x: the agent's user may not write it; check owner and mode on the node")
        agent.home.srv.chmod(0o500)
        made = agent.cli.run("push", str(tmp_path / "here"), "fresh/x", "--node", "rift")
        bad(
            made,
            1,
            f"{agent.home.srv}/fresh does not exist, and the agent's user may not create it; run `mcp node provision`",
        )
        agent.home.srv.chmod(0o700)
        (folder / "closed").chmod(0o700)
    assert not (tmp_path / "back").exists()


# --- interrupted ---


def test_a_push_that_is_interrupted_leaves_nothing(rig: Rig, tmp_path: Path) -> None:
    agent = rig.agent
    agent.define("web", service())
    (web(agent)).mkdir()
    (web(agent) / "x").write_text("old")
    for number, target in ((signal.SIGINT, "web/x"), (signal.SIGKILL, "web/deep/new"), (signal.SIGTERM, "web/x")):
        argv = [*agent.cli.command, "push", "-", target]
        process = subprocess.Popen(
            argv, env=agent.cli.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdin is not None
        process.stdin.write(os.urandom(2 * MB))
        process.stdin.flush()
        wait_for(lambda: held(agent))
        process.send_signal(number)
        assert process.wait(30) != 0
        _, errors = process.communicate()
        assert errors == b""
        wait_for(lambda: not held(agent))
        assert everything(web(agent)) == {"x"}
    assert (web(agent) / "x").read_text() == "old"


def test_an_agent_that_is_killed_leaves_nothing(rig: Rig, tmp_path: Path) -> None:
    agent = rig.agent
    agent.define("web", service())
    web(agent).mkdir()
    process = subprocess.Popen(
        [*agent.cli.command, "push", "-", "web/x"],
        env=agent.cli.environment(),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(os.urandom(2 * MB))
    process.stdin.flush()
    wait_for(lambda: held(agent))
    agent.kill()
    process.stdin.close()
    assert process.wait(30) == 4
    assert process.stderr is not None
    assert process.stderr.read().startswith(b"mcp: rift: ")
    assert everything(web(agent)) == set()
    rig.restart()


def test_an_agent_that_is_stopped_does_not_wait_for_ever(rig: Rig) -> None:
    agent = rig.agent
    agent.define("web", service())
    web(agent).mkdir()
    process = subprocess.Popen(
        [*agent.cli.command, "push", "-", "web/x"],
        env=agent.cli.environment(),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write("never more than this")
    process.stdin.flush()
    wait_for(lambda: held(agent))
    assert agent.stop() < 20, "systemd waits so long for it"
    process.stdin.close()
    assert process.wait(30) in (1, 4)
    assert process.stderr is not None
    assert process.stderr.read().startswith("mcp: rift: ")
    assert everything(web(agent)) == set()


def test_two_pushes_of_one_file_at_once(agent: Agent, tmp_path: Path) -> None:
    contents = [bytes([number]) * 8 * MB for number in range(4)]
    processes = []
    for number, content in enumerate(contents):
        (tmp_path / str(number)).write_bytes(content)
        processes.append(agent.cli.popen("push", str(tmp_path / str(number)), "web/contended/x"))
    assert [(*process.communicate(), process.returncode)[1:] for process in processes] == [("", 0)] * 4
    assert (web(agent) / "contended" / "x").read_bytes() in contents
    assert everything(web(agent) / "contended") == {"x"}


def test_a_pull_that_is_interrupted_leaves_nothing(rig: Rig, tmp_path: Path) -> None:
    agent = rig.agent
    agent.define("web", service())
    web(agent).mkdir()
    large_file(web(agent) / "large")
    (tmp_path / "back").write_text("old")
    for number in (signal.SIGINT, signal.SIGKILL):
        process = agent.cli.popen("pull", "web/large", str(tmp_path / "back"))
        wait_for(lambda: held(agent))
        process.send_signal(number)
        assert process.wait(30) != 0
        assert process.communicate()[1] == ""
        assert (tmp_path / "back").read_text() == "old"
        assert not list(tmp_path.glob(".*"))
        wait_for(lambda: not held(agent))


def test_a_client_that_does_not_read_costs_no_memory(rig: Rig) -> None:
    agent = rig.agent
    web(agent).mkdir()
    large_file(web(agent) / "large")
    argv = [*agent.cli.command, "pull", "web/large", "-", "--node", "rift"]
    before = resident_bytes(agent.process.pid)
    process = subprocess.Popen(argv, env=agent.cli.environment(), stdout=subprocess.PIPE)
    time.sleep(1.5)
    assert resident_bytes(agent.process.pid) - before < 40 * MB
    assert resident_bytes(process.pid) < 160 * MB
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


# --- hand-made streams ---


def chunk(data: bytes = b"", sha256: str = "", **fields: Any) -> pb.FileChunk:
    """A chunk."""
    return pb.FileChunk(data=data, sha256=sha256, **fields)


HELLO = hashlib.sha256(b"hello").hexdigest()
FIRST: dict[str, Any] = {"service": "web", "path": "streamed"}
STREAMS: dict[str, tuple[list[pb.FileChunk], str]] = {
    "nothing": ([], "no chunk: the first one names the file"),
    "no name": ([chunk(b"hello", HELLO)], "service: is missing"),
    "no end": ([chunk(b"hello", **FIRST)], "sha256: the stream ended before the last chunk"),
    "another checksum": ([chunk(b"hullo", HELLO, **FIRST)], "sha256: does not match the received data"),
    "no checksum": ([chunk(b"hello", "abc", **FIRST)], "sha256: expected 64 hexadecimal digits"),
    "in upper case": ([chunk(b"hello", HELLO.upper(), **FIRST)], "sha256: expected 64 hexadecimal digits"),
    "more after the end": ([chunk(b"hello", HELLO, **FIRST), chunk(b"x")], "only the last chunk may have it"),
    "two files": ([chunk(b"hel", **FIRST), chunk(b"lo", HELLO, path="other")], "path: a later chunk names another"),
    "two services": ([chunk(b"hel", **FIRST), chunk(service="other")], "service: a later chunk names another"),
    "too much": ([chunk(b"hello", HELLO, size=4, **FIRST)], "data: is more than the 4 bytes"),
    "too little": ([chunk(b"hello", HELLO, size=6, **FIRST)], "data: received 5 of 6 bytes"),
}


@pytest.mark.parametrize("what", STREAMS)
def test_streams_that_are_no_file(agent: Agent, what: str) -> None:
    chunks, words = STREAMS[what]
    before = everything(agent.home.srv)
    with connected(agent) as wire:
        answer = wire.push(chunks)
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert words in answer.details
    assert everything(agent.home.srv) == before


def test_a_sound_stream_in_odd_pieces(agent: Agent) -> None:
    with connected(agent) as wire:
        one = wire.push([chunk(b"hello", HELLO, mode=0o104640, size=5, **FIRST)])
        many = wire.push([chunk(**FIRST), *[chunk(bytes([byte])) for byte in b"hello"], chunk(), chunk(sha256=HELLO)])
    for answer in (one, many):
        assert answer.code is grpc.StatusCode.OK
        assert answer.responses == (pb.PushFileStreamResponse(size=5, sha256=HELLO),)
    assert (web(agent) / "streamed").read_bytes() == b"hello"
    assert (web(agent) / "streamed").stat().st_mode & 0o7777 == 0o640  # the second one named no mode


CHUNKS = st.builds(
    chunk,
    data=st.sampled_from([b"", b"hello", b"x" * 1000]),
    sha256=st.sampled_from(["", HELLO, "x", hashlib.sha256().hexdigest()]),
    service=st.sampled_from(["", "web", "web", "mcp", "..", "other\n"]),
    path=st.sampled_from(["", "fuzzed", "fuzzed", "../x", "/x", "a/b", "é" * 200, "\0"]),
    mode=st.integers(0, 2**32 - 1),
    size=st.sampled_from([0, 0, 5, 2**64 - 1]),
)


def test_chunks_in_any_order_get_a_meant_answer(agent: Agent) -> None:
    codes = set()
    with connected(agent) as wire:

        @settings(max_examples=300, database=None, suppress_health_check=list(HealthCheck))
        @example(chunks=[chunk(b"hello", HELLO, mode=0o104640, size=5, **FIRST)])  # a sound one is rarely drawn
        @given(chunks=st.lists(CHUNKS, max_size=4))
        def run(chunks: list[pb.FileChunk]) -> None:
            answer = wire.push(chunks)
            assert answer.code in ALLOWED, answer
            assert answer.details.isprintable()
            codes.add(answer.code)

        run()
    assert len(codes) > 1


# --- one message, for older programs ---


def test_whole_files_in_one_message(agent: Agent) -> None:
    with connected(agent) as wire:
        pushed = wire.call("PushFile", pb.PushFileRequest(service="web", path="one", content=b"hello", mode=0o100644))
        assert pushed.responses == (pb.PushFileResponse(success=True),)
        pulled = wire.call("PullFile", request_for("PullFile", service="web", path="one"))
        assert pulled.responses == (pb.PullFileResponse(content=b"hello", mode=0o644),)
        with (web(agent) / "one").open("ab") as file:
            file.truncate(4 * MB)
        assert wire.call("PullFile", request_for("PullFile", service="web", path="one")).code is grpc.StatusCode.OK
        with (web(agent) / "one").open("ab") as file:
            file.truncate(5 * MB)
        refused = wire.call("PullFile", request_for("PullFile", service="web", path="one"))
        assert refused.code is grpc.StatusCode.FAILED_PRECONDITION
        assert refused.details == "web/one: has 5000000 bytes, too many for PullFile"
        assert refused.hint == "use PullFileStream"


def test_empty_folders_of_a_push_that_was_killed_are_gone_after_the_next_start(rig: Rig) -> None:
    rig.agent.kill()
    (rig.agent.home.srv / "web" / "a" / "b").mkdir(parents=True)
    registry = Registry(rig.agent.home.database)
    registry.pushes.begin(["web", "a", "b"], 2)
    registry.close()
    rig.restart()
    wait_for(lambda: not web(rig.agent).exists() or everything(web(rig.agent)) == set())
