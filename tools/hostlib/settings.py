"""containers.conf and storage.conf texts; they are written to our own folders, never over a user's file."""

from pathlib import Path

from tools.hostlib import machine


def containers_conf() -> str:
    """Settings for podman on this machine: its own defaults but where those cannot work.

    Logs and events always go to files, so that a run leaves nothing in the machine's journal.
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
    """Storage in the given folders instead of the user's own; both keys, as podman 4 and 5 read different ones."""
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
