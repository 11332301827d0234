"""The reader of k8s-file logs against `podman logs` on real containers: byte for byte the same, per stream."""

import asyncio
import subprocess
import time
from contextlib import aclosing
from pathlib import Path

import pytest

from agent.logs.inotify import Inotify
from agent.logs.k8s_file.reader import K8sFileReader
from agent.logs.k8s_file.segments import SegmentLinker, linked_segments
from agent.logs.model import Batch, LogSource, Reading, Window
from tests.signals import touch
from tools import images
from tools.hostlib.private import Private

IMAGE = images.image("web").reference
SCRIPTS = {
    "lines": "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; done",
    "empty lines": "printf '\\n\\na\\n\\n'",
    "nothing": "true",
    "no final newline": "echo one; printf two",
    "no final newline on either stream": "echo one; printf two; sleep 0.1; printf three >&2",
    "both streams": "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo out $i; echo err $i >&2; done",
    "nul and carriage return": "printf 'a\\000b\\000\\n\\r\\nx\\ry\\r\\n\\000\\n'",
    "invalid utf-8": "printf '\\377\\376\\200\\n\\303(\\n'",
    "a line of 5 MB": "head -c 5000000 /dev/zero | tr '\\000' a; echo; echo after",
    "lines about the size of a record": (
        "for n in 8190 8191 8192 8193 16384 16385; do head -c $n /dev/zero | tr '\\000' b; echo; done"
    ),
    "binary": "head -c 1000000 /bin/busybox; echo end >&2; head -c 300000 /bin/busybox >&2",
    "a prompt and its answer": "printf 'name? '; sleep 0.3; echo err >&2; sleep 0.3; echo Ann",
}


def make(podman: Private, name: str, script: str, *options: str) -> LogSource:
    """Start a container whose log is the script's output."""
    argv = [
        "podman",
        "run",
        "--detach",
        "--name",
        name,
        "--log-driver",
        "k8s-file",
        *options,
        IMAGE,
        "sh",
        "-c",
        script,
    ]
    identifier = podman.run(argv).stdout.strip()
    path = podman.run(["podman", "inspect", "--format", "{{.HostConfig.LogConfig.Path}}", name]).stdout.strip()
    return LogSource("s", "c", name, identifier, "k8s-file", Path(path))


def split(batches: list[Batch]) -> tuple[bytes, bytes]:
    """What went to stdout and to stderr."""
    texts: dict[bool, list[bytes]] = {False: [], True: []}
    for batch in batches:
        place = 0
        for size, stderr in batch.runs:
            texts[stderr].append(batch.data[place : place + size])
            place += size
    return b"".join(texts[False]), b"".join(texts[True])


def read(source: LogSource, reading: Reading | None = None) -> tuple[bytes, bytes]:
    """Both streams as our reader gives them."""

    async def collect() -> list[Batch]:
        async with aclosing(K8sFileReader(Inotify()).read(source, reading or Reading())) as batches:
            return [batch async for batch in batches]

    return split(asyncio.run(collect()))


def oracle(podman: Private, *argv: str) -> tuple[bytes, bytes]:
    """Both streams as `podman logs` prints them."""
    done = subprocess.run(
        podman.argv(["podman", "logs", *argv]), env=dict(podman.env), cwd=podman.home, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_gives_what_podman_logs_prints(rootless: Private, name: str) -> None:
    source = make(rootless, "logs", SCRIPTS[name])
    rootless.run(["podman", "wait", "logs"])
    assert read(source) == oracle(rootless, "logs")


def test_restarts_append_and_tail_and_since_are_podmans(rootless: Private) -> None:
    source = make(rootless, "logs", "i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo line $i; done")
    rootless.run(["podman", "wait", "logs"])
    time.sleep(0.1)
    moment = time.time_ns()
    rootless.run(["podman", "start", "logs"])
    rootless.run(["podman", "wait", "logs"])
    assert read(source) == oracle(rootless, "logs")
    assert read(source, Reading(Window(tail=60))) == oracle(rootless, "--tail", "60", "logs")
    since = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(moment // 10**9))}.{moment % 10**9:09}Z"
    assert read(source, Reading(Window(since=moment))) == oracle(rootless, "--since", since, "logs")
    assert read(source, Reading(Window(until=moment))) == oracle(rootless, "--until", since, "logs")
    assert read(source, Reading(Window(since=moment)))[0].count(b"\n") == 50


def test_a_follower_loses_nothing_when_conmon_rotates(rootless: Private) -> None:
    """100,000 numbered lines in bursts through a log of 1 MiB; each of less than that, as each file is to be seen."""
    size = 10_000
    script = (
        f"n=0; while [ $n -lt {100_000 // size} ]; do until [ -e /tmp/$n ]; do sleep 0.02; done; "
        f"i=$((n*{size})); n=$((n+1)); "
        f"while [ $i -lt $((n*{size})) ]; do i=$((i+1)); echo line $i of a burst through rotations; done; done"
    )
    source = make(rootless, "logs", script, "--log-opt", "max-size=1mb")

    async def allow(burst: int) -> None:
        await asyncio.to_thread(touch, rootless, "logs", f"/tmp/{burst}")

    expected = b"".join(b"line %d of a burst through rotations\n" % number for number in range(1, 100_001))

    async def follow() -> tuple[list[Batch], list[Batch]]:
        news, ended = Inotify(), asyncio.Event()
        keeper = SegmentLinker(news, segments=100)
        await keeper.watch(source)
        reader = K8sFileReader(news)
        waiting = asyncio.create_task(asyncio.to_thread(rootless.run, ["podman", "wait", "logs"]))
        waiting.add_done_callback(lambda _: ended.set())
        await allow(0)
        followed, seen, allowed = [], 0, 1
        async for batch in reader.read(source, Reading(follow=ended)):
            followed.append(batch)
            seen += batch.data.count(b"\n")
            if seen == allowed * size < 100_000:
                await allow(allowed)
                allowed += 1
        await waiting
        again = [batch async for batch in reader.read(source, Reading())]
        keeper.close()
        news.close()
        return followed, again

    followed, again = asyncio.run(follow())
    assert source.path is not None
    assert len(linked_segments(source.path)) > 5
    assert not [batch.notice for batch in [*followed, *again] if batch.notice]
    assert split(followed) == (expected, b"")
    assert split(again) == (expected, b"")
    rootless.run(["podman", "rm", "logs"])
    assert not source.path.parent.exists()
