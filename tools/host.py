#!/usr/bin/python3
"""Set up this machine: Debian packages, and rootless podman for an unprivileged user.

Needs no package and no virtual environment. Idempotent, and quick if nothing is missing. Exit status: 0 ready, 1 not
ready (one line on stderr says what to do), 2 usage.
"""

import argparse
import shlex
import sys
from functools import partial
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 (this is the one file that an older Python may be given)
    sys.exit(f"host: Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
if __package__ in (None, ""):  # started as a file: make `tools` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import images
from tools.hostlib import account, machine, packages, private
from tools.hostlib.machine import HostError


def ensure(purpose: str, user: str | None = None) -> None:
    """Install the packages for a purpose and set up its user, reporting on stdout."""
    absent = packages.missing(packages.needed(purpose))
    if absent and not machine.is_root():
        raise HostError(f"missing: {' '.join(absent)}; run this once: {_command(purpose)}")
    if absent:
        _say(f"installing {' '.join(absent)}")
        packages.install(absent)
    if purpose != "build":
        _prepare(purpose, user)


def check(user: str | None = None) -> None:
    """Run a container in a temporary private storage; raises HostError with the reason of a failure."""
    with private.create(user) as podman:
        reference = images.build(podman, "brief")
        podman.run(["podman", "network", "create", "check"])
        done = podman.run(["podman", "run", "--rm", "--network", "check", reference, "echo", "hello"])
        if done.stdout != "hello\n":
            raise HostError(f"a container printed {done.stdout!r} instead of hello")
        _say(f"rootless podman works as {podman.user}")


def _prepare(purpose: str, user: str | None) -> None:
    try:
        done = account.prepare(user)
    except HostError as error:
        if machine.is_root():
            raise
        raise HostError(f"{error}; or all at once: {_command(purpose)}") from None
    for line in done:
        _say(line)
    for name in private.sweep(user):
        _say(f"removed the leftovers of a killed run ({name})")


def _command(purpose: str) -> str:
    """Return the command with which root installs everything missing for this user."""
    name = account.ours().user
    script = Path(__file__).resolve()
    return shlex.join(["sudo", sys.executable, str(script), "ensure", "--for", purpose, "--user", name])


def _say(text: str) -> None:
    print(f"host: {text}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="host.py", description="Set up this machine for build, demo and tests.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("ensure", "install and set up what is missing"),
        ("check", "run a container with rootless podman"),
        ("sweep", "remove the leftovers of killed runs"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--user", help="prepare podman for this user (default: mcp-test for root, else yourself)")
        if name == "ensure":
            command.add_argument("--for", dest="purpose", choices=packages.PURPOSES, default="test")
    return parser.parse_args()


def _sweep(user: str | None) -> None:
    for name in private.sweep(user):
        _say(f"removed {name}")


def main() -> int:
    """Run a command; report expected failures in one line."""
    given = _arguments()
    commands = {"check": partial(check, given.user), "sweep": partial(_sweep, given.user)}
    if given.command == "ensure":
        commands["ensure"] = partial(ensure, given.purpose, given.user)
    return machine.exit_code("host", commands[given.command])


if __name__ == "__main__":
    sys.exit(main())
