"""MCP from nothing to logs in a minute: what `make demo` runs, with the built zipapps and a real rootless podman.

Everything happens in a private podman and an empty folder, and is gone at the end, however the demo ends.
"""

import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

if __package__ in (None, ""):  # started as a file: make `tools` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mcp.shared.resources import ROOT
from tools import images
from tools.hostlib import private
from tools.hostlib.machine import HostError
from tools.hostlib.private import Private

DIST = ROOT / "dist"
PROGRAMS = ("mcp.pyz", "mcp-agent.pyz")
FOLLOW_SECONDS = 5
PLAN_HAS_CHANGES = 2  # exit status of `mcp plan --exit-code`

DEFINITION = """\
name = "hello"
node = "dev"

[[components]]
name = "web"
image = "{image}"
[[components.routes]]
port = 443

[[components]]
name = "worker"
image = "{image}"
cmd = ["worker"]
"""


class Demo:
    """The stage: a private podman, and the two zipapps in an empty folder."""

    def __init__(self, podman: Private) -> None:
        """Copies the zipapps into a new folder of the podman's user."""
        self.podman = podman
        self.folder = podman.home / "demo"
        self.folder.mkdir()
        for name in PROGRAMS:
            (self.folder / name).write_bytes((DIST / name).read_bytes())
            (self.folder / name).chmod(0o755)
        self.state = self.folder / "state"
        podman.give(self.folder)

    def start_agent(self) -> "subprocess.Popen[bytes]":
        """`mcp-agent dev`, once it serves."""
        command = ["./mcp-agent.pyz", "dev", "--state", str(self.state), "--port", "0"]
        show(command, "&")
        with (self.folder / "agent.log").open("wb") as log:
            agent = subprocess.Popen(
                self.podman.argv(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=dict(self.podman.env),
                cwd=self.folder,
            )
        assert agent.stdout is not None
        for line in iter(agent.stdout.readline, b"\n"):  # its greeting ends with an empty line
            if not line:
                raise HostError(f"the agent ended: {(self.folder / 'agent.log').read_text()[-500:]}")
            say(line.decode().rstrip())
        return agent

    def mcp(self, *arguments: str, seconds: float = 120, interrupt: bool = False) -> int:
        """Run ./mcp.pyz, and show it; with `interrupt`, press Ctrl-C after so many seconds."""
        show(["./mcp.pyz", *arguments])
        sys.stdout.flush()
        process = subprocess.Popen(
            self.podman.argv(["./mcp.pyz", *arguments]),
            stdin=subprocess.DEVNULL,
            env={**self.podman.env, "MCP_CONFIG": str(self.state / "cli/mcp.toml")},
            cwd=self.folder,
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT if interrupt else signal.SIGKILL)
            return process.wait(10) if interrupt else 1
        finally:
            if process.poll() is None:
                process.kill()

    def dry_run(self, service: str) -> None:
        """Print the steps of a deploy, which must not be empty."""
        title("Print the steps of its deploy")
        if self.mcp("deploy", service, "--dry-run", "--exit-code") != PLAN_HAS_CHANGES:
            raise HostError(f"the dry run of {service} has no changes")

    def expect(self, *arguments: str) -> None:
        """Run ./mcp.pyz, which must succeed."""
        if (status := self.mcp(*arguments)) != 0:
            raise HostError(f"mcp {shlex.join(arguments)} failed with exit status {status}")


def main() -> int:
    """Play the demo; 0 when everything went as it should."""
    missing = [name for name in PROGRAMS if not (DIST / name).is_file()]
    if missing:
        sys.stderr.write(f"demo: {', '.join(missing)} is not built yet; run `make demo`\n")
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    try:
        with private.create() as podman:
            play(podman)
    except HostError as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1
    except KeyboardInterrupt:
        say("interrupted; everything is cleaned up")
        return 130
    say(f"That was MCP. Nothing is left running. ({time.monotonic() - started:.0f} s)")
    return 0


def play(podman: Private) -> None:
    """The demo itself."""
    title(f"A small image, made on the spot (no registry needed), for rootless podman as user {podman.user}")
    image = images.build(podman, "demo")
    say(image)
    demo = Demo(podman)
    title("An agent, with no configuration: one file and one command")
    agent = demo.start_agent()
    try:
        perform(demo, image)
    finally:
        title("Ctrl-C ends the agent")
        agent.send_signal(signal.SIGINT)
        agent.wait(30)
    say(f"agent: exit status {agent.returncode}")


def perform(demo: Demo, image: str) -> None:
    """Deploy a service, look at it from every side, and remove it."""
    title("A service: one file on the operator's machine")
    path = demo.state / "cli/services/hello.toml"
    path.write_text(DEFINITION.format(image=image))
    demo.podman.give(path)
    show(["cat", "services/hello.toml"])
    say(path.read_text().rstrip())

    demo.dry_run("hello")

    title("Deploy it, and see what runs")
    demo.expect("deploy", "hello")
    demo.expect("ps")
    demo.expect("node", "list")

    title("It answers on the port that the agent picked for it")
    port = published_port(demo.podman, "hello-web")
    show(["curl", f"http://127.0.0.1:{port}/"])
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as response:
        say(response.read().decode().strip())

    title(f"Logs of both components, followed for {FOLLOW_SECONDS} seconds, then Ctrl-C")
    demo.mcp("logs", "hello", "--follow", "--tail", "2", seconds=FOLLOW_SECONDS, interrupt=True)
    print()

    title("A bad version does not stay up: the old one is put back, and the command fails")
    path.write_text(DEFINITION.format(image=image).replace('["worker"]', '["fail"]'))
    show(["sed", "-i", "s/worker/fail/", "services/hello.toml"], "# of the cmd line only")
    if demo.mcp("deploy", "hello/worker") != 1:
        raise HostError("the bad deploy did not fail with exit status 1")
    demo.expect("ps")
    demo.expect("history", "hello")

    title("What the definition still asks for, and after it is mended")
    if demo.mcp("plan", "--exit-code") != PLAN_HAS_CHANGES:
        raise HostError("plan did not say that there are changes")
    path.write_text(DEFINITION.format(image=image))
    show(["sed", "-i", "s/fail/worker/", "services/hello.toml"])
    demo.expect("plan")

    title("One component can be stopped and started alone")
    demo.expect("stop", "hello/worker")
    demo.expect("ps")
    demo.expect("start", "hello/worker")

    title("Remove it")
    demo.expect("undeploy", "hello")
    demo.expect("ps")


def published_port(podman: Private, container: str) -> int:
    """The host port of a container's only published port."""
    return int(podman.run(["podman", "port", container]).stdout.rpartition(":")[2])


def title(text: str) -> None:
    """Say what comes next."""
    print(f"\n== {text}", flush=True)


def show(command: list[str], tail: str = "") -> None:
    """Show a command as one would type it."""
    print(f"$ {shlex.join(command)} {tail}".rstrip(), flush=True)


def say(text: str) -> None:
    """Print a result."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
