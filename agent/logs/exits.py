"""Watch for the exit code that conmon writes when a container exits.

conmon writes the code to a file named after the container's id and then becomes `podman container cleanup`, which
removes the file 30 to 60 ms later. If a restart policy restarts the container at once, `podman inspect` no longer
shows the code.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from agent.logs.inotify import IN_MOVED_TO, Inotify
from agent.podman.inspect import ContainerDetails

OPTION = "--exit-dir"  # of conmon(8): a folder shared by all containers of a user


def watch(notifier: Inotify, container: ContainerDetails, on_exit: Callable[[int], None]) -> Callable[[], None] | None:
    """Call `on_exit` with the exit code each time the container exits; return a callback that stops this.

    Returns None if the exit cannot be watched: the container is not running, or the kernel refuses.
    """
    path = _exit_file(container)
    if path is None:
        return None

    def read(mask: int) -> None:
        if mask & IN_MOVED_TO:
            with suppress(OSError, ValueError):  # removed already, or not written by conmon
                on_exit(int(path.read_text()))

    return notifier.watch(path, read)


def _exit_file(container: ContainerDetails) -> Path | None:
    """Return the path of conmon's exit file, from its command line."""
    if not container.conmon:
        return None
    with suppress(OSError, ValueError, IndexError):
        argv = Path(f"/proc/{container.conmon}/cmdline").read_text(errors="surrogateescape").split("\0")
        folder = Path(argv[argv.index(OPTION) + 1])
        return folder / container.identifier if folder.is_absolute() else None
    return None
