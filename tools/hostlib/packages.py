"""Debian packages: which ones a purpose needs, which are missing, and how they get installed."""

import os
import subprocess
from collections.abc import Iterable
from shutil import which

from tools.hostlib import machine
from tools.hostlib.machine import HostError, why_failed

PURPOSES = ("build", "demo", "test")
# Installing is slow only over a slow mirror; another apt run on the machine is waited for, not fought with.
APT = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300"]
# These packages start a daemon when they are installed; tests start their own copy and need none.
UNWANTED_SERVICES = {"docker-registry": "docker-registry.service"}


def needed(purpose: str) -> list[str]:
    """Package names for "build", "demo" (which builds first) or "test" (which needs everything)."""
    names = ["python3-venv"]
    if purpose in ("demo", "test"):
        names += _podman()
    if purpose == "test":
        names += ["debootstrap", "debian-archive-keyring", "openssl", "docker-registry", "zsh", "fish", _qemu()]
        names += ["systemd-container", "iproute2", "openssh-client"]  # for the nodes of tests/fleet
        names += ["shellcheck", "mandoc"]
        names += ["nix-bin"]  # evaluates deploy/nixos
    return names


def missing(names: Iterable[str]) -> list[str]:
    """Those of the packages that are not installed, in the order given."""
    if not which("dpkg-query"):
        raise HostError(
            "this machine has no dpkg: only Debian 12 and 13 are set up automatically; "
            "install the equivalents of: " + " ".join(names)
        )
    wanted = list(names)
    argv = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev}\n", *wanted]
    listed = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    present = {line.split()[0] for line in listed.splitlines() if line.split()[1:] == ["ii"]}
    return [name for name in wanted if name not in present]


def install(names: list[str]) -> None:
    """Install the packages as root; the package lists are renewed only if they do not have them."""
    if not _known(names):
        _apt("update")
    try:
        _apt("install", "--no-install-recommends", *names)
    except HostError:  # lists that are too old name files the mirror no longer has
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
