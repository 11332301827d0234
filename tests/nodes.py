"""Fixtures: real nodes with the user mcp. Where they cannot be booted the tests fail with one line that says why.

    def test_something(debian12_node: Node) -> None:
        assert debian12_node.run(["podman", "ps", "--quiet"], user="mcp").stdout == ""

Each test module has a fleet of its own; its nodes are as the tests before have left them.
"""

from collections.abc import Iterator, Mapping

import pytest

from tools import images
from tools.hostlib.machine import HostError
from tools.nodelib import fleet
from tools.nodelib.fleet import Fleet
from tools.nodelib.node import Node

NODES = {"twelve": "12", "thirteen": "13"}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Fleet]:
    """A Debian 12 node, `twelve`, and a Debian 13 one, `thirteen`, each with the test images."""
    made, why = _boot()
    if made is None:
        pytest.fail(f"nodes cannot be booted: {why}", pytrace=False)
    yield made
    made.remove()


def _boot() -> tuple[Fleet | None, str]:
    try:
        made = fleet.create(NODES)
        for node in made.nodes.values():
            load_images(node)
    except HostError as error:
        return None, str(error)
    return made, ""


def boot_bare(releases: Mapping[str, str]) -> Fleet:
    """Boot nodes, Debian releases by name, as debootstrap leaves them: without the user mcp."""
    try:
        return fleet.create(releases, account=False)
    except HostError as error:
        pytest.fail(f"nodes cannot be booted: {error}", pytrace=False)


def load_images(node: Node) -> None:
    """Give mcp's podman the images of tools/images.py, as localhost/mcp-NAME:1.0.0."""
    archive = images.archive([images.image(name) for name in images.names()])
    node.run(["podman", "load", "--quiet"], user="mcp", stdin=archive)


@pytest.fixture(scope="module")
def debian12_node(nodes: Fleet) -> Node:
    """A Debian 12 node."""
    return nodes["twelve"]


@pytest.fixture(scope="module")
def debian13_node(nodes: Fleet) -> Node:
    """A Debian 13 node."""
    return nodes["thirteen"]


@pytest.fixture(scope="module", params=list(NODES))
def node(nodes: Fleet, request: pytest.FixtureRequest) -> Node:
    """Both, one after the other."""
    return nodes[str(request.param)]
