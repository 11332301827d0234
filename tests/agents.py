"""Real agents as processes, and the real CLI, from the source tree or from zipapps.

For component, podman and end-to-end tests alike:

    home = make_home(tmp_path)                               # certificates, mcp-agent.toml, a token
    with Agent.start(home, env=agent_env(home.folder, podman_folder)) as agent:
        agent.define("web", DEFINITION)
        assert agent.cli.run("deploy", "web").code == 0

`cli.run` runs the CLI of the source tree within this process (tests/inprocess.py), `cli.process` as one of its own.

`Agent.start_dev(folder, env=…)` starts `mcp-agent dev` instead. `command` may be the argv of a zipapp, and `wrap` may
put something in front of it that changes the user (Rootless.argv).
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from agent.admin.pki import KeyPair, make_ca, make_server_certificate
from agent.main import main as agent_main
from mcp.main import main as mcp_main
from mcp.shared.resources import ROOT
from tests import inprocess
from tests.waiting import wait_for

AGENT = (sys.executable, "-m", "agent.main")
CLI = (sys.executable, "-m", "mcp.main")
MEASURED = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}  # see `make coverage`
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NODE = "rift"
START_SECONDS = 180.0  # under qemu, on a machine that is busy with others
STOP_SECONDS = 30.0  # more than an agent has that is stopped in good order, also on a busy machine

Wrap = Callable[[Sequence[str]], list[str]]


@dataclass(frozen=True)
class Outcome:
    """A program that ended."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    @property
    def errors(self) -> list[str]:
        """The lines of its stderr."""
        return self.stderr.splitlines()


def run_program(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: Path = ROOT, timeout: float = 60.0, stdin: str = ""
) -> Outcome:
    """Run a program to its end with exactly this environment."""
    done = subprocess.run(
        argv, input=stdin.encode(), capture_output=True, check=False, env=env, cwd=cwd, timeout=timeout
    )
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    return Outcome(tuple(argv), done.returncode, out, err)


def run_here(
    main: inprocess.Main, args: Sequence[str], *, env: Mapping[str, str], cwd: Path, stdin: str = ""
) -> Outcome:
    """Run the main function of a program with exactly this environment, within this process."""
    code, *output = inprocess.run(main, args, env=env, cwd=cwd, stdin=stdin.encode())
    out, err = (part.decode(errors="replace") for part in output)
    return Outcome(tuple(args), code, out, err)


def agent_env(home: Path, *folders: Path) -> dict[str, str]:
    """A small environment for an agent: `folders` come first on PATH."""
    return {"PATH": ":".join([*map(str, folders), SYSTEM_PATH]), "HOME": str(home), "LANG": "C.UTF-8", **MEASURED}


