"""Fixtures: a rootless podman of the test run's own, with the test images in it.

Where podman cannot be set up the tests fail with one line that says why; they are never skipped. Nothing is left
behind: the session's end removes everything, and what a killed run left the next one sweeps away.
"""

from collections.abc import Iterator

import pytest

from tests.waiting import wait_for
from tools import images
from tools.hostlib import account, private
from tools.hostlib.machine import HostError
from tools.hostlib.private import Private


@pytest.fixture(scope="session")
def rootless_session() -> Iterator[Private]:
    """One private podman for the whole run; tests use `rootless`, which tidies up after each."""
    podman, why = _set_up()
    if podman is None:
        pytest.fail(f"rootless podman cannot be set up: {why}", pytrace=False)
    yield podman
    podman.remove()


def _set_up() -> tuple[Private | None, str]:
    try:
        account.prepare()
        podman = private.create()
        images.build_all(podman)
    except HostError as error:
        return None, str(error)
    return podman, ""


@pytest.fixture
def rootless(rootless_session: Private) -> Iterator[Private]:
    """The run's podman, with its images; containers, networks and volumes that a test makes are gone after it."""
    yield rootless_session
    remove_all(rootless_session)


def remove_all(podman: Private) -> None:
    """Remove containers, networks and volumes; podman cannot remove a container that ends or starts in that moment."""
    argv = ["podman", "rm", "--all", "--force", "--time", "0"]
    wait_for(lambda: podman.run(argv, check=False).returncode == 0, what="the end of all containers")
    podman.run(["podman", "network", "prune", "--force"])
    podman.run(["podman", "volume", "prune", "--force"])


@pytest.fixture(scope="session")
def image_references(rootless_session: Private) -> dict[str, str]:
    """References of the images by name: demo, web, worker, fail, brief, health, stubborn (see tools/images.py)."""
    return {name: images.image(name).reference for name in images.names()}
