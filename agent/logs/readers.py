"""Choose the reader for a container's log."""

from collections.abc import Callable

from agent.logs.inotify import Inotify
from agent.logs.journald.reader import JournaldReader
from agent.logs.k8s_file.reader import K8sFileReader
from agent.logs.model import LoggingDisabled, LogReader, LogSource
from agent.logs.podman_logs import PodmanReader
from agent.podman.client import Podman

PickReader = Callable[[LogReader | LogSource], LogReader]


class Readers:
    """A reader for each log driver, with `podman logs` as the fallback."""

    def __init__(self, podman: Podman, notifier: Inotify) -> None:
        """Take the notifier that watches log files while they are followed."""
        self._files = K8sFileReader(notifier)
        self._journal = JournaldReader()
        self._other = PodmanReader(podman)

    def pick(self, item: LogReader | LogSource) -> LogReader:
        """Return the reader for a source, or the given reader itself. Raises LoggingDisabled."""
        if not isinstance(item, LogSource):
            return item
        if item.driver == "none":
            hint = "set log_driver in its definition, and deploy it"
            raise LoggingDisabled(f"{item.container} has no log: its log driver is none", hint)
        if item.has_file:
            return self._files
        return self._journal if item.driver == "journald" else self._other
