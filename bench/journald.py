"""Measure logs in journald: `python -m bench.journald`, also a part of `make bench`; needs root.

The built zipapps, with the agent as a unit of a real node (Debian 12) and the CLI outside of it over TLS; each case in
turns with its peer. Prints medians, percentiles and ratios, without limits.
"""

import json
import os
import shlex
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from agent.logs.journald import worker
from bench.logs import LINES, TEXT, percentile
from bench.run import processor_ticks
from tests.fleet.install import Installed, install
from tests.nodes import load_images
from tools.nodelib import fleet

ROUNDS = 3
LATENCIES = 400
SILENCES = 20
SILENCE = 2.5  # seconds
IDLE_SECONDS = 20

COMPONENT = """
[[components]]
name = "main"
image = "localhost/mcp-worker:1.0.0"
cmd = ["sh", "-c", {script}]
volumes = ["/srv/pipe:/pipe"]
log_driver = "journald"
"""
JOURNALD = "[Journal]\nRateLimitBurst=0\nSystemMaxUse=16G\n"


def main() -> None:
    """Measure everything."""
    with fleet.create({"node": "12"}) as nodes, tempfile.TemporaryDirectory() as folder:
        node = nodes["node"]
        load_images(node)
        site = install(node, Path(folder) / "operator")
        node.run(["mkdir", "-p", "/etc/systemd/journald.conf.d"])
        node.write("/etc/systemd/journald.conf.d/bench.conf", JOURNALD)
        site.systemctl("restart", "systemd-journald.service")
        node.run(["sh", "-ec", "mkdir -m 0755 /srv/pipe; mkfifo -m 0666 /srv/pipe/fifo"])
        site.systemctl("start", "mcp-agent.service")
        deploy(site, "live", "exec cat <>/pipe/fifo")
        latency(site)
        whole_log(site)


def deploy(site: Installed, name: str, script: str) -> None:
    """Deploy a service with one component that runs a shell script."""
    site.define(name, COMPONENT.format(script=json.dumps(script)))
    site.mcp("deploy", "-q", name)


def logs(site: Installed, *words: str) -> "subprocess.Popen[bytes]":
    """Start `mcp logs`."""
    argv = [*site.cli.command, "logs", *words]
    return subprocess.Popen(argv, env=site.cli.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)


def whole_log(site: Installed) -> None:
    """Measure a whole log, compared with journalctl on the node."""
    deploy(site, "million", f'yes "{TEXT}0123456" | head -n {LINES}; exec sleep 1000000')
    identifier = site.node.run(["podman", "inspect", "--format", "{{.Id}}", "million-main"], user="mcp").stdout.strip()
    while site.mcp("logs", "--tail", "1", "million").stdout == "" or not is_written(site, identifier):
        time.sleep(5)
    size = LINES * (len(TEXT) + 8)
    argv, env = [*site.cli.command, "logs", "million"], site.cli.environment()
    if (shown := len(subprocess.run(argv, env=env, stdout=subprocess.PIPE, check=True).stdout)) != size:
        raise RuntimeError(f"{shown} bytes instead of {size}")
    journalctl = shlex.join(["journalctl", "--output=cat", f"CONTAINER_ID_FULL={identifier}"])
    rows = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        subprocess.run(argv, env=env, stdout=subprocess.DEVNULL, check=True)
        ours = time.perf_counter() - began
        began = time.perf_counter()
        site.node.run(["sh", "-c", f"{journalctl} | cat >/dev/null"], timeout=600)
        rows.append((ours, time.perf_counter() - began))
    ours, theirs = (statistics.median(column) for column in zip(*rows, strict=True))
    ratio = statistics.median(row[1] / row[0] for row in rows)
    print(
        f"journald, {LINES} lines, {size / 1e6:.0f} MB: mcp logs {ours:.1f} s; journalctl -o cat {theirs:.1f} s; "
        f"{ratio:.2f} times as fast"
    )


def is_written(site: Installed, identifier: str) -> bool:
    """Return True if journald has written all lines: the last one is older than 3 s."""
    last = ["journalctl", "--lines=1", "--output=short-unix", f"CONTAINER_ID_FULL={identifier}"]
    written = float(site.node.run(last).stdout.split()[0])
    return time.time() - written > 3


def latency(site: Installed) -> None:
    """Measure the latency from a write in the container to the CLI's stdout, and the cost of an idle follower."""
    came: dict[bytes, float] = {}
    client = logs(site, "--follow", "--tail", "0", "live")
    stream = client.stdout
    assert stream is not None

    def read() -> None:
        for line in stream:
            came[line] = time.perf_counter()

    reader = threading.Thread(target=read)
    reader.start()
    with (site.node.srv / "pipe/fifo").open("wb", buffering=0) as pipe:
        while not came:
            pipe.write(b"is it there\n")
            time.sleep(0.2)

        def ping(count: int, pause: float, what: str) -> None:
            sent = {}
            for number in range(count):
                line = f"{what} {number}\n".encode()
                sent[line] = time.perf_counter()
                pipe.write(line)
                time.sleep(pause)
            time.sleep(1)
            times = sorted((came[line] - sent[line]) * 1000 for line in sent)
            print(
                f"journald, follow, {what}: {statistics.median(times):.1f} ms from write to stdout, "
                f"p99 {percentile(times, 99):.1f} ms ({count} lines)"
            )

        ping(LATENCIES, 0.02, "a line every 20 ms")
        ping(SILENCES, SILENCE, f"a line every {SILENCE} s")
    time.sleep(3)
    pids = {"CLI": client.pid, **dict(processes(site))}
    before = {name: processor_ticks(pid) for name, pid in pids.items()}
    time.sleep(IDLE_SECONDS)
    used = {name: (processor_ticks(pid) - before[name]) / os.sysconf("SC_CLK_TCK") for name, pid in pids.items()}
    shares = ", ".join(f"{name} {100 * seconds / IDLE_SECONDS:.2f} %" for name, seconds in used.items())
    print(f"journald, idle follower: {shares} of one processor")
    client.terminate()
    client.wait()
    reader.join()


def processes(site: Installed) -> Iterator[tuple[str, int]]:
    """Yield the host PIDs of the agent and its journal reader."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
            if site.node.group not in (folder / "cgroup").read_text():
                continue
        except OSError:
            continue  # has ended
        if b"mcp-agent\0server" in words:
            yield "agent", int(folder.name)
        elif worker.__name__.encode() in words:
            yield "its child", int(folder.name)


if __name__ == "__main__":
    main()
