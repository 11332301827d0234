"""The agent's side of a transfer on the event loop, and how the CLI shows one."""

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.files import transfer
from agent.files.files import ServiceFiles
from agent.store.registry import AsyncRegistry, Registry
from mcp.shared.errors import InvalidInput
from mcp.shared.resources import ROOT
from mcp.terminal import output
from proto.mcp.v1 import mcp_pb2 as pb


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[AsyncRegistry]:
    """A registry beside the services' folders."""
    made = AsyncRegistry(Registry(tmp_path / "mcp.db"))
    yield made
    made.close()


def test_blocking_work_is_never_left_behind() -> None:
    """Cancelled, even twice, the caller goes on only when the thread is done with what is then closed."""
    began, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        go_on.wait(60)
        done.set()
        raise OSError("nobody hears of it")

    async def scene() -> None:
        task = asyncio.create_task(transfer.run_to_completion(work))
        await asyncio.to_thread(began.wait, 60)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0.02)
            assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done.is_set()

    asyncio.run(scene())


def test_what_is_pulled_can_be_pushed_again(tmp_path: Path, registry: AsyncRegistry) -> None:
    files = ServiceFiles(tmp_path, ())
    content = os.urandom(3 * transfer.CHUNK + 5)
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "x").write_bytes(content)

    async def scene() -> tuple[list[pb.FileChunk], pb.PushFileStreamResponse]:
        chunks = [chunk async for chunk in transfer.send(files, pb.PullFileRequest(service="web", path="x"))]

        async def again() -> AsyncIterator[pb.FileChunk]:
            chunks[0].path = "y"
            for chunk in chunks:
                yield chunk

        return chunks, await transfer.receive(files, registry, again())

    chunks, response = asyncio.run(scene())
    assert [len(chunk.data) for chunk in chunks] == [0, *[transfer.CHUNK] * 3, 5, 0]
    assert (chunks[0].size, chunks[-1].sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (response.size, response.sha256) == (len(content), chunks[-1].sha256)
    assert (tmp_path / "web" / "y").read_bytes() == content


def test_leaving_a_pull_half_way_closes_the_file(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "x").write_bytes(bytes(3 * transfer.CHUNK))

    def is_open() -> bool:
        return str(tmp_path / "web/x") in [os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()]

    async def scene() -> None:
        chunks = transfer.send(ServiceFiles(tmp_path, ()), pb.PullFileRequest(service="web", path="x"))
        await anext(chunks)
        assert is_open()
        await chunks.aclose()
        assert not is_open()

    asyncio.run(scene())


def test_an_empty_stream_is_refused(tmp_path: Path, registry: AsyncRegistry) -> None:
    async def nothing() -> AsyncIterator[pb.FileChunk]:
        for chunk in list[pb.FileChunk]():
            yield chunk

    with pytest.raises(InvalidInput, match="no chunk"):
        asyncio.run(transfer.receive(ServiceFiles(tmp_path, ()), registry, nothing()))


KILLED = """
import asyncio, hashlib, os, signal, sys
from pathlib import Path
from agent.files import transfer
from agent.files.files import ServiceFiles
from agent.store.registry import AsyncRegistry, Registry
from mcp.shared.replace import Replacement
from proto.mcp.v1 import mcp_pb2 as pb

root = Path(sys.argv[1])
if sys.argv[3] == "before":
    Replacement.commit = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
else:
    real = Replacement.commit
    Replacement.commit = lambda *args: (real(*args), os.kill(os.getpid(), signal.SIGKILL))

async def chunks():
    yield pb.FileChunk(service="web", path=sys.argv[2], data=b"x")
    yield pb.FileChunk(sha256=hashlib.sha256(b"x").hexdigest())

files, registry = ServiceFiles(root, ()), AsyncRegistry(Registry(root / "mcp.db"))
asyncio.run(transfer.receive(files, registry, chunks()))
"""


@pytest.mark.parametrize(
    ("path", "when", "left"),
    [
        ("new/folder/x", "before", []),
        ("old/new/folder/x", "before", ["old"]),
        ("old/new/folder/x", "after", ["old", "old/new", "old/new/folder", "old/new/folder/x"]),
    ],
)
def test_an_agent_that_is_killed_in_a_push_leaves_no_empty_folders(
    tmp_path: Path, path: str, when: str, left: list[str]
) -> None:
    (tmp_path / "web" / "old").mkdir(parents=True)
    if not left:
        (tmp_path / "web" / "old").rmdir()
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), path, when], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "web" / path).parent.is_dir()
    registry = AsyncRegistry(Registry(tmp_path / "mcp.db"))
    asyncio.run(transfer.remove_unfinished(ServiceFiles(tmp_path, ()), registry))
    assert sorted(str(found.relative_to(tmp_path / "web")) for found in (tmp_path / "web").rglob("*")) == left
    assert asyncio.run(registry.call(registry.pushes.unfinished)) == []
    registry.close()


def test_no_folder_stays_on_record(tmp_path: Path, registry: AsyncRegistry) -> None:
    files = ServiceFiles(tmp_path, ())
    request = pb.PushFileRequest(service="web", path="a/b/x", content=b"x")
    asyncio.run(transfer.receive_whole(files, registry, request))
    assert (tmp_path / "web" / "a" / "b" / "x").read_bytes() == b"x"
    assert asyncio.run(registry.call(registry.pushes.unfinished)) == []


# --- the CLI's progress ---


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (300_000_000, "300.0 MB"),
        (10**16, "10000.0 TB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert output.size_text(count) == text


def test_progress_is_one_line_that_goes_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(output.Progress, "EVERY", 0.0)
    with output.progress("web/x\x1b[2J", 4_000_000) as progress:
        progress.add(1_000_000)
        progress.add(3_000_000)
    progress.add(1)  # from a thread that is late
    out, err = capsys.readouterr()
    lines = err.split("\r\x1b[K")
    assert (out, len(lines), lines[0], lines[-1]) == ("", 4, "", "")
    assert lines[1].startswith("web/x\\x1b[2J  [#####               ]  25%  1.0 MB of 4.0 MB  ")
    assert lines[2].startswith("web/x\\x1b[2J  [####################] 100%  4.0 MB of 4.0 MB  ")
    assert lines[2].endswith("B/s")


@pytest.mark.parametrize(("terminal", "term"), [(False, "xterm"), (True, "dumb")])
def test_progress_is_for_terminals(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool, term: str
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(output.Progress, "EVERY", 0.0)
    with output.progress("web/x", 0) as progress:
        progress.add(5)
    assert capsys.readouterr() == ("", "")
