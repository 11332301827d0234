"""Tell a container something through a file in it."""

import subprocess
from collections.abc import Callable
from functools import partial

from tools.hostlib.machine import HostError
from tools.hostlib.private import Private
from tools.nodelib.node import Node

# podman asks its events for the exit code of an exec whose container has ended since, and may not find it: 4.3.1 says
# "exec died event for session … not found: unable to find event", with 255
RACE = "exec died event"


def touch(owner: Private | Node, container: str, path: str) -> None:
    """Create an empty file in a container, which may end because of it. Raises HostError."""
    run: Callable[..., subprocess.CompletedProcess[str]] = owner.run
    if isinstance(owner, Node):
        run = partial(owner.run, user="mcp")
    done = run(["podman", "exec", container, "touch", path], check=False)
    if done.returncode and RACE not in done.stderr:
        raise HostError(f"touch {path} in {container}: {done.stderr.strip()}")
