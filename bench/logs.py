"""Measure the speed of logs: `python -m bench.logs`, also a part of `make bench`.

The built zipapps against real rootless podman, each case in turns with its peer. Large logs are written to the
container's k8s-file in conmon's format, as a container needs minutes for a gigabyte. Prints medians, percentiles and
ratios, without limits. For journald see bench/journald.py.
"""

import asyncio
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from bench.run import PYTHON, Setting, agent_pid, prepare, processor_ticks, resident, start_agent
from proto.mcp.v1 import mcp_pb2 as pb
from proto.mcp.v1 import mcp_pb2_grpc as pb_grpc
from tools import images
from tools.hostlib import private

LINES = 1_000_000
TEXT = "a line of a web server's access log, as long as those usually are, with a number at its end: "
HUGE = 1_000_000_000  # bytes
ROUNDS = 5
SHORT_ROUNDS = 15
LATENCIES = 400
FOLLOWERS = 1000
COMPONENTS = 50
IDLE_SECONDS = 20

DEFINITION = """\
name = "{name}"
node = "dev"
"""
COMPONENT = """\
[[components]]
name = "{component}"
image = "{image}"
cmd = {cmd}
volumes = {volumes}
log_max_size = "0"
"""


def main() -> None:
    """Measure everything."""
    with private.create() as podman:
        image = images.build(podman, "worker")
        setting = prepare(podman)
        agent = start_agent(setting)
        try:
            pipe = setting.folder / "pipe"
            pipe.mkdir()
            os.mkfifo(pipe / "fifo", 0o666)
            podman.give(pipe)
            sleep = ["busybox", "sleep", "1000000"]
            for name in ("million", "huge", "empty"):
                deploy(setting, name, image, sleep)
            deploy(setting, "live", image, ["busybox", "sh", "-c", "exec cat <>/pipe/fifo"], [f"{pipe}:/pipe"])
            write_log(setting, "million", LINES * (len(TEXT) + 8))
            whole_log(setting)
            deploy(setting, "fifty", image, sleep, components=[f"c{number}" for number in range(COMPONENTS)])
            merged(setting)
            write_log(setting, "huge", HUGE)
            log_ends(setting)
            memory(setting)
            latency(setting, pipe / "fifo")
            asyncio.run(followers(setting, pipe / "fifo"))
        finally:
            agent.terminate()
            agent.wait(30)


def deploy(
    setting: Setting,
    name: str,
    image: str,
    cmd: Sequence[str],
    volumes: Sequence[str] = (),
    components: Sequence[str] = ("main",),
) -> None:
    """Deploy a service with identical components."""
    services = setting.folder / "state/cli/services"
    text = DEFINITION.format(name=name) + "".join(
        COMPONENT.format(component=component, image=image, cmd=list(cmd), volumes=list(volumes))
        for component in components
    )
    (services / f"{name}.toml").write_text(text.replace("'", '"'))
    setting.podman.give(services)
    run(setting, [PYTHON, "-I", "mcp.pyz", "deploy", "-q", name])


def run(setting: Setting, command: Sequence[str]) -> bytes:
    """Return the output of a command; raises if it fails."""
    return subprocess.run(
        setting.podman.argv(command), env=setting.env, cwd=setting.folder, check=True, stdout=subprocess.PIPE
    ).stdout


def log_file(setting: Setting, name: str, component: str = "main") -> Path:
    """Return the k8s-file of a component's container."""
    form = "{{.HostConfig.LogConfig.Path}}"
    return Path(run(setting, ["podman", "inspect", "-f", form, f"{name}-{component}"]).decode().strip())


