"""Measure start, calls and size of the programs: `make bench`.

Times whole processes of the built zipapps with the stock python3, in turns with their peers; ratios are per pair, so
that they are independent of drifts of the machine's speed. Prints medians, without limits.
"""

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mcp.client.agent import AgentClient
from mcp.config.configuration import Node
from mcp.shared.resources import ROOT
from tools.hostlib import private
from tools.hostlib.private import Private

DIST = ROOT / "dist"
PYTHON = "/usr/bin/python3"
RUNS = 21
FIRST_RUNS = 5
CALLS = 1000
IDLE_SECONDS = 20


@dataclass(frozen=True)
class Setting:
    """The environment of measured commands."""

    podman: Private
    folder: Path
    env: dict[str, str]


def main() -> None:
    """Measure everything."""
    print(f"{os.cpu_count()} processors, {subprocess.check_output([PYTHON, '--version'], text=True).strip()}")
    for name in ("mcp.pyz", "mcp-agent.pyz"):
        print(f"{name}: {(DIST / name).stat().st_size / 1e6:.1f} MB")
    with private.create() as podman:
        setting = prepare(podman)
        first_run(setting)
        pair(
            "mcp.pyz version, warm",
            [PYTHON, "-I", "mcp.pyz", "version"],
            "python3 -c pass",
            [PYTHON, "-I", "-c", "pass"],
            setting,
        )
        agent = start_agent(setting)
        try:
            pair("mcp.pyz ps, warm", [PYTHON, "-I", "mcp.pyz", "ps"], "podman ps", ["podman", "ps"], setting)
            agent_cost(setting)
        finally:
            agent.terminate()
            agent.wait(30)


def prepare(podman: Private) -> Setting:
    """Create a folder with the two zipapps."""
    folder = podman.home / "bench"
    folder.mkdir()
    for name in ("mcp.pyz", "mcp-agent.pyz"):
        shutil.copyfile(DIST / name, folder / name)
    podman.give(folder)
    env = {**podman.env, "MCP_CONFIG": str(folder / "state/cli/mcp.toml")}
    return Setting(podman, folder, env)


def seconds(command: Sequence[str], setting: Setting) -> float:
    """Return the duration of a successful command, including the change of user, as for its peer."""
    started = time.perf_counter()
    subprocess.run(
        setting.podman.argv(command),
        env=setting.env,
        cwd=setting.folder,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def first_run(setting: Setting) -> None:
    """Measure the first start of each zipapp, which extracts itself."""
    for name in ("mcp.pyz", "mcp-agent.pyz"):
        times = []
        for _ in range(FIRST_RUNS):
            shutil.rmtree(setting.podman.home / ".cache", ignore_errors=True)
            times.append(seconds([PYTHON, "-I", name, "version"], setting))
        print(f"{name} version, first run: {statistics.median(times) * 1000:.0f} ms")


def pair(name: str, command: list[str], peer_name: str, peer: list[str], setting: Setting) -> None:
    """Time a command and its peer in turns."""
    seconds(command, setting)
    seconds(peer, setting)
    rows = [(seconds(command, setting), seconds(peer, setting)) for _ in range(RUNS)]
    ours, theirs = (statistics.median(column) * 1000 for column in zip(*rows, strict=True))
    ratio = statistics.median(a / b for a, b in rows)
    print(f"{name}: {ours:.0f} ms; {peer_name}: {theirs:.0f} ms; ratio {ratio:.2f} (medians of {RUNS} pairs)")


def start_agent(setting: Setting) -> "subprocess.Popen[str]":
    """Start `mcp-agent dev`, and return when it serves."""
    agent = subprocess.Popen(
        setting.podman.argv([PYTHON, "-I", "mcp-agent.pyz", "dev", "--state", "state", "--port", "0"]),
        env=setting.env,
        cwd=setting.folder,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert agent.stdout is not None
    greeting = agent.stdout.readline()
    if "serving" not in greeting:
        raise RuntimeError("the agent did not start")
    return agent


def agent_cost(setting: Setting) -> None:
    """Measure the agent's memory after many calls, and its idle processor time."""
    pid = agent_pid(setting)
    before = resident(pid)
    address = (setting.folder / "state/cli/mcp.toml").read_text().rpartition('address = "')[2].split('"')[0]
    ca, token = (setting.folder / "state/ca.pem").read_bytes(), (setting.folder / "state/cli/token").read_text().strip()
    started = time.perf_counter()
    with AgentClient(Node("dev", address), ca, token) as client:
        for _ in range(CALLS):
            client.live_check()
    each = (time.perf_counter() - started) / CALLS
    print(
        f"agent: {before:.0f} MB resident at start, {resident(pid):.0f} MB after {CALLS} calls of {each * 1000:.0f} ms"
    )
    ticks = processor_ticks(pid)
    time.sleep(IDLE_SECONDS)
    used = (processor_ticks(pid) - ticks) / os.sysconf("SC_CLK_TCK")
    print(f"agent: {100 * used / IDLE_SECONDS:.2f} % of one processor while idle, over {IDLE_SECONDS} s")


def agent_pid(setting: Setting) -> int:
    """Return the PID of the agent: the process in the setting with the zipapp in its command line."""
    for process in setting.podman.processes():
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        if b"mcp-agent.pyz" in words and b"setpriv" not in words[0]:
            return process
    raise RuntimeError("the agent is gone")


def resident(pid: int) -> float:
    """Return the resident memory in MB, from /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS:"))


def processor_ticks(pid: int) -> int:
    """Return the process's user and system time in ticks, fields 14 and 15 of /proc/PID/stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


if __name__ == "__main__":
    main()
