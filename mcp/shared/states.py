"""Enumerations of both programs, for the registry, the wire and output."""

from enum import StrEnum


class DesiredState(StrEnum):
    """Desired state of a component; `ignore` is for one without a definition, which is left alone."""

    RUNNING = "running"
    STOPPED = "stopped"
    IGNORE = "ignore"


class ObservedState(StrEnum):
    """Observed state of a component."""

    RUNNING = "running"
    STOPPED = "stopped"  # as desired
    EXITED = "exited"
    COMPLETED = "completed"  # a job that ended with exit code 0
    RESTARTING = "restarting"
    DEGRADED = "degraded"  # unhealthy, paused, or stopping
    REMOVED = "removed"  # no container
    UNREADABLE = "unreadable"  # its entry in the registry is damaged
    UNKNOWN = "unknown"


class Action(StrEnum):
    """The kind of a change, in plans."""

    CREATE = "create"
    REPLACE = "replace"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    REMOVE = "remove"
    REGISTER = "register"  # the container is up to date, its registry entry is not
    CLEAN_UP = "clean up"  # remove containers left by an interrupted deploy
    KEEP = "keep"  # removed from the definition of its service, and left as it is
    IGNORE = "ignore"
    BLOCKED = "blocked"  # impossible; see the reason


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
