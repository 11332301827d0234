"""Fixtures for tests on real podman."""

from collections.abc import Iterator

import pytest

from tests.agents import Agent
from tests.stage import folder_of, start_agent
from tools.hostlib.private import Private


@pytest.fixture
def agent(rootless: Private) -> Iterator[Agent]:
    """An agent of the built zipapp on real rootless podman."""
    with folder_of(rootless) as folder, start_agent(rootless, folder) as running:
        yield running