@dataclass(frozen=True)
class Cli:
    """The CLI with one configuration."""

    config: Path
    command: Sequence[str] = CLI
    cwd: Path = ROOT
    env: Mapping[str, str] = field(default_factory=dict)

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The whole environment of a run."""
        base = {"PATH": SYSTEM_PATH, "HOME": str(self.config.parent), "LANG": "C.UTF-8", "MCP_CONFIG": str(self.config)}
        return {**base, **MEASURED, **self.env, **(extra or {})}

    def run(self, *args: str, env: Mapping[str, str] | None = None, timeout: float = 60.0, stdin: str = "") -> Outcome:
        """Run one command to its end; `timeout` is for a process of its own."""
        if self.command is CLI and inprocess.is_possible():
            return run_here(mcp_main, args, env=self.environment(env), cwd=self.cwd, stdin=stdin)
        return self.process(*args, env=env, timeout=timeout, stdin=stdin)

    def process(
        self, *args: str, env: Mapping[str, str] | None = None, timeout: float = 60.0, stdin: str = ""
    ) -> Outcome:
        """Run one command to its end as a process of its own."""
        argv = [*self.command, *args]
        return run_program(argv, env=self.environment(env), cwd=self.cwd, timeout=timeout, stdin=stdin)

    def popen(self, *args: str) -> "subprocess.Popen[str]":
        """Start one command, with pipes for its output."""
        return subprocess.Popen(
            [*self.command, *args],
            env=self.environment(),
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@dataclass(frozen=True)
class Home:
    """An agent's files: what `mcp-agent server` needs, and below `cli/` what `mcp` needs."""

    folder: Path
    command: Sequence[str] = AGENT
    cwd: Path = ROOT
    wrap: Wrap = list

    @property
    def config(self) -> Path:
        """The agent's configuration."""
        return self.folder / "mcp-agent.toml"

    @property
    def database(self) -> Path:
        """The agent's registry."""
        return self.folder / "mcp.db"

    @property
    def srv(self) -> Path:
        """The folder of the services' files."""
        return self.folder / "srv"

    @property
    def token_file(self) -> Path:
        """The CLI's token."""
        return self.folder / "cli" / "token"

    def write_config(
        self, *, settle: str = "300ms", runtime_timeout: str = "15s", address: str = "127.0.0.1:0", more: str = ""
    ) -> None:
        """Write mcp-agent.toml."""
        self.config.write_text(
            f'[server]\ngrpc_addr = "{address}"\ntls_cert = "{self.folder}/cert.pem"\n'
            f'tls_key = "{self.folder}/key.pem"\n[database]\npath = "{self.database}"\n'
            f'[agent]\nnode_name = "{NODE}"\nsettle = "{settle}"\nruntime_timeout = "{runtime_timeout}"\n'
            f'services_root = "{self.srv}"\n{more}'
        )

    def _is_ours(self) -> bool:
        """Tell if no other user owns a folder on the way: as root, the program would become that user."""
        return all(folder.stat().st_uid in (0, os.geteuid()) for folder in (self.folder, *self.folder.parents))

    def token(self, *args: str) -> Outcome:
        """Run `mcp-agent token ARGS`; flags of `token` itself come from here."""
        words, env = ["token", "--config", str(self.config), *args], agent_env(self.folder)
        if self.command is AGENT and self.wrap is list and inprocess.is_possible() and self._is_ours():
            return run_here(agent_main, words, env=env, cwd=self.cwd)
        return run_program(self.wrap([*self.command, *words]), env=env, cwd=self.cwd)

    def new_token(self, name: str, *options: str) -> str:
        """Make an account and return its token."""
        done = self.token("add", name, *options)
        assert done.code == 0, done.stderr
        return done.stdout.strip()


def make_home(
    folder: Path,
    ca: KeyPair | None = None,
    *,
    command: Sequence[str] = AGENT,
    cwd: Path = ROOT,
    wrap: Wrap = list,
    settle: str = "300ms",
    runtime_timeout: str = "15s",
) -> Home:
    """Make the files for `mcp-agent server` in `folder`, with a token for the operator `kyle`.

    Where `wrap` changes the user, make the folder first and give it to that user afterwards.
    """
    ca = ca or make_ca("MCP test CA")
    folder.mkdir(parents=True, exist_ok=True)
    pair = make_server_certificate(ca, ["localhost", "127.0.0.1"])
    for name, content in (("ca.pem", ca.certificate), ("cert.pem", pair.certificate), ("key.pem", pair.key)):
        (folder / name).write_bytes(content)
    (folder / "key.pem").chmod(0o600)
    (folder / "cli" / "services").mkdir(parents=True, exist_ok=True)
    (folder / "srv").mkdir(exist_ok=True)
    home = Home(folder, command, cwd, wrap)
    home.write_config(settle=settle, runtime_timeout=runtime_timeout)
    done = home.token("add", "kyle", "--output", str(home.token_file))
    assert done.code == 0, done.stderr
    return home


def write_cli_config(home: Home, *addresses: str, ca: Path | None = None) -> Path:
    """Write mcp.toml for agents at these addresses (the first is NODE, then NODE2, NODE3, …); return its path."""
    nodes = "".join(
        f'[[nodes]]\nname = "{NODE}{index or ""}"\naddress = "{address}"\n'
        for index, address in ((0 if n == 0 else n + 1, a) for n, a in enumerate(addresses))
    )
    path = home.folder / "cli" / "mcp.toml"
    path.write_text(f'[auth]\nca_cert = "{ca or home.folder / "ca.pem"}"\n{nodes}')
    return path


