"""A private podman for one run of the demo or the tests, isolated from the user's.

Consists of STATE/private/NAME with HOME, storage and settings, and of an XDG_RUNTIME_DIR below /run/user/UID (podman
4's rootless networks need one below /run). So the pause process, which podman finds through XDG_RUNTIME_DIR, is
private as well. The owner holds a lock file, by which a later run detects the leftovers of a killed one.
"""

import atexit
import contextlib
import fcntl
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tools.hostlib import account, machine, processes, settings
from tools.hostlib.account import Account
from tools.hostlib.machine import HostError
from tools.hostlib.rootless import Rootless, environment


@dataclass(frozen=True)
class Private(Rootless):
    """A Rootless with its own storage, HOME and runtime folder, until remove()."""

    dir: Path
    storage: Path
    lock: IO[str]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def processes(self) -> list[int]:
        """Return the PIDs of all processes of this podman, including containers."""
        return processes.belonging(self.runtime, self.storage)

    def remove(self) -> None:
        """End all containers and helpers and remove all files; idempotent."""
        atexit.unregister(self.remove)
        if self.dir.exists() or self.runtime.exists():
            _destroy(self)
        self.dir.with_suffix(".lock").unlink(missing_ok=True)
        self.lock.close()


def create(name: str | None = None) -> Private:
    """Create a private podman for the account (see account.ours), removed at the end of the process."""
    sweep(name)
    who = account.ours(name)
    with _guard(who):
        private = _at(who, secrets.token_hex(4))
    private.dir.mkdir(mode=0o700)
    for folder in (private.home, private.storage):
        folder.mkdir(mode=0o700)
    (private.dir / "containers.conf").write_text(settings.containers_conf())
    (private.dir / "storage.conf").write_text(settings.storage_conf(private.storage, private.runtime / "containers"))
    private.give(private.dir)
    _make_runtime(private, who)
    atexit.register(private.remove)
    return private


def sweep(name: str | None = None) -> list[str]:
    """Remove leftovers of killed runs of this account; return their names."""
    who = account.ours(name)
    swept = []
    with _guard(who):
        for path in sorted(_parent(who).glob("*.lock")):
            with contextlib.suppress(BlockingIOError):
                _at(who, path.stem).remove()
                swept.append(path.stem)
    return swept


def _parent(who: Account) -> Path:
    return who.state / "private"


@contextlib.contextmanager
def _guard(who: Account) -> Iterator[None]:
    """Exclude concurrent creation and sweeping."""
    parent = _parent(who)
    _make_folders(parent, who)
    guard = os.open(parent, os.O_RDONLY)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield
    finally:
        os.close(guard)


def _make_folders(folder: Path, who: Account) -> None:
    """Create folders like mkdir -p, owned by the account."""
    if not folder.is_dir():
        _make_folders(folder.parent, who)
        folder.mkdir(mode=0o700)
        if machine.is_root():
            os.chown(folder, who.uid, who.gid)


def _at(who: Account, name: str) -> Private:
    """Return the private podman of that name, locked; raises BlockingIOError if another process holds it."""
    parent = _parent(who)
    lock = (parent / f"{name}.lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise
    folder, runtime = parent / name, who.runtime / f"mcp-{name}"
    env = environment(who, folder / "home", runtime)
    env["CONTAINERS_CONF"] = str(folder / "containers.conf")
    env["CONTAINERS_STORAGE_CONF"] = str(folder / "storage.conf")
    # The timers would use the account's default storage; tests call `podman healthcheck run`.
    env["DISABLE_HC_SYSTEMD"] = "true"
    return Private(who.user, who.uid, who.gid, folder / "home", runtime, env, folder, folder / "storage", lock)


def _make_runtime(private: Private, who: Account) -> None:
    """Link the user's bus and manager into the private XDG_RUNTIME_DIR, for podman and systemd-run.

    Uses hard links: rootless networks hide all of /run except XDG_RUNTIME_DIR, and so targets of symbolic links.
    """
    private.runtime.mkdir(mode=0o700)
    for name in ("bus", "systemd/private"):
        if (who.runtime / name).exists():
            link = private.runtime / name
            link.parent.mkdir(mode=0o700, exist_ok=True)
            link.hardlink_to(who.runtime / name)
    private.give(private.runtime)


def _destroy(private: Private) -> None:
    # podman first, as only it knows its scopes and timers in systemd
    with contextlib.suppress(HostError):
        private.run(["podman", "rm", "--all", "--force", "--time", "0"], timeout=30)
    processes.end(private.runtime, private.storage)
    for folder in (private.runtime, private.dir):
        _delete(folder)


def _delete(folder: Path) -> None:
    """Remove a folder as root of a user namespace, as files of containers belong to subordinate users."""
    if machine.is_root():
        shutil.rmtree(folder, ignore_errors=True)
    else:
        subprocess.run(
            ["unshare", "--map-auto", "--map-root-user", "--", "rm", "-rf", str(folder)],
            capture_output=True,
            check=False,
            timeout=60,
        )
    if folder.exists():
        raise HostError(f"{folder} cannot be removed: as root, run `rm -rf {folder}`")
