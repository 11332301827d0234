"""Measure `ps`, `agent status` and `node list` with 50 agents on one machine, compared with one agent.

Real agents from the source tree, each with its registry and port; the CLI is the built zipapp, timed as a whole
process. A stub of podman without containers keeps 50 podmans from competing for the processors. One and 50 agents
take turns. Unlike in a real fleet, agents and CLI share the processors, so the processor time of both is printed as
well. No limits.
"""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mcp.shared.resources import ROOT
from tests.agents import NODE, Agent, Home, agent_env, make_home, write_cli_config

DIST = ROOT / "dist"
PYTHON = "/usr/bin/python3"
AGENTS = 50
RUNS = 15
COMMANDS = (["ps"], ["agent", "status"], ["node", "list"])
TICKS = os.sysconf("SC_CLK_TCK")
PODMAN = """\
#!/bin/sh
case "$1" in
version) echo '{"Client": {"Version": "4.3.1"}}' ;;
*) echo '[]' ;;
esac
"""


def main() -> None:
    """Measure all commands."""
    with tempfile.TemporaryDirectory() as folder, agents(Path(folder)) as started:
        home = started[0].home
        addresses = [agent.address for agent in started]
        env = {**agent_env(home.folder), "MCP_CONFIG": str(home.folder / "cli/mcp.toml")}
        print(f"{os.cpu_count()} processors, {len(started)} agents, a stub of podman")
        for command in COMMANDS:
            measure(command, started, addresses, env)


@contextmanager
def agents(folder: Path) -> Iterator[list[Agent]]:
    """Run AGENTS agents with a common token and CA."""
    binaries = folder / "bin"
    binaries.mkdir()
    (binaries / "podman").write_text(PODMAN)
    (binaries / "podman").chmod(0o755)
    first = make_home(folder / "agent0")
    started: list[Agent] = []
    try:
        for number in range(AGENTS):
            home = first if number == 0 else copy(first, folder / f"agent{number}")
            started.append(Agent.start(home, env=agent_env(home.folder, binaries)))
        yield started
    finally:
        for agent in started:
            agent.process.terminate()
        for agent in started:
            agent.process.wait(30)


def copy(first: Home, folder: Path) -> Home:
    """Copy the first agent's files, including its token, for another one."""
    shutil.copytree(first.folder, folder)
    home = Home(folder)
    home.write_config()
    return home


def measure(command: Sequence[str], started: Sequence[Agent], addresses: Sequence[str], env: dict[str, str]) -> None:
    """Measure a command with one node and with all, in turns."""
    rows, home, before = [], started[0].home, busy(started)
    for number in range(RUNS + 1):
        alone, every = (timed(command, home, asked, env) for asked in (addresses[:1], addresses))
        if number:  # the first one warms up
            rows.append((alone, every))
    one, all_of_them = (statistics.median(pair[side][0] for pair in rows) * 1000 for side in (0, 1))
    busy_one, busy_all = (statistics.median(pair[side][1] for pair in rows) * 1000 for side in (0, 1))
    ratio = statistics.median(every[0] / alone[0] for alone, every in rows)
    print(
        f"mcp {' '.join(command)}: 1 node {one:.0f} ms, {len(addresses)} nodes {all_of_them:.0f} ms; ratio {ratio:.2f}"
        f" (medians of {RUNS} pairs); the CLI's own processor time {busy_one:.0f} and {busy_all:.0f} ms,"
        f" the agents' {(busy(started) - before) / (RUNS + 1) * 1000:.0f} ms"
    )


def busy(started: Sequence[Agent]) -> float:
    """Return the processor seconds of the agents and their children: proc(5), fields 14 to 17 of stat."""
    stats = [Path(f"/proc/{agent.process.pid}/stat").read_text().rpartition(")")[2].split() for agent in started]
    return sum(int(ticks) for stat in stats for ticks in stat[11:15]) / TICKS


def timed(command: Sequence[str], home: Home, addresses: Sequence[str], env: dict[str, str]) -> tuple[float, float]:
    """Return the duration and processor time of a run, in seconds."""
    write_cli_config(home, *addresses)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [PYTHON, "-I", DIST / "mcp.pyz", *command], env=env, check=False, capture_output=True, text=True
    )
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0 or NODE in done.stderr:
        sys.exit(f"mcp {' '.join(command)} failed: {done.stderr}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
