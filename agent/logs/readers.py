"""Which reader reads a container's log."""

from collections.abc import Callable

from agent.logs.inotify import Inotify
from agent.logs.journald.reader import JournaldReader
from agent.logs.k8s_file.reader import K8sFile
from agent.logs.model import LogReader, LogsNowhere, LogSource
from agent.logs.podman_logs import PodmanReader
from agent.podman.client import Podman

Wrap = Callable[[LogReader | LogSource], LogReader]


class Readers:
    """A reader for each log driver; `podman logs` for those that have none of their own."""

    def __init__(self, podman: Podman, news: Inotify) -> None:
        """`news` is asked for changes of log files, only while they are followed."""
        self._files = K8sFile(news)
        self._journal = JournaldReader()
        self._other = PodmanReader(podman)

    def pick(self, what: LogReader | LogSource) -> LogReader:
        """The reader of a source; a reader is its own. Raises LogsNowhere."""
        if not isinstance(what, LogSource):
            return what
        if what.driver == "none":
            hint = "set log_driver in its definition, and deploy it"
            raise LogsNowhere(f"{what.container} logs nowhere: its log driver is none", hint)
        if what.has_file:
            return self._files
        return self._journal if what.driver == "journald" else self._other
