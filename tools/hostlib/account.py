"""The unprivileged account that runs podman: ourselves, or a system user of our own when we are root.

Its home lies in /srv and not in /var/lib: podman 4's rootless bridge networks mount an empty folder over
/var/lib where /var/lib/cni does not exist, and storage below it then vanishes ("network not found").
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
RANGE = 65536  # IDs a container image may use
FIRST = 100_000  # where Debian's useradd begins, too
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
        """Where logind puts XDG_RUNTIME_DIR, and where podman looks for it."""
        return Path(f"/run/user/{self.uid}")

    @property
    def state(self) -> Path:
        """Our own folder of that user: podman settings and private storage."""
        return self.home if self.home == HOME else self.home / ".local/state/mcp-test"


def ours(name: str | None = None) -> Account:
    """The account to run podman as: NAME if given, mcp-test for root, else whoever we are."""
    try:
        wanted = name or (NAME if machine.is_root() else pwd.getpwuid(os.geteuid()).pw_name)
        entry = pwd.getpwnam(wanted)
    except KeyError:
        what = name or (NAME if machine.is_root() else f"number {os.geteuid()}")
        raise HostError(f"there is no user {what}: run `python3 tools/host.py ensure --for demo`") from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir))


def prepare(name: str | None = None) -> list[str]:
    """Make the account ready, as far as we may; return what was done, one line each (nothing: []).

    Safe to repeat. Raises HostError where only root can do what is missing.
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
    """Parse /etc/subuid or /etc/subgid into (owner, first, count); malformed lines are left out."""
    fields = [line.strip().split(":") for line in text.splitlines()]
    return [(f[0], int(f[1]), int(f[2])) for f in fields if len(f) == 3 and f[1].isdigit() and f[2].isdigit()]


def free_range(ranges: list[tuple[str, int, int]]) -> int:
    """The first ID of a block of RANGE that overlaps none of the ranges (newuidmap refuses overlaps)."""
    first = FIRST
    for _, start, count in sorted(ranges, key=lambda item: item[1]):
        if start < first + RANGE and first < start + count:
            first = start + count
    return first


def _open_tun() -> list[str]:
    """Rootless networks open /dev/net/tun; udev makes it 0666, machines without udev leave it 0600."""
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
    """Root asks on behalf of another user, so that access(2) would tell it nothing."""
    if machine.is_root():
        return device.stat().st_mode & 0o006 == 0o006
    return os.access(device, os.R_OK | os.W_OK)


def _make_runtime(account: Account) -> list[str]:
    """XDG_RUNTIME_DIR comes from logind, or where there is none from us, made as logind would."""
    if machine.has_systemd() and machine.is_root():
        return _make_session(account)
    if account.runtime.is_dir():
        return []
    if not machine.is_root():
        raise HostError(
            f"{account.runtime} is missing: log in afresh, or as root run `loginctl enable-linger {account.user}`"
        )
    account.runtime.parent.mkdir(mode=0o755, exist_ok=True)
    account.runtime.mkdir(mode=0o700)
    os.chown(account.runtime, account.uid, account.gid)
    return [f"made {account.runtime}"]


def _make_session(account: Account) -> list[str]:
    """Let the user linger: podman's containers then live in its own session, whoever starts them."""
    bus = account.runtime / "bus"
    if bus.exists():
        return []
    _root("loginctl", "enable-linger", account.user)
    if account.user == NAME:  # a session that is older than dbus-user-session has no bus
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
        raise HostError(f"root has to run this once: {' '.join(argv)}")
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HostError(f"`{' '.join(argv)}` failed with {done.returncode}: {done.stderr.strip()}")
