"""The read-only base images of nodes, created by debootstrap and cached outside of the tree.

They contain neither `mcp-agent` nor its user, as a node before provisioning.
"""

import hashlib
import json
import shutil
from pathlib import Path

from tools.hostlib import machine
from tools.hostlib.bootstrap import cache, checked, locked, mirror
from tools.hostlib.machine import HostError

FORMAT = 1  # increment when _build() changes with the same packages
SECONDS = 600  # for the creation of an image
SUITES = {"12": "bookworm", "13": "trixie"}
COMMON = (
    *("systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "openssh-server", "python3"),
    *("podman", "crun", "uidmap", "netavark", "aardvark-dns", "catatonit"),
    *("iproute2", "iptables", "sudo", "opendoas", "ca-certificates", "procps", "libstdc++6"),
    *("tcsh", "fish"),  # login shells of operators
)
PACKAGES = {"12": (*COMMON, "slirp4netns"), "13": (*COMMON, "passt", "nftables")}
# Root's podman, and timers that would fire during a test.
MASKED = (
    *("podman.service", "podman.socket", "podman-restart.service", "podman-auto-update.timer"),
    *("podman-auto-update.service", "podman-clean-transient.service"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer"),
    *("systemd-networkd.service", "systemd-timesyncd.service", "e2scrub_reap.service"),
    "systemd-modules-load.service",  # kernel and modules are the machine's
)


def image(debian: str) -> Path:
    """Return the tree of Debian "12" or "13", created at first use in a minute; raises HostError."""
    if not machine.is_root():
        raise HostError("only root can boot nodes: run the tests as root, or leave out tests/fleet")
    recipe = json.dumps([FORMAT, SUITES[debian], sorted(PACKAGES[debian]), MASKED]).encode()
    folder = cache() / "nodes"
    root = folder / f"debian{debian}-{hashlib.sha256(recipe).hexdigest()[:12]}"
    with locked(folder / f"debian{debian}.lock"):
        if not root.is_dir():
            for partial in folder.glob(f"partial-debian{debian}-*"):
                shutil.rmtree(partial)
            partial = folder / f"partial-{root.name}"
            _build(debian, partial)
            partial.rename(root)
    return root


def _build(debian: str, target: Path) -> None:
    packages = ",".join(PACKAGES[debian])
    checked(
        ["debootstrap", "--variant=minbase", f"--include={packages}", SUITES[debian], str(target), mirror()], SECONDS
    )
    for package in (target / "var/cache/apt/archives").glob("*.deb"):
        package.unlink()
    for unit in MASKED:
        link = target / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    for key in (target / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    (target / "etc/machine-id").write_text("")  # each node generates its own at first boot
    (target / "var/lib/dbus/machine-id").unlink(missing_ok=True)  # else copied from this machine
    (target / "etc/hostname").unlink(missing_ok=True)
