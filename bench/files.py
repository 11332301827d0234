"""Measure file transfers: `python -m bench.files`, also a part of `make bench`.

`mcp push` and `mcp pull` of a large file against an agent on loopback, in turns with scp to an sshd on loopback (if
installed, or named by BENCH_SSHD) and with dd and fsync, the limit of the disk. Ratios are per round. mcp checks a
SHA-256 and syncs the file to disk, scp does neither. Prints medians, without limits.
"""

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.run import PYTHON, Setting, agent_pid, prepare, resident, seconds, start_agent
from tools.hostlib import private

SIZE = 500_000_000  # bytes
ROUNDS = 7
SSHD_PORT = 22022


def main() -> None:
    """Measure both directions."""
    with private.create() as podman:
        setting = prepare(podman)
        make_file(setting)
        agent = start_agent(setting)
        try:
            with sshd(setting) as scp:
                before = resident(agent_pid(setting))
                compare("push", push_commands(setting, scp), setting)
                compare("pull", pull_commands(setting, scp), setting)
            print(f"agent: {before:.0f} MB resident before, {resident(agent_pid(setting)):.0f} MB after")
        finally:
            agent.terminate()
            agent.wait(30)


def make_file(setting: Setting) -> None:
    """Create an incompressible file."""
    block = os.urandom(1_000_000)
    data = setting.folder / "data"
    with data.open("wb") as file:
        for number in range(SIZE // len(block)):
            file.write(number.to_bytes(8, "big") + block[8:])
    setting.podman.give(data)


def push_commands(setting: Setting, scp: list[str]) -> dict[str, list[str]]:
    """Return the commands that copy the file to the node, by name; mcp first."""
    commands = {"mcp push": [PYTHON, "-I", "mcp.pyz", "push", "data", "web/data", "--node", "dev"]}
    if scp:
        commands["scp"] = [*scp, "data", f"{setting.podman.user}@127.0.0.1:{setting.folder}/by-scp"]
    return commands | {"dd conv=fsync": ["dd", "if=data", "of=by-dd", "bs=512K", "conv=fsync", "status=none"]}


def pull_commands(setting: Setting, scp: list[str]) -> dict[str, list[str]]:
    """Return the commands that copy the file back, by name; mcp first."""
    commands = {"mcp pull": [PYTHON, "-I", "mcp.pyz", "pull", "web/data", "back", "--node", "dev"]}
    if scp:
        commands["scp"] = [*scp, f"{setting.podman.user}@127.0.0.1:{setting.folder}/by-scp", "back-by-scp"]
    return commands | {"dd conv=fsync": ["dd", "if=by-dd", "of=back-by-dd", "bs=512K", "conv=fsync", "status=none"]}


def compare(name: str, commands: dict[str, list[str]], setting: Setting) -> None:
    """Time the commands in turns; print each speed, and the ratio of the first to the others."""
    for command in commands.values():
        seconds(command, setting)
    rounds = [{key: seconds(command, setting) for key, command in commands.items()} for _ in range(ROUNDS)]
    ours, *others = commands
    for key in commands:
        taken = statistics.median(each[key] for each in rounds)
        print(f"{name}, {SIZE // 1_000_000} MB: {key}: {taken:.2f} s, {SIZE / 1e6 / taken:.0f} MB/s")
    for key in others:
        ratio = statistics.median(each[ours] / each[key] for each in rounds)
        print(f"{name}, {SIZE // 1_000_000} MB: {ours} takes {ratio:.2f} times as long as {key} (median of {ROUNDS})")


@contextmanager
def sshd(setting: Setting) -> Iterator[list[str]]:
    """Run an sshd on loopback as the unprivileged user; yields the start of an scp command, or an empty list."""
    program = os.environ.get("BENCH_SSHD") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if not program:
        print("scp is not measured: no sshd; install openssh-server, or set BENCH_SSHD")
        yield []
        return
    folder = setting.folder / "ssh"
    folder.mkdir()
    for name in ("host", "user"):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    config = folder / "sshd_config"
    config.write_text(
        f"Port {SSHD_PORT}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        "StrictModes no\nUsePAM no\nPidFile none\nSubsystem sftp internal-sftp\nForceCommand internal-sftp\n"
    )
    setting.podman.give(folder)
    server = subprocess.Popen(
        setting.podman.argv([program, "-D", "-e", "-f", str(config)]), env=setting.env, stderr=subprocess.DEVNULL
    )
    try:
        time.sleep(1)
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "Compression=no"]
        yield ["scp", "-q", "-P", str(SSHD_PORT), "-i", f"{folder}/user", *[f"-o{option}" for option in options]]
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    main()
