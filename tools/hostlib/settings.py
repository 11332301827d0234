"""The texts of containers.conf and storage.conf, for private folders only."""

from pathlib import Path

from tools.hostlib import machine


def containers_conf() -> str:
    """Return containers.conf for this machine: podman's defaults, except those that do not work here.

    Logs and events go to files, to keep them out of the machine's journal.
    """
    containers = ['log_driver = "k8s-file"']
    engine = ['events_logger = "file"']
    if not machine.is_ordinary():
        engine.append('cgroup_manager = "cgroupfs"')
    if not machine.has_pids_controller():
        containers.append("pids_limit = 0")
    if not machine.has_cgroup2():
        engine.append('runtime = "runc"')
    return "\n".join(["[containers]", *containers, "[engine]", *engine, ""])


def storage_conf(graphroot: Path, runroot: Path) -> str:
    """Return storage.conf with these folders, under the keys of podman 4 and podman 5."""
    return "\n".join(
        [
            "[storage]",
            'driver = "overlay"',
            f'graphroot = "{graphroot}"',
            f'rootless_storage_path = "{graphroot}"',
            f'runroot = "{runroot}"',
            "",
        ]
    )
