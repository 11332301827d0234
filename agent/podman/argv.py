"""Build the arguments of podman's longer commands. All pure."""

import json
from dataclasses import dataclass

from mcp.shared.names import LABEL_COMPONENT, LABEL_DEPLOY, LABEL_SERVICE
from mcp.shared.spec import HealthSpec
from mcp.shared.times import in_seconds, parse_duration


@dataclass(frozen=True)
class NewContainer:
    """The settings of a container for `podman run`; its environment stays off the command line."""

    name: str
    image: str
    service: str
    component: str
    restart: str
    network: str = ""
    user: str = ""
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    deploy: int = 0
    health: HealthSpec | None = None
    log_driver: str = "k8s-file"
    log_max_bytes: int = 0  # size at which a k8s-file is rotated; 0: never
    stop_seconds: int = 10  # before SIGKILL
    stop_signal: str = ""
    http_proxy: bool = False  # pass on the agent's proxy variables, as podman does by default


def run_argv(new: NewContainer) -> list[str]:
    """Build the arguments of `podman run` that create and start a container.

    The environment goes through stdin, since every user of the node can read argv. The log driver is always explicit:
    journald, podman's default, drops lines of all containers when one exceeds its rate limit.
    """
    argv = ["run", "--detach", f"--name={new.name}", "--pull=never", f"--log-driver={new.log_driver}"]
    argv += [f"--log-opt=max-size={new.log_max_bytes}"] if new.log_max_bytes else []
    argv += [f"--label={LABEL_SERVICE}={new.service}", f"--label={LABEL_COMPONENT}={new.component}"]
    argv += [f"--label={LABEL_DEPLOY}={new.deploy}"] if new.deploy else []
    argv += [f"--restart={new.restart}", f"--stop-timeout={new.stop_seconds}"]
    argv += [f"--stop-signal={new.stop_signal}"] if new.stop_signal else []
    argv += [] if new.http_proxy else ["--http-proxy=false"]
    argv += [f"--network={new.network}"] if new.network else []
    argv += [f"--user={new.user}"] if new.user else []
    argv += [f"--publish={port}" for port in new.ports]
    argv += [f"--volume={volume}" for volume in new.volumes]
    argv += health_options(new.health) if new.health else []
    argv += ["--env-file=/dev/stdin"] if new.env else []
    return [*argv, new.image, *new.cmd]


def trial_argv(new: NewContainer) -> list[str]:
    """Build the arguments of `podman create` for a container that is removed again, without the image's volumes."""
    return ["create", "--image-volume=ignore", *run_argv(new)[2:]]


def health_options(health: HealthSpec) -> list[str]:
    """Build the options of `podman run` for a health check.

    podman takes a JSON list of several words as an argv, but a list of one as a shell command line; the
    compatible form `CMD WORD` is an argv again. Its durations have no unit for days.
    """
    one_word = len(health.cmd) == 1 and not any(c.isspace() for c in health.cmd[0])
    options = [f"--health-cmd={f'CMD {health.cmd[0]}' if one_word else json.dumps(health.cmd, ensure_ascii=False)}"]
    for option, text in (
        ("interval", health.interval),
        ("timeout", health.timeout),
        ("start-period", health.start_period),
    ):
        options += [f"--health-{option}={in_seconds(parse_duration(text).total_seconds())}s"] if text else []
    return [*options, *([f"--health-retries={health.retries}"] if health.retries else [])]


def logs_argv(identifier: str, since: str) -> list[str]:
    """Build the arguments of `podman logs` with times; `since` is an RFC 3339 time, or empty for all."""
    return ["logs", "--timestamps", *([f"--since={since}"] if since else []), identifier]
