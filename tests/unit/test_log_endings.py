"""Readers of logs that are ended in an awkward moment leave nothing behind, and end."""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from agent.logs.inotify import Inotify
from agent.logs.journald.reader import JournaldReader
from agent.logs.k8s_file import segments
from agent.logs.k8s_file.reader import K8sFileReader
from agent.logs.model import Batch, LogSource, Reading
from agent.logs.podman_logs import PodmanReader
from agent.podman.client import Podman
from mcp.shared import proc, resources
from tests.unit.test_k8s_file_follow import record
from tests.unit.test_k8s_file_reader import source_at

SOURCE = LogSource("web", "api", "web-api", "0" * 64, "other")


async def consume(batches: AsyncGenerator[Batch]) -> None:
    async for _ in batches:
        pass


def test_a_file_that_is_being_opened_is_closed_where_nobody_waits_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ctr.log"
    path.write_bytes(record(1))
    opening, go_on = threading.Event(), threading.Event()
    real = segments.open_all

    def slow(wanted: Path) -> list[segments.Segment]:
        opening.set()
        go_on.wait(5)
        return real(wanted)

    monkeypatch.setattr(segments, "open_all", slow)

    async def go() -> None:
        task = asyncio.create_task(consume(K8sFileReader(Inotify()).read(source_at(path), Reading())))
        await asyncio.to_thread(opening.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        key = (path.stat().st_dev, path.stat().st_ino)
        end = time.monotonic() + 1
        await asyncio.sleep(0.1)  # it is opened only now
        while key in segments._descriptors and time.monotonic() < end:
            await asyncio.sleep(0.01)
        assert key not in segments._descriptors

    asyncio.run(go())


def test_podman_has_ended_once_the_reader_is_closed(tmp_path: Path) -> None:
    program = tmp_path / "podman"
    program.write_text(
        '#!/bin/sh\necho $$ >"$0.pid"\necho "2026-11-22T10:19:26.000000001+00:00 one"\nexec sleep 60 2>&-\n'
    )
    program.chmod(0o755)

    async def go() -> None:
        batches = PodmanReader(Podman(str(program), 10.0)).read(SOURCE, Reading())
        assert (await anext(batches)).data == b"one\n"
        pid = int(program.with_name("podman.pid").read_text())
        await batches.aclose()
        assert not Path(f"/proc/{pid}").exists()

    asyncio.run(go())


def test_a_cancellation_that_comes_while_the_journal_s_process_is_ended_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, ending = proc.end, asyncio.Event()

    async def slow(process: asyncio.subprocess.Process) -> None:
        ending.set()
        await asyncio.sleep(0.1)
        await real(process)

    monkeypatch.setattr(proc, "end", slow)
    monkeypatch.setattr(resources, "module_argv", lambda _: [sys.executable, "-I", "-c", "pass"])

    async def go() -> None:
        task = asyncio.create_task(consume(JournaldReader(tmp_path).read(SOURCE, Reading())))
        await ending.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())
