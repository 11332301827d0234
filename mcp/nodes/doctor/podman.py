"""Checks of podman as the user mcp: response, version, storage, cgroups. Source: podman-info(1)."""

import json
from collections.abc import Iterator
from typing import Any

from mcp.nodes.doctor.model import Finding, Inspection, error, ok, warning
from mcp.nodes.doctor.script import PODMAN_SECONDS
from mcp.nodes.layout import USER
from mcp.shared.errors import shell_word

AUTH_FILE = "auth.json"  # registry logins, in the home folder
OLDEST = (4, 3)  # of Debian 12
DRIVERS = ("overlay", "vfs", "btrfs")
ENDED_BY_TIMEOUT = ("124", "137")  # exit statuses of timeout(1)


def check(inspection: Inspection) -> Iterator[Finding]:
    """Check podman; yields only a warning if that needs root and we are not root."""
    programs = [line.rpartition("/")[2] for line in inspection.lines("programs")]
    missing = [name for name in ("podman", "newuidmap", "newgidmap") if name not in programs]
    if missing:
        yield error("podman", f"not installed: {', '.join(missing)}", inspection.provision)
        return
    if inspection.uid is None:
        return  # no account to run podman as
    yield from _logins(inspection)
    status, output = inspection.text("podman-status"), inspection.text("podman")
    if "podman" not in inspection.said:
        yield warning("podman", f"podman was not checked: that needs root or {USER}", _become_root(inspection))
    elif output == "not since boot":
        yield warning(
            "podman",
            f"podman has not run as {USER} since the node booted, so it was not checked",
            f"start the agent: {inspection.command('systemctl', 'start', 'mcp-agent.service')}",
        )
    elif status in ENDED_BY_TIMEOUT:
        what = f"podman does not respond: `podman info` as {USER} did not end within {PODMAN_SECONDS} s"
        do = "find the process that blocks it: " + inspection.command(
            "ps", "-u", USER, "-o", "pid,stat,wchan:20,etime,args"
        )
        yield error("podman", what, do)
    elif status != "0":
        last = output.splitlines()[-1] if output else f"exit status {status}"
        yield error("podman", f"`podman info` as {USER} fails: {last[:300]}", "run it there by hand")
    else:
        yield from _answered(inspection, output)


def _logins(inspection: Inspection) -> Iterator[Finding]:
    """Check the file of registry logins, if there is one: the agent does not use one that others could read."""
    mode, _, owner = inspection.text("auth").partition(":")
    path = f"{inspection.home}/{AUTH_FILE}"
    if mode and (mode != "600" or owner != USER):
        what = f"{path} has mode {mode} and belongs to {owner}, so that the agent cannot pull with its logins"
        do = inspection.command("sh", "-c", f"chown {USER}: {shell_word(path)} && chmod 600 {shell_word(path)}")
        yield error("logins", what, do)
    elif mode:
        yield ok("logins", f"{path} is private")


def _become_root(inspection: Inspection) -> str:
    node = inspection.node
    if node.sudo:
        return f"allow {node.ssh or node.name} to run {node.sudo} there without a password"
    return f'set how to become root there: sudo = "sudo" for {node.name} in mcp.toml'


def _answered(inspection: Inspection, output: str) -> Iterator[Finding]:
    try:
        info: dict[str, Any] = json.loads(output[output.index("{") :])  # warnings may precede it
        host, store, version = info["host"], info["store"], str(info["version"]["Version"])
    except (ValueError, KeyError, TypeError):
        yield error("podman", "`podman info` printed invalid JSON", "run it there by hand")
        return
    yield _version(version)
    yield _driver(store)
    yield from _folders(inspection, store)
    yield from _cgroups(inspection, host)


def _version(version: str) -> Finding:
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if parts < OLDEST:
        return error("podman", f"podman {version} is too old: the minimum is 4.3", "upgrade the system")
    return ok("podman", f"podman {version} responds")


def _driver(store: dict[str, Any]) -> Finding:
    driver = str(store.get("graphDriverName"))
    backing = (store.get("graphStatus") or {}).get("Backing Filesystem", "")
    where = f"{driver} in {store.get('graphRoot')}" + (f" on {backing}" if backing else "")
    if driver == "vfs":
        what = f"storage is {where}: each container is a full copy of its image"
        return warning("storage", what, 'driver = "overlay" in storage.conf, `podman system reset`, then recover')
    if driver not in DRIVERS:
        return warning("storage", f"storage is {where}, which is untested", 'driver = "overlay" in storage.conf')
    return ok("storage", f"storage is {where}")


def _folders(inspection: Inspection, store: dict[str, Any]) -> Iterator[Finding]:
    runroot, wanted = str(store.get("runRoot")), f"/run/user/{inspection.uid}/"
    if runroot.startswith(wanted):
        yield ok("runroot", f"run root {runroot}")
    else:
        what = f"podman has pinned its run root to {runroot}, outside {wanted}: containers cannot be stopped"
        do = f"as {USER}: `podman system reset`; then `mcp agent recover {inspection.node.name}`"
        yield error("runroot", what, do)


def _cgroups(inspection: Inspection, host: dict[str, Any]) -> Iterator[Finding]:
    version, manager = str(host.get("cgroupVersion")), str(host.get("cgroupManager"))
    if version != "v2":
        what = f"cgroups are {version}: crun does not run, and limits have no effect"
        yield error("cgroup", what, "boot with systemd.unified_cgroup_hierarchy=1")
    elif manager != "systemd":
        what = f"podman manages cgroups with {manager}: a shutdown can take 90 s"
        yield warning("cgroup", what, f"{inspection.provision}, and check cgroup_manager in containers.conf")
    else:
        yield ok("cgroup", "cgroups v2, managed by systemd")