def write_log(setting: Setting, name: str, size: int, component: str = "main") -> None:
    """Fill a log with about `size` bytes of text, 1000 lines per second, up to now."""
    count = size // (len(TEXT) + 8)
    seconds = count // 1000
    began = int(time.time()) - seconds
    with log_file(setting, name, component).open("ab", buffering=1 << 20) as file:
        for second in range(seconds):
            stamp = datetime.fromtimestamp(began + second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            first = second * 1000
            file.write(
                "".join(f"{stamp}.{at:03}000000+00:00 stdout F {TEXT}{first + at:07}\n" for at in range(1000)).encode()
            )


def timed(setting: Setting, command: Sequence[str]) -> float:
    """Return the duration of a command with output to /dev/null, in seconds."""
    began = time.perf_counter()
    subprocess.run(
        setting.podman.argv(command), env=setting.env, cwd=setting.folder, check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - began


def logs(*words: str) -> list[str]:
    """Return an `mcp logs` command."""
    return [PYTHON, "-I", "mcp.pyz", "logs", *words]


def whole_log(setting: Setting) -> None:
    """Measure a whole log, compared with podman logs and with cat of the file."""
    text = len(run(setting, logs("million")))
    raw = log_file(setting, "million")
    rows = [
        (
            timed(setting, logs("million")),
            timed(setting, ["podman", "logs", "million-main"]),
            timed(setting, ["cat", str(raw)]),
        )
        for _ in range(ROUNDS)
    ]
    ours, podman, cat = (statistics.median(column) for column in zip(*rows, strict=True))
    faster = statistics.median(row[1] / row[0] for row in rows)
    print(
        f"{LINES} lines, {text / 1e6:.0f} MB: mcp logs {ours:.2f} s, {text / ours / 1e6:.0f} MB/s; "
        f"podman logs {podman:.2f} s; {faster:.1f} times as fast; cat of the file {cat:.2f} s"
    )
    for words in (["--timestamps"], ["--grep", "99$"]):
        seconds = statistics.median(timed(setting, logs(*words, "million")) for _ in range(ROUNDS))
        print(f"  with {' '.join(words)}: {seconds:.2f} s, {text / seconds / 1e6:.0f} MB/s")


def merged(setting: Setting) -> None:
    """Measure the logs of many components that write in turns, and the memory of both programs."""
    size = LINES // COMPONENTS * (len(TEXT) + 8)
    for number in range(COMPONENTS):
        write_log(setting, "fifty", size, f"c{number}")
    agent = agent_pid(setting)
    for words in ([], ["--no-prefix"]):
        seconds = [timed(setting, logs("fifty", *words)) for _ in range(ROUNDS)]
        print(f"{COMPONENTS} components, {LINES} lines, by time {words}: {statistics.median(seconds):.2f} s")
    before = resident(agent)
    samples, _ = sample_memory(setting, agent, "fifty")
    most = [max(column) for column in zip(*samples, strict=True)]
    print(f"  agent {before:.0f} MB before, at most {most[0]:.0f} MB; CLI at most {most[1]:.0f} MB")


def log_ends(setting: Setting) -> None:
    """Measure the end of a large log, compared with an empty log."""
    for words in (["--tail", "10"], ["--since", "1m"]):
        if len(run(setting, logs(*words, "huge"))) < 10 * len(TEXT):
            raise RuntimeError(f"{words}: too little output")
        rows = [
            (timed(setting, logs(*words, "huge")), timed(setting, logs(*words, "empty"))) for _ in range(SHORT_ROUNDS)
        ]
        ours, empty = (statistics.median(column) * 1000 for column in zip(*rows, strict=True))
        print(f"{' '.join(words)} on 1 GB: {ours:.0f} ms; on an empty log {empty:.0f} ms; {ours - empty:+.0f} ms")


def memory(setting: Setting) -> None:
    """Measure the memory of both programs during the transfer of a gigabyte."""
    agent = agent_pid(setting)
    before = resident(agent)
    samples, seconds = sample_memory(setting, agent, "huge")
    halves = samples[len(samples) // 4 : len(samples) // 2], samples[len(samples) // 2 :]
    first, second = ([max(column) for column in zip(*half, strict=True)] for half in halves)
    print(
        f"1 GB in {seconds:.1f} s, {HUGE / seconds / 1e6:.0f} MB/s: agent {before:.0f} MB before, "
        f"{first[0]:.0f} MB in the second quarter, {second[0]:.0f} MB in the second half; "
        f"CLI {first[1]:.0f} and {second[1]:.0f} MB"
    )


def sample_memory(setting: Setting, agent: int, name: str) -> tuple[list[tuple[float, float]], float]:
    """Return memory samples of agent and CLI during `mcp logs` of a service, and its duration in seconds."""
    client = subprocess.Popen(
        setting.podman.argv(logs(name)), env=setting.env, cwd=setting.folder, stdout=subprocess.DEVNULL
    )
    samples: list[tuple[float, float]] = []
    began = time.perf_counter()
    while client.poll() is None:
        time.sleep(0.1)
        try:
            pid = next(process for process in descendants(client.pid) if b"mcp.pyz" in command_line(process))
            samples.append((resident(agent), resident(pid)))
        except (OSError, StopIteration):
            continue
    return samples, time.perf_counter() - began


def command_line(pid: int) -> bytes:
    """Return the command line of a process, separated by NUL."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def descendants(pid: int) -> Iterator[int]:
    """Yield a process and its descendants."""
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from descendants(int(child))


@contextmanager
def following(setting: Setting, name: str, seen: Callable[[bytes, float], None]) -> Iterator[int]:
    """Run `mcp logs -f` of a service, and yield the CLI's pid; calls `seen` with each line and its time."""
    client = subprocess.Popen(
        setting.podman.argv(logs("-f", "-n", "0", name)), env=setting.env, cwd=setting.folder, stdout=subprocess.PIPE
    )
    assert client.stdout is not None
    stream = client.stdout

    def read() -> None:
        for line in stream:
            seen(line, time.perf_counter())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    time.sleep(1.5)
    try:
        yield next(process for process in descendants(client.pid) if b"mcp.pyz" in command_line(process))
    finally:
        client.terminate()
        client.wait()
        reader.join()


def latency(setting: Setting, fifo: Path) -> None:
    """Measure the latency from a write in the container to the CLI's stdout, and the cost of an idle follower."""
    sent: dict[bytes, float] = {}
    came: dict[bytes, float] = {}
    with (
        following(setting, "live", came.__setitem__) as cli,
        fifo.open("wb", buffering=0) as pipe,
    ):
        for number in range(LATENCIES):
            line = b"ping %d\n" % number
            sent[line] = time.perf_counter()
            pipe.write(line)
            time.sleep(0.02)
        time.sleep(0.5)
        agent = agent_pid(setting)
        ticks = [processor_ticks(pid) for pid in (cli, agent)]
        time.sleep(IDLE_SECONDS)
        idle = [processor_ticks(pid) - before for pid, before in zip((cli, agent), ticks, strict=True)]
    if came.keys() != sent.keys():
        raise RuntimeError(f"{len(sent) - len(came)} lines are missing")
    times = sorted((came[line] - sent[line]) * 1000 for line in sent)
    share = [100 * used / os.sysconf("SC_CLK_TCK") / IDLE_SECONDS for used in idle]
    print(
        f"follow: {statistics.median(times):.1f} ms from write to stdout, p99 {percentile(times, 99):.1f} ms "
        f"({len(times)} lines); idle: CLI {share[0]:.2f} %, agent {share[1]:.2f} % of one processor"
    )


def percentile(values: Sequence[float], share: int) -> float:
    """Return a percentile of sorted values."""
    return values[min(len(values) - 1, len(values) * share // 100)]


async def followers(setting: Setting, fifo: Path) -> None:
    """Measure many followers of one agent: completeness, memory, and the effect on other calls."""
    pid = agent_pid(setting)
    toml = (setting.folder / "state/cli/mcp.toml").read_text()
    address = toml.rpartition('address = "')[2].split('"')[0]
    ca = grpc.ssl_channel_credentials((setting.folder / "state/ca.pem").read_bytes())
    token = (setting.folder / "state/cli/token").read_text().strip()
    metadata = (("authorization", f"Bearer {token}"),)
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.secure_channel(address, ca, options) for _ in range(20)]
    stubs: list[Any] = [pb_grpc.McpAgentServiceStub(channel) for channel in channels]  # type: ignore[no-untyped-call]
    idle = await ps_times(stubs[0], metadata)
    before = resident(pid)
    request = pb.LogsRequest(service="live", follow=True, tail=-1, runs=True)
    received: list[bytearray] = [bytearray() for _ in range(FOLLOWERS)]
    ready = [asyncio.Event() for _ in range(FOLLOWERS)]

    async def follow(number: int) -> None:
        async for response in stubs[number % len(stubs)].Logs(request, metadata=metadata):
            received[number] += response.data
            ready[number].set()

    tasks = [asyncio.create_task(follow(number)) for number in range(FOLLOWERS)]
    await asyncio.gather(*(event.wait() for event in ready))
    after = resident(pid)
    stop = asyncio.Event()
    writer = asyncio.create_task(write_lines(fifo, stop))
    loaded = await ps_times(stubs[0], metadata)
    stop.set()
    expected = await writer
    await asyncio.sleep(3)
    complete = sum(bytes(each) == expected for each in received)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for channel in channels:
        await channel.close()
    await asyncio.sleep(2)
    print(
        f"{FOLLOWERS} followers: {complete} got all {expected.count(10)} lines; "
        f"{(after - before) * 1000 / FOLLOWERS:.0f} KB each; "
        f"agent {before:.0f} MB before, {resident(pid):.0f} MB after; "
        f"ps p99 {percentile(idle, 99) * 1000:.0f} ms without them, {percentile(loaded, 99) * 1000:.0f} ms with them"
    )


async def write_lines(fifo: Path, stop: asyncio.Event) -> bytes:
    """Write a line per second to the container until `stop`; return all lines."""
    written = b""
    with fifo.open("wb", buffering=0) as pipe:
        while not stop.is_set():
            line = b"for all %d\n" % len(written)
            pipe.write(line)
            written += line
            await asyncio.sleep(1)
    return written


async def ps_times(stub: Any, metadata: tuple[tuple[str, str], ...]) -> list[float]:
    """Return the sorted durations of 100 LiveCheck calls, in seconds."""
    times = []
    for _ in range(100):
        began = time.perf_counter()
        await stub.LiveCheck(pb.LiveCheckRequest(), metadata=metadata)
        times.append(time.perf_counter() - began)
        await asyncio.sleep(0.05)
    return sorted(times)


if __name__ == "__main__":
    main()
