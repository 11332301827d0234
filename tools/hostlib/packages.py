"""Select and install the Debian packages for a purpose."""

import os
import subprocess
from collections.abc import Iterable
from shutil import which

from tools.hostlib import machine
from tools.hostlib.machine import HostError, why_failed

PURPOSES = ("build", "demo", "test")
# Allow for a slow mirror, and wait for a concurrent apt.
APT = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300"]
# These packages start a daemon at installation; tests start their own copies.
UNWANTED_SERVICES = {"docker-registry": "docker-registry.service"}


def needed(purpose: str) -> list[str]:
    """Return the packages for "build", "demo" (which includes build) or "test" (which includes all)."""
    names = ["python3-venv"]
    if purpose in ("demo", "test"):
        names += _podman()
    if purpose == "test":
        names += ["debootstrap", "debian-archive-keyring", "openssl", "docker-registry", "zsh", "fish", "tcsh"]
        names.append(_qemu())
        names += ["systemd-container", "iproute2", "openssh-client"]  # for the nodes of tests/fleet
        names += ["shellcheck", "mandoc"]
        names += ["nix-bin"]  # evaluates deploy/nixos
    return names


def missing(names: Iterable[str]) -> list[str]:
    """Return the packages that are not installed, in order."""
    if not which("dpkg-query"):
        raise HostError(
            "no dpkg: automatic setup supports only Debian 12 and 13; install the equivalents of: " + " ".join(names)
        )
    wanted = list(names)
    argv = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev}\n", *wanted]
    listed = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    present = {line.split()[0] for line in listed.splitlines() if line.split()[1:] == ["ii"]}
    return [name for name in wanted if name not in present]


def install(names: list[str]) -> None:
    """Install packages as root; update the package lists only if they lack one."""
    if not _known(names):
        _apt("update")
    try:
        _apt("install", "--no-install-recommends", *names)
    except HostError:  # outdated lists name files that the mirror no longer has
        _apt("update")
        _apt("install", "--no-install-recommends", *names)
    _silence(names)


def _podman() -> list[str]:
    names = ["podman", "uidmap", "netavark", "aardvark-dns", "catatonit", "busybox-static"]
    # netavark 1.4 calls iptables, that of Debian 13 calls nft; neither package depends on it.
    names += ["slirp4netns", "iptables"] if machine.debian_major() <= 12 else ["passt", "nftables"]
    names.append("crun" if machine.has_cgroup2() else "runc")
    if machine.has_systemd():
        names.append("dbus-user-session")
    return names


def _qemu() -> str:
    return "qemu-user-static" if machine.debian_major() <= 12 else "qemu-user"


def _known(names: list[str]) -> bool:
    argv = ["apt-cache", "policy", *names]
    policy = subprocess.run(argv, capture_output=True, text=True, check=False, env=_environment()).stdout
    candidates = [line.split()[1] for line in policy.splitlines() if line.startswith("  Candidate:")]
    return len(candidates) == len(names) and "(none)" not in candidates


def _apt(*arguments: str) -> None:
    argv = [*APT, *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=_environment())
    if done.returncode != 0:
        raise HostError(f"`{' '.join(argv)}` failed with {done.returncode}: {why_failed(done.stdout, done.stderr)}")


def _silence(names: list[str]) -> None:
    for package, unit in UNWANTED_SERVICES.items():
        if package in names and machine.has_systemd():
            subprocess.run(["systemctl", "--quiet", "disable", "--now", unit], check=False)


def _environment() -> dict[str, str]:
    return os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
