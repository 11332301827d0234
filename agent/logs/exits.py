"""Watch for the exit code that conmon leaves when a container ends.

conmon leaves the code in a file named after the container's id and then becomes `podman container cleanup`, which
removes it 30 to 60 ms later. Where a restart policy has the container started again at once, podman itself does not
know the code any more by the time it is asked.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from agent.logs.inotify import IN_MOVED_TO, Inotify
from agent.podman.inspect import ContainerDetails

OPTION = "--exit-dir"  # of conmon(8): a folder that all containers of a user share


def watch(news: Inotify, container: ContainerDetails, tell: Callable[[int], None]) -> Callable[[], None] | None:
    """Call `tell` with the exit code each time the container ends, until the returned callback is called.

    Returns None if its end cannot be watched: it does not run, or the kernel refuses.
    """
    path = _exit_file(container)
    if path is None:
        return None

    def read(mask: int) -> None:
        if mask & IN_MOVED_TO:
            with suppress(OSError, ValueError):  # removed already, or not what conmon writes
                tell(int(path.read_text()))

    return news.watch(path, read)


def _exit_file(container: ContainerDetails) -> Path | None:
    """Return the path of conmon's exit file, from its command line."""
    if not container.conmon:
        return None
    with suppress(OSError, ValueError, IndexError):
        argv = Path(f"/proc/{container.conmon}/cmdline").read_text(errors="surrogateescape").split("\0")
        folder = Path(argv[argv.index(OPTION) + 1])
        return folder / container.identifier if folder.is_absolute() else None
    return None
