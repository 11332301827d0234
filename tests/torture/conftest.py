"""How often an attack is repeated, where its figures go, and the agents of the component tests."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.component.conftest import ca, rig, shared, template
from tools.tiers import FIGURES, FULL

__all__ = ["ca", "rig", "shared", "template"]


@dataclass(frozen=True)
class Torture:
    """The extent of this run, and its figures."""

    full: bool
    figures: Path

    def count(self, full: int, ci: int) -> int:
        """Return the number of repetitions: `full` in `make torture`, `ci` in `make test`."""
        return full if self.full else ci

    def figure(self, name: str, value: str) -> None:
        """Record a line for the list that `make torture` ends with: at most one write, so that workers do not mix."""
        self.figures.parent.mkdir(parents=True, exist_ok=True)
        with self.figures.open("a") as file:
            file.write(f"{name}\t{value}\n")


@pytest.fixture(scope="session")
def torture() -> Torture:
    """All of an attack if FULL is set in the environment, otherwise CI's share."""
    return Torture(FULL in os.environ, FIGURES)
