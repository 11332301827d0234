"""podman as the user mcp: that it answers, and where it keeps its things. Source: podman-info(1)."""

import json
from collections.abc import Iterator
from typing import Any

from mcp.nodes.doctor.model import Finding, There, error, ok, warning
from mcp.nodes.doctor.script import PODMAN_SECONDS
from mcp.nodes.layout import USER

OLDEST = (4, 3)  # Debian 12's
DRIVERS = ("overlay", "vfs", "btrfs")
ENDED_BY_TIMEOUT = ("124", "137")  # exit statuses of timeout(1)


def check(there: There) -> Iterator[Finding]:
    """What can be said of podman; nothing where only root could ask, and we are not."""
    programs = [line.rpartition("/")[2] for line in there.lines("programs")]
    missing = [name for name in ("podman", "newuidmap", "newgidmap") if name not in programs]
    if missing:
        yield error("podman", f"not installed: {', '.join(missing)}", there.provision)
        return
    if there.uid is None:
        return  # there is nobody yet whose podman could be asked
    status, said = there.text("podman-status"), there.text("podman")
    if "podman" not in there.said:
        yield warning("podman", f"podman was not looked at: only root and {USER} can", _become_root(there))
    elif said == "not since boot":
        yield warning(
            "podman",
            f"podman has not run as {USER} since the node booted, and was not asked",
            f"start the agent: {there.command('systemctl', 'start', 'mcp-agent.service')}",
        )
    elif status in ENDED_BY_TIMEOUT:
        what = f"podman does not answer: `podman info` as {USER} did not end within {PODMAN_SECONDS} s"
        do = "look what holds it up: " + there.command("ps", "-u", USER, "-o", "pid,stat,wchan:20,etime,args")
        yield error("podman", what, do)
    elif status != "0":
        last = said.splitlines()[-1] if said else f"exit status {status}"
        yield error("podman", f"`podman info` as {USER} fails: {last[:300]}", "see what it says there by hand")
    else:
        yield from _answered(there, said)


def _become_root(there: There) -> str:
    if there.node.sudo:
        return f"let {there.node.ssh or there.node.name} there run {there.node.sudo} without a password"
    return f'say how to become root there: sudo = "sudo" for {there.node.name} in mcp.toml'


def _answered(there: There, said: str) -> Iterator[Finding]:
    try:
        info: dict[str, Any] = json.loads(said[said.index("{") :])  # warnings may come before it
        host, store, version = info["host"], info["store"], str(info["version"]["Version"])
    except (ValueError, KeyError, TypeError):
        yield error("podman", "`podman info` printed something that is not its JSON", "see what it says there by hand")
        return
    yield _version(version)
    yield _driver(store)
    yield from _folders(there, store)
    yield from _cgroups(there, host)


def _version(version: str) -> Finding:
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if parts < OLDEST:
        return error("podman", f"podman {version} is too old: 4.3 is the oldest that works", "upgrade the system")
    return ok("podman", f"podman {version} answers")


def _driver(store: dict[str, Any]) -> Finding:
    driver = str(store.get("graphDriverName"))
    backing = (store.get("graphStatus") or {}).get("Backing Filesystem", "")
    where = f"{driver} in {store.get('graphRoot')}" + (f" on {backing}" if backing else "")
    if driver == "vfs":
        what = f"storage is {where}: each container is a whole copy of its image"
        return warning("storage", what, 'driver = "overlay" in storage.conf, `podman system reset`, then recover')
    if driver not in DRIVERS:
        return warning("storage", f"storage is {where}, which nobody has tried", 'driver = "overlay" in storage.conf')
    return ok("storage", f"storage is {where}")


def _folders(there: There, store: dict[str, Any]) -> Iterator[Finding]:
    runroot, wanted = str(store.get("runRoot")), f"/run/user/{there.uid}/"
    if runroot.startswith(wanted):
        yield ok("runroot", f"run root {runroot}")
    else:
        what = f"podman has pinned its run root {runroot}, which is not below {wanted}: containers cannot be stopped"
        do = f"as {USER}: `podman system reset`; then `mcp agent recover {there.node.name}`"
        yield error("runroot", what, do)


def _cgroups(there: There, host: dict[str, Any]) -> Iterator[Finding]:
    version, manager = str(host.get("cgroupVersion")), str(host.get("cgroupManager"))
    if version != "v2":
        what = f"cgroups are {version}: crun refuses to run, and no limits can be set"
        yield error("cgroup", what, "boot with systemd.unified_cgroup_hierarchy=1")
    elif manager != "systemd":
        what = f"podman manages cgroups by {manager}: a shutdown can then take 90 s"
        yield warning("cgroup", what, f"{there.provision}, and look for cgroup_manager in containers.conf")
    else:
        yield ok("cgroup", "cgroups v2, managed by systemd")