@dataclass
class Agent:
    """An agent that runs. As a context manager it is stopped at the end, in good order."""

    process: "subprocess.Popen[bytes]"
    argv: tuple[str, ...]
    env: Mapping[str, str]
    home: Home
    log_file: Path
    address: str
    mcp_toml: Path
    cli_command: Sequence[str] = CLI

    @classmethod
    def start(cls, home: Home, *, env: Mapping[str, str], cli_command: Sequence[str] = CLI) -> Self:
        """Start `mcp-agent server` and wait until it serves."""
        argv = (*home.command, "server", "--config", str(home.config))
        process, log_file, before = _launch(home, argv, env, home.folder)
        address = _wait_served(process, log_file, before)
        return cls(process, argv, env, home, log_file, address, write_cli_config(home, address), cli_command)

    @classmethod
    def start_dev(
        cls,
        folder: Path,
        *,
        env: Mapping[str, str],
        command: Sequence[str] = AGENT,
        cwd: Path = ROOT,
        wrap: Wrap = list,
        cli_command: Sequence[str] = CLI,
        logs: Path | None = None,
        port: int = 0,
    ) -> Self:
        """Start `mcp-agent dev` with its state in `folder` and wait until it serves; `logs` is where its log goes."""
        home = Home(folder, command, cwd, wrap)
        argv = (*command, "dev", "--state", str(folder), "--port", str(port))
        process, log_file, before = _launch(home, argv, env, logs or folder.parent)
        address = _wait_served(process, log_file, before)
        _wait(lambda: f"serving on {address}" in log_file.with_suffix(".out").read_text(), process, log_file)
        return cls(process, argv, env, home, log_file, address, folder / "cli" / "mcp.toml", cli_command)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.kill()  # the test's own failure matters, not how the agent ends
        elif self.process.poll() is None:
            self.stop()

    @property
    def ca(self) -> bytes:
        """The certificate authority of the agent's certificate, in PEM."""
        return (self.home.folder / "ca.pem").read_bytes()

    @property
    def token(self) -> str:
        """The operator's token."""
        return self.home.token_file.read_text().strip()

    @property
    def services(self) -> Path:
        """The folder of service definitions."""
        return self.mcp_toml.parent / "services"

    @property
    def cli(self) -> Cli:
        """The CLI, configured for this agent."""
        return Cli(self.mcp_toml, self.cli_command, self.home.cwd)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.address.rpartition(":")[2])

    def define(self, name: str, text: str) -> Path:
        """Write a service definition."""
        path = self.services / f"{name}.toml"
        path.write_text(text)
        return path

    def log(self) -> str:
        """Everything that it has logged."""
        return self.log_file.read_text(errors="replace")

    def stop(self, number: int = signal.SIGTERM) -> float:
        """End it in good order and return the seconds that it took; fails if they are too many, or the status not 0."""
        began = time.monotonic()
        self.process.send_signal(number)
        return self.wait_stopped(began)

    def wait_stopped(self, began: float) -> float:
        """Wait for an end that was asked for at `began` (time.monotonic)."""
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the agent did not end within {STOP_SECONDS:g} s:\n{self.log()}") from None
        assert code == 0, f"the agent ended with status {code}:\n{self.log()}"
        assert "Traceback" not in self.log(), self.log()
        return time.monotonic() - began

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def open_files(self) -> int:
        """How many file descriptors it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


def _launch(
    home: Home, argv: Sequence[str], env: Mapping[str, str], logs: Path
) -> tuple["subprocess.Popen[bytes]", Path, int]:
    """Start an agent; return it, its log, and how many characters the log had before."""
    log_file = logs / "agent.log"
    with log_file.open("ab") as log, log_file.with_suffix(".out").open("ab") as out:
        before = len(log_file.read_text(errors="replace"))
        process = subprocess.Popen(
            home.wrap(argv), env=env, cwd=home.cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=log
        )
    return process, log_file, before


def _wait_served(process: "subprocess.Popen[bytes]", log_file: Path, before: int) -> str:
    """Wait until the agent says that it serves; return its address."""
    serving = re.compile(r"msg=serving address=(\S+)")
    _wait(lambda: serving.search(log_file.read_text(errors="replace"), before) is not None, process, log_file)
    match = serving.search(log_file.read_text(errors="replace"), before)
    assert match is not None
    return match[1]


def _wait(condition: Callable[[], bool], process: "subprocess.Popen[bytes]", log_file: Path) -> None:
    def log() -> str:
        return log_file.read_text(errors="replace")

    def is_there() -> bool:
        ended = process.poll() is not None  # asked first: what it wrote at its end counts
        if condition():
            return True
        assert not ended, f"the agent ended with status {process.returncode}:\n{log()}"
        return False

    try:
        wait_for(is_there, START_SECONDS, lambda: f"{log()}\nthat it serves")
    except AssertionError:
        process.kill()
        raise
