"""Words of podman: states of containers and of their health checks. It may use others, in other versions."""

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


# states without a process, from which podman can start the container; it says exited of one that was stopped, too
ENDED = (
    *(ContainerState.CONFIGURED, ContainerState.CREATED, ContainerState.INITIALIZED),
    *(ContainerState.STOPPED, ContainerState.EXITED),
)


class Health(StrEnum):
    """Result of a container's health check."""

    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
