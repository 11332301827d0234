"""Run commands as the rootless podman user, in a clean environment."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from tools.hostlib import machine
from tools.hostlib.account import Account
from tools.hostlib.machine import HostError, why_failed

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Rootless:
    """An unprivileged user that can run podman.

    `env` is the complete environment of its children, `home` its HOME, and `runtime` its XDG_RUNTIME_DIR. Start
    children with run() or popen(), or with argv() and env=rootless.env.
    """

    user: str
    uid: int
    gid: int
    home: Path
    runtime: Path
    env: Mapping[str, str]

    def argv(self, command: Sequence[str]) -> list[str]:
        """Return the argv to run a command as this user; the caller passes env=."""
        if os.geteuid() == self.uid:
            return list(command)
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--init-groups", "--", *command]

    def run(
        self,
        command: Sequence[str],
        *,
        check: bool = True,
        timeout: float = 60,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, for at most `timeout` seconds, with text output; `env` extends the environment.

        Raises HostError with the command and its last line on failure (unless check=False) or timeout.
        """
        try:
            done = subprocess.run(
                self.argv(command),
                input=stdin,
                capture_output=True,
                check=False,
                timeout=timeout,
                env={**self.env, **(env or {})},
                cwd=cwd or self.home,
            )
        except FileNotFoundError as error:
            raise HostError(f"{error.filename} is missing: run `python3 tools/host.py ensure --for demo`") from None
        except subprocess.TimeoutExpired:
            raise HostError(f"`{' '.join(command)}` took longer than {timeout:g} s") from None
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        if check and done.returncode != 0:
            why = why_failed(out, err)
            raise HostError(f"`{' '.join(command)}` as {self.user} failed with {done.returncode}: {why}")
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def popen(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a command with pipes for stdout and stderr; the caller ends it."""
        return subprocess.Popen(
            self.argv(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**self.env, **(env or {})},
            cwd=cwd or self.home,
        )

    def give(self, path: Path) -> Path:
        """Give the user ownership of a path, recursively."""
        if machine.is_root():
            for each in [path, *path.rglob("*")]:
                os.chown(each, self.uid, self.gid, follow_symlinks=False)
        return path


def environment(who: Account, home: Path, runtime: Path) -> dict[str, str]:
    """Return a complete environment, with only a non-standard location of podman from the caller's."""
    podman = which("podman")
    path = PATH if podman is None or str(Path(podman).parent) in PATH.split(":") else f"{Path(podman).parent}:{PATH}"
    env = {
        "PATH": path,
        "HOME": str(home),
        "USER": who.user,
        "LOGNAME": who.user,
        "LANG": "C.UTF-8",
        "XDG_RUNTIME_DIR": str(runtime),
    }
    if (who.runtime / "bus").exists():
        env["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={runtime}/bus"
    return env
