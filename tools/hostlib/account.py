"""The unprivileged account that runs podman: the current user, or a dedicated system user for root.

Its home is in /srv, not /var/lib: podman 4's rootless bridge networks mount an empty folder over /var/lib if
/var/lib/cni does not exist, which hides storage below it ("network not found").
"""

import os
import pwd
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tools.hostlib import machine
from tools.hostlib.machine import HostError

NAME = "mcp-test"
HOME = Path("/srv/mcp-test")
RANGE = 65536  # number of IDs a container image may use
FIRST = 100_000  # as in Debian's useradd
TUN = Path("/dev/net/tun")


@dataclass(frozen=True)
class Account:
    """A user of this machine."""

    user: str
    uid: int
    gid: int
    home: Path

    @property
    def runtime(self) -> Path:
        """The XDG_RUNTIME_DIR of logind, as podman expects it."""
        return Path(f"/run/user/{self.uid}")

    @property
    def state(self) -> Path:
        """The folder for podman settings and private storage."""
        return self.home if self.home == HOME else self.home / ".local/state/mcp-test"


def ours(name: str | None = None) -> Account:
    """Return the account to run podman as: `name` if given, mcp-test for root, else the current user."""
    try:
        wanted = name or (NAME if machine.is_root() else pwd.getpwuid(os.geteuid()).pw_name)
        entry = pwd.getpwnam(wanted)
    except KeyError:
        what = name or (NAME if machine.is_root() else f"number {os.geteuid()}")
        raise HostError(f"no user {what}: run `python3 tools/host.py ensure --for demo`") from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir))


def prepare(name: str | None = None) -> list[str]:
    """Set up the account; return the actions taken, one line each.

    Idempotent. Raises HostError if root is required.
    """
    done = [] if name or not machine.is_root() else _make_user()
    account = ours(name)
    return done + _give_ranges(account) + _open_tun() + _make_runtime(account)


def _make_user() -> list[str]:
    done = []
    try:
        pwd.getpwnam(NAME)
    except KeyError:
        _root(
            "useradd",
            "--system",
            "--user-group",
            "--home-dir",
            str(HOME),
            "--no-create-home",
            "--shell",
            "/usr/sbin/nologin",
            "--comment",
            "MCP demo and tests",
            NAME,
        )
        done.append(f"made the system user {NAME}, home {HOME}")
    account = ours()
    if not account.home.is_dir():
        account.home.mkdir(mode=0o700, parents=True)
        os.chown(account.home, account.uid, account.gid)
    return done


def _give_ranges(account: Account) -> list[str]:
    done = []
    for kind, option in (("subuid", "--add-subuids"), ("subgid", "--add-subgids")):
        ranges = subordinate(Path("/etc", kind).read_text() if Path("/etc", kind).exists() else "")
        if any(owner in (account.user, str(account.uid)) for owner, _, _ in ranges):
            continue
        first = free_range(ranges)
        wanted = f"{first}-{first + RANGE - 1}"
        _root("usermod", option, wanted, account.user)
        done.append(f"gave {account.user} the {kind} range {wanted}")
    return done


def subordinate(text: str) -> list[tuple[str, int, int]]:
    """Parse /etc/subuid or /etc/subgid into (owner, first, count), skipping malformed lines."""
    fields = [line.strip().split(":") for line in text.splitlines()]
    return [(f[0], int(f[1]), int(f[2])) for f in fields if len(f) == 3 and f[1].isdigit() and f[2].isdigit()]


def free_range(ranges: list[tuple[str, int, int]]) -> int:
    """Return the start of a block of RANGE IDs that overlaps no range (newuidmap refuses overlaps)."""
    first = FIRST
    for _, start, count in sorted(ranges, key=lambda item: item[1]):
        if start < first + RANGE and first < start + count:
            first = start + count
    return first


def _open_tun() -> list[str]:
    """Make /dev/net/tun accessible to rootless networks: udev sets 0666, without udev it stays 0600."""
    done = []
    if not TUN.exists():
        if not machine.is_root():
            raise HostError(f"{TUN} is missing: as root, run `modprobe tun`")
        subprocess.run(["modprobe", "tun"], capture_output=True, check=False)
        if not TUN.exists():
            TUN.parent.mkdir(parents=True, exist_ok=True)
            os.mknod(TUN, 0o666 | stat.S_IFCHR, os.makedev(10, 200))
        done.append(f"made {TUN}")
    if not _usable(TUN):
        _root("chmod", "0666", str(TUN))
        done.append(f"opened {TUN} to everybody, as udev does")
    return done


def _usable(device: Path) -> bool:
    """Check the mode, as access(2) always succeeds for root."""
    if machine.is_root():
        return device.stat().st_mode & 0o006 == 0o006
    return os.access(device, os.R_OK | os.W_OK)


def _make_runtime(account: Account) -> list[str]:
    """Create XDG_RUNTIME_DIR through logind, or without logind, in the same form."""
    if machine.has_systemd() and machine.is_root():
        return _make_session(account)
    if account.runtime.is_dir():
        return []
    if not machine.is_root():
        raise HostError(
            f"{account.runtime} is missing: log in again, or as root run `loginctl enable-linger {account.user}`"
        )
    account.runtime.parent.mkdir(mode=0o755, exist_ok=True)
    account.runtime.mkdir(mode=0o700)
    os.chown(account.runtime, account.uid, account.gid)
    return [f"made {account.runtime}"]


def _make_session(account: Account) -> list[str]:
    """Enable lingering, so that containers run in the user's own session."""
    bus = account.runtime / "bus"
    if bus.exists():
        return []
    _root("loginctl", "enable-linger", account.user)
    if account.user == NAME:  # a session started before the installation of dbus-user-session has no bus
        _root("systemctl", "restart", f"user@{account.uid}.service")
    _await(bus)
    return [f"let {account.user} linger, so that its containers have a session"]


def _await(path: Path, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > end:
            raise HostError(f"{path} did not appear in {seconds:.0f} s: is dbus-user-session installed?")
        time.sleep(0.05)


def _root(*argv: str) -> None:
    if not machine.is_root():
        raise HostError(f"run this once as root: {' '.join(argv)}")
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HostError(f"`{' '.join(argv)}` failed with {done.returncode}: {done.stderr.strip()}")
