"""Words with a fixed set of values that both programs use: in the registry, on the wire and in output."""

from enum import StrEnum


class DesiredState(StrEnum):
    """State that a component should have; one to be ignored is in no definition, and left as it is."""

    RUNNING = "running"
    STOPPED = "stopped"
    IGNORE = "ignore"


class ObservedState(StrEnum):
    """State that a component has."""

    RUNNING = "running"
    STOPPED = "stopped"  # as it should be
    EXITED = "exited"
    RESTARTING = "restarting"
    DEGRADED = "degraded"  # unhealthy, paused, or on its way down
    REMOVED = "removed"  # there is no container
    UNKNOWN = "unknown"


class DeployResult(StrEnum):
    """Outcome of a deploy in the history."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class AccountType(StrEnum):
    """Kind of account, in MCIAS and in the local backend."""

    HUMAN = "human"
    SYSTEM = "system"


class LogStream(StrEnum):
    """Output stream of a container, in JSON and in the k8s-file format."""

    STDOUT = "stdout"
    STDERR = "stderr"
