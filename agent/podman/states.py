"""States of containers and health checks in podman's output. Other versions of podman may have others."""

from enum import StrEnum


class ContainerState(StrEnum):
    """State of a container."""

    CONFIGURED = "configured"
    CREATED = "created"
    INITIALIZED = "initialized"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    REMOVING = "removing"
    STOPPED = "stopped"
    EXITED = "exited"
    STORAGE = "storage"  # of a container that only the storage knows; listed with --external only


# states without a process, from which podman can start the container; a stopped one is `exited` as well
ENDED = (
    *(ContainerState.CONFIGURED, ContainerState.CREATED, ContainerState.INITIALIZED),
    *(ContainerState.STOPPED, ContainerState.EXITED),
)


class CheckResult(StrEnum):
    """Result of one attempt of a health check."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    TIMED_OUT = "timed out"


class Health(StrEnum):
    """Result of a container's health check."""

    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
